package ladder

import "time"

// Per defines one source by the length of its prefix.
type Per struct {
	// The length of the prefix that counts as one IPv4 source.
	IPv4 int
	// The length of the prefix that counts as one IPv6 source.
	IPv6 int
}

// Of returns the prefix length of a family.
func (p Per) Of(is4 bool) int {
	if is4 {
		return p.IPv4
	}
	return p.IPv6
}

// Escalate makes the bans of a repeat offender longer. Each is Factor times as long as
// the previous one, up to Max, until no ban was needed for Forget after the end of the
// last one. With a Factor of 0 or 1 all bans are equally long.
type Escalate struct {
	// The factor by which each ban is longer than the previous one.
	Factor int
	// The longest ban.
	Max time.Duration
	// How long after the end of its last ban a source is forgotten.
	Forget time.Duration
}

// Widen acts on a whole network when Sources of its sources have entries at the same
// time. A length of 0 turns it off.
type Widen struct {
	// The number of sources of a network that must have entries at the same time before
	// the whole network gets one.
	Sources int
	// The prefix length of such an IPv4 network. It contains many unrelated hosts. 0
	// turns this off.
	IPv4 int
	// The prefix length of such an IPv6 network, shorter than `per.ipv6`. 0 turns this
	// off. If the default is not shorter than `per.ipv6`, it is 0.
	IPv6 int
}
