package feeds

import "fmt"

// freely is the number of entries below which a set may change as it likes.
const freely = 100

// suspicious returns why a set must be accepted by an operator before it replaces one with
// the given number of entries, or "".
func suspicious(f Feed, before int, s *set) string {
	after := len(s.items)
	if before >= freely {
		lost, grown := float64(before-after), float64(after-before)
		if lost > f.MaxShrink*float64(before) {
			return fmt.Sprintf("it would shrink by %s, from %d to %d entries; max_shrink is %s",
				percent(lost/float64(before)), before, after, percent(f.MaxShrink))
		}
		if grown > f.MaxGrow*float64(before) {
			return fmt.Sprintf("it would grow by %s, from %d to %d entries; max_grow is %s",
				percent(grown/float64(before)), before, after, percent(f.MaxGrow))
		}
	}
	v4, v6 := s.shares()
	if v4 > f.MaxIPv4 {
		return fmt.Sprintf("it would cover %s of IPv4; at most %s is expected", percent(v4), percent(f.MaxIPv4))
	}
	if v6 > f.MaxIPv6 {
		return fmt.Sprintf("it would cover %s of IPv6; at most %s is expected", percent(v6), percent(f.MaxIPv6))
	}
	return ""
}

func percent(part float64) string { return fmt.Sprintf("%.3g%%", part*100) }
