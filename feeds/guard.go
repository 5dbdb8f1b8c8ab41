package feeds

import "fmt"

// freely is the number of entries below which a set may change as it likes.
const freely = 100

// suspicious returns why a set must be accepted by an operator before it replaces one with
// the given number of entries, or "". The daemon has the same bounds; here they keep what is
// in force in force, and give the reason to who asks for the state.
func suspicious(f Feed, before int, s *set) string {
	after := len(s.items)
	switch {
	case before < freely:
	case float64(after) < float64(before)*(1-f.MaxShrink):
		return fmt.Sprintf("of %d entries only %d would be left (max_shrink is %s)", before, after,
			percent(f.MaxShrink))
	case f.MaxGrow > 0 && float64(after) > float64(before)*f.MaxGrow:
		return fmt.Sprintf("%d entries would become %d (max_grow is %v)", before, after, f.MaxGrow)
	}
	if f.Use == Shadow {
		return ""
	}
	v4, v6 := s.shares()
	if v4 > f.MaxShare {
		return fmt.Sprintf("it would cover %s of IPv4 (max_share is %s)", percent(v4), percent(f.MaxShare))
	}
	if v6 > f.MaxShare {
		return fmt.Sprintf("it would cover %s of 2000::/3, the IPv6 Internet (max_share is %s)", percent(v6),
			percent(f.MaxShare))
	}
	return ""
}

func percent(part float64) string { return fmt.Sprintf("%.3g%%", part*100) }
