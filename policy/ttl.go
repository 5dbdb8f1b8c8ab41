package policy

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
)

// TTLForever is the duration of an entry that never expires.
const TTLForever time.Duration = math.MaxInt64

// MaxTTL is the longest finite duration accepted: ten years. The kernel counts up
// to 18 years of boot time.
const MaxTTL = 10 * 365 * 24 * time.Hour

var ttlUnits = map[byte]time.Duration{
	's': time.Second,
	'm': time.Minute,
	'h': time.Hour,
	'd': 24 * time.Hour,
	'w': 7 * 24 * time.Hour,
}

var errTTLForm = errors.New(`want a number with a unit, as in 90s, 10m, 1h30m, 7d, 2w, or "forever"`)

// ParseTTL reads a duration such as 90s, 1h30m, 7d, 2w or forever. Numbers are
// whole and positive, and the units s m h d w.
func ParseTTL(s string) (time.Duration, error) {
	if s == "forever" {
		return TTLForever, nil
	}
	fail := func(err error) (time.Duration, error) {
		return 0, fmt.Errorf("duration %q: %w", s, err)
	}
	if s == "" {
		return fail(errTTLForm)
	}
	if strings.HasPrefix(s, "-") {
		return fail(errors.New("must be positive"))
	}
	var total time.Duration
	for rest := s; rest != ""; {
		var part time.Duration
		var err error
		if part, rest, err = cutTTLPart(rest); err != nil {
			return fail(err)
		}
		if part > MaxTTL-total {
			return fail(errTTLTooLong())
		}
		total += part
	}
	if total == 0 {
		return fail(errors.New("must be positive"))
	}
	return total, nil
}

func errTTLTooLong() error { return fmt.Errorf("longer than %s; use forever", FormatTTL(MaxTTL)) }

// cutTTLPart reads the first number and unit of s, as 1h of 1h30m. The result is at
// most MaxTTL.
func cutTTLPart(s string) (part time.Duration, rest string, err error) {
	var n int64
	digits := 0
	for digits < len(s) && s[digits] >= '0' && s[digits] <= '9' {
		n = n*10 + int64(s[digits]-'0')
		if digits++; digits > 12 {
			return 0, "", errTTLTooLong()
		}
	}
	if digits == 0 || digits == len(s) {
		return 0, "", errTTLForm
	}
	unit, ok := ttlUnits[s[digits]]
	if !ok {
		return 0, "", errTTLForm
	}
	if n > int64(MaxTTL/unit) {
		return 0, "", errTTLTooLong()
	}
	return time.Duration(n) * unit, s[digits+1:], nil
}

// FormatTTL returns a duration in the form that ParseTTL reads. It is rounded to
// whole seconds and written in at most its two largest units: 2w3d, 59m30s, forever.
func FormatTTL(d time.Duration) string {
	if d == TTLForever {
		return "forever"
	}
	d = d.Round(time.Second)
	if d <= 0 {
		return "0s"
	}
	var b strings.Builder
	units := 0
	for _, u := range []byte("wdhms") {
		n := d / ttlUnits[u]
		d -= n * ttlUnits[u]
		if n > 0 {
			fmt.Fprintf(&b, "%d%c", n, u)
		}
		if n > 0 || units > 0 {
			units++
		}
		if units == 2 {
			break
		}
	}
	return b.String()
}
