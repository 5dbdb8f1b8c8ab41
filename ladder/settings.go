package ladder

import (
	"fmt"
	"time"

	"github.com/paraxial/paraxial/policy"
)

// Action is what is done to a source above the limit. Configuration, JSON and metrics use the
// same words.
type Action string

// The actions of detectors and rules.
const (
	Block  Action = "block"  // drop all packets of the source
	Limit  Action = "limit"  // drop packets above the limit
	Shadow Action = "shadow" // only count the packets that would be dropped
)

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

// Limits of the settings.
const (
	MaxFor     = 52 * 7 * 24 * time.Hour
	MaxFactor  = 100
	MinSources = 2 // fewest offenders that a network is widened for
	MaxSources = 1000
)

// To returns the prefix length to widen a source of a family to, 0 for none.
func (w Widen) To(is4 bool) int {
	if is4 {
		return w.IPv4
	}
	return w.IPv6
}

// TTL returns the length of a ban, given that of the first one and the number of offences.
func (e Escalate) TTL(ttl time.Duration, offence int) time.Duration {
	if e.Factor <= 1 {
		return ttl
	}
	for n := 1; n < offence && ttl < e.Max; n++ {
		if ttl > e.Max/time.Duration(e.Factor) {
			return e.Max
		}
		ttl *= time.Duration(e.Factor)
	}
	return ttl
}

// Check returns an error if p is not valid.
func (p Per) Check() error {
	if p.IPv4 < policy.WidestIPv4 || p.IPv4 > 32 {
		return fmt.Errorf("per.ipv4: got %d; want a length from %d to 32", p.IPv4, policy.WidestIPv4)
	}
	if p.IPv6 < policy.WidestIPv6 || p.IPv6 > 128 {
		return fmt.Errorf("per.ipv6: got %d; want a length from %d to 128", p.IPv6, policy.WidestIPv6)
	}
	return nil
}

// Check returns an error if e is not valid for bans that first last ttl.
func (e Escalate) Check(ttl time.Duration) error {
	if e.Factor < 0 || e.Factor > MaxFactor {
		return fmt.Errorf("escalate.factor: got %d; want a number from 1 to %d", e.Factor, MaxFactor)
	}
	if e.Factor <= 1 {
		return nil
	}
	if e.Max < ttl {
		return fmt.Errorf("escalate.max: %s is shorter than for, %s", policy.FormatTTL(e.Max), policy.FormatTTL(ttl))
	}
	if err := Within("escalate.max", e.Max, time.Second, MaxFor); err != nil {
		return err
	}
	return Within("escalate.forget", e.Forget, time.Second, MaxFor)
}

// Check returns an error if w is not valid for sources of p.
func (w Widen) Check(p Per) error {
	if w.IPv4 != 0 && (w.IPv4 < policy.WidestIPv4 || w.IPv4 >= p.IPv4) {
		return fmt.Errorf("widen.ipv4: got %d; want a length from %d to %d, shorter than per.ipv4, or 0 for never",
			w.IPv4, policy.WidestIPv4, p.IPv4-1)
	}
	if w.IPv6 != 0 && (w.IPv6 < policy.WidestIPv6 || w.IPv6 >= p.IPv6) {
		return fmt.Errorf("widen.ipv6: got %d; want a length from %d to %d, shorter than per.ipv6, or 0 for never",
			w.IPv6, policy.WidestIPv6, p.IPv6-1)
	}
	if (w.IPv4 != 0 || w.IPv6 != 0) && (w.Sources < MinSources || w.Sources > MaxSources) {
		return fmt.Errorf("widen.sources: got %d; want a number from %d to %d", w.Sources, MinSources, MaxSources)
	}
	return nil
}

// Within returns an error unless a setting is in its range.
func Within(name string, d, low, high time.Duration) error {
	if d < low || d > high {
		return fmt.Errorf("%s: got %s; want a duration from %s to %s",
			name, policy.FormatTTL(d), policy.FormatTTL(low), policy.FormatTTL(high))
	}
	return nil
}
