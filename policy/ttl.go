package policy

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
)

// TTLForever is the duration of what never expires.
const TTLForever time.Duration = math.MaxInt64

// MaxTTL is the longest finite duration accepted: ten years. The kernel counts
// up to 18 years of boot time; anyone who asks for more means forever.
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
		var n int64
		digits := 0
		for digits < len(rest) && rest[digits] >= '0' && rest[digits] <= '9' {
			n = n*10 + int64(rest[digits]-'0')
			if digits++; digits > 12 {
				return fail(fmt.Errorf("longer than %s; use forever", FormatTTL(MaxTTL)))
			}
		}
		if digits == 0 || digits == len(rest) {
			return fail(errTTLForm)
		}
		unit, ok := ttlUnits[rest[digits]]
		if !ok {
			return fail(errTTLForm)
		}
		rest = rest[digits+1:]
		if n > int64((MaxTTL-total)/unit) {
			return fail(fmt.Errorf("longer than %s; use forever", FormatTTL(MaxTTL)))
		}
		total += time.Duration(n) * unit
	}
	if total == 0 {
		return fail(errors.New("must be positive"))
	}
	return total, nil
}

// FormatTTL writes a duration as ParseTTL reads it, rounded to whole seconds,
// in at most its two largest units: 2w3d, 59m30s, forever.
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
