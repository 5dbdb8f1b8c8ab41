package guard

import (
	"fmt"

	"github.com/paraxial/paraxial/policy"
)

// Violations returns a warning for each live block that the guard would refuse now. The
// daemon does not lift these blocks: an address that moved is no reason to let an
// attacker in.
func Violations(b *policy.Book, protected []policy.Protected, now policy.Deadline) []string {
	const most = 10
	var warnings []string
	for _, p := range protected {
		if p.Session && b.Allowed(p.Prefix.Addr(), now) {
			continue // spared
		}
		for e := range b.Overlapping(policy.Block, p.Prefix) {
			if e.Action != policy.Drop || e.Forced || !e.Live(now) {
				continue
			}
			if len(warnings) == most {
				return append(warnings, "more blocks cover addresses that must not be blocked")
			}
			warnings = append(warnings, fmt.Sprintf(
				"the block of %s by %s covers %s, %s: paraxialctl unblock %s --origin %s",
				e.Prefix, e.Origin, p.Prefix.Addr(), p.What, e.Prefix, e.Origin))
		}
	}
	return warnings
}
