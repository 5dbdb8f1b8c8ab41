package policy

import "net/netip"

// Outcome is what becomes of a packet because of its source. The text is the
// reason by which the kernel counts it.
type Outcome uint8

// The outcomes.
const (
	NotListed Outcome = iota
	Allowed
	Blocked
	Shadowed
)

func (o Outcome) String() string {
	return [...]string{"not_listed", "allowed", "blocked", "shadow"}[o]
}

// Verdict returns what a user is told: pass, drop or shadow.
func (o Outcome) Verdict() string {
	return [...]string{"pass", "pass", "drop", "shadow"}[o]
}

// Decide is the golden model: what becomes of a packet from src at boot time
// now, by looking at every entry. Allow beats block, drop beats shadow, and the
// lengths of prefixes do not matter.
func Decide(entries []Entry, src netip.Addr, now Deadline) Outcome {
	outcome := NotListed
	for _, e := range entries {
		if !e.Prefix.Contains(src) || !e.Live(now) {
			continue
		}
		switch {
		case e.Kind == Allow:
			return Allowed
		case e.Action == Drop:
			outcome = Blocked
		case e.Action == Shadow && outcome == NotListed:
			outcome = Shadowed
		}
	}
	return outcome
}

// Matching returns the entries of the book that are in force for src at boot
// time now: allows first, then blocks, each longest prefix first.
func (b *Book) Matching(src netip.Addr, now Deadline) []Entry {
	var matching []Entry
	host := netip.PrefixFrom(src, src.BitLen())
	for _, k := range []Kind{Allow, Block} {
		for e := range b.Covering(k, host) {
			if e.Live(now) {
				matching = append(matching, e)
			}
		}
	}
	return matching
}
