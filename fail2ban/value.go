package fail2ban

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

const (
	maxDepth = 10      // of names in values that name others, as in Python
	maxValue = 1 << 16 // bytes of a value with its names replaced
)

// get returns the value of a key of a section, or of DEFAULT, with its names replaced. ok is
// false if there is none.
func (s *settings) get(section, key string) (value string, ok bool, err error) {
	raw, ok := s.raw(section, key)
	if !ok {
		return "", false, nil
	}
	value, err = s.expand(section, raw, 0)
	if err != nil {
		return "", false, fmt.Errorf("%s of [%s]: %w", key, section, err)
	}
	return strings.TrimSpace(value), true, nil
}

func (s *settings) raw(section, key string) (string, bool) {
	if v, ok := s.sections[section][key]; ok {
		return v, true
	}
	v, ok := s.sections[defaultName][key]
	return v, ok
}

// expand replaces %(name)s by the value of that name, %(section/name)s by a value of another
// section, and %% by %.
func (s *settings) expand(section, text string, depth int) (string, error) {
	if depth > maxDepth {
		return "", fmt.Errorf("names are replaced more than %d times", maxDepth)
	}
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(text, "%")
		out.WriteString(before)
		if out.Len() > maxValue {
			return "", fmt.Errorf("the value is longer than %d KiB", maxValue>>10)
		}
		if !found {
			return out.String(), nil
		}
		if strings.HasPrefix(rest, "%") {
			out.WriteByte('%')
			text = rest[1:]
			continue
		}
		name, behind, ok := strings.Cut(rest, ")s")
		if !ok || !strings.HasPrefix(name, "(") {
			return "", fmt.Errorf("want %%(name)s or %%%%, got %q", shorten("%"+rest))
		}
		value, err := s.named(section, name[1:], depth)
		if err != nil {
			return "", err
		}
		out.WriteString(value)
		text = behind
	}
}

func (s *settings) named(section, name string, depth int) (string, error) {
	name = strings.ToLower(name)
	switch name {
	case "__name__":
		return section, nil
	case "fail2ban_confpath": // fail2ban itself defines the two
		return "/etc/fail2ban", nil
	case "fail2ban_version":
		return "1.0.0", nil
	}
	raw, ok := s.raw(section, name)
	if other, key, cut := strings.Cut(name, "/"); cut {
		raw, ok = s.qualified(section, other, key)
	}
	if !ok {
		return "", fmt.Errorf("%%(%s)s is not defined", name)
	}
	return s.expand(section, raw, depth+1)
}

// qualified returns the value of %(other/key)s. known/ is the value that an earlier file gave
// the key, default/ that of DEFAULT.
func (s *settings) qualified(section, other, key string) (string, bool) {
	switch other {
	case "known":
		if old, ok := s.known[section][key]; ok {
			return old, true
		}
		v, ok := s.sections[defaultName][key]
		return v, ok
	case "default":
		v, ok := s.sections[defaultName][key]
		return v, ok
	}
	return s.raw(other, key)
}

// Units as fail2ban reads them: a month is the twelfth part of a year of 365.25 days.
const (
	day  = 24 * time.Hour
	year = 8766 * time.Hour
)

var errTime = errors.New("want a number of seconds or a time such as 10m, 1h 30m or 1d")

// duration reads a time of fail2ban: terms such as 10m, 1h30m or 1 day, which are added. A
// number without a unit is in seconds. Arithmetic is not read.
func duration(s string) (time.Duration, error) {
	s = strings.ToLower(strings.TrimSpace(s))
	var sum float64
	for s != "" {
		n := 0
		for n < len(s) && (s[n] >= '0' && s[n] <= '9' || s[n] == '.') {
			n++
		}
		number, err := strconv.ParseFloat(s[:n], 64)
		if err != nil {
			return 0, errTime
		}
		s = strings.TrimLeft(s[n:], " ")
		n = 0
		for n < len(s) && s[n] >= 'a' && s[n] <= 'z' {
			n++
		}
		unit, ok := unitOf(s[:n])
		if !ok {
			return 0, errTime
		}
		sum += number * float64(unit)
		s = strings.TrimLeft(s[n:], " ")
	}
	if sum <= 0 || sum > math.MaxInt64/2 {
		return 0, errTime
	}
	return time.Duration(sum), nil
}

func unitOf(word string) (time.Duration, bool) {
	switch word {
	case "", "s", "ss", "sec", "second", "seconds":
		return time.Second, true
	case "m", "mm", "min", "minute", "minutes":
		return time.Minute, true
	case "h", "hh", "hou", "hour", "hours":
		return time.Hour, true
	case "d", "dd", "da", "day", "days":
		return day, true
	case "w", "ww", "wee", "week", "weeks":
		return 7 * day, true
	case "mo", "mon", "month", "months":
		return year / 12, true
	case "y", "yy", "yea", "year", "years":
		return year, true
	}
	return 0, false
}

// truth reads a yes or no as fail2ban does.
func truth(s string) bool {
	switch strings.ToLower(s) {
	case "1", "true", "yes", "on":
		return true
	}
	return false
}
