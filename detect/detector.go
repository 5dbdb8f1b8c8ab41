// Package detect finds sources that send more than a limit allows. Samples of packets
// determine which sources are counted exactly, and only exact counts lead to decisions.
//
// It uses no kernel, no clock and no goroutines: counters and time come in as
// arguments, decisions are returned. The same input gives the same output in the same
// order, so that recorded traffic can be replayed.
package detect

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/paraxial/paraxial/policy"
	"github.com/paraxial/paraxial/track"
)

// MaxDetectors is the largest number of detectors. The packet program has a counter
// for each of them in every tracked source.
const MaxDetectors = track.Detectors

// MaxLevels is the largest number of different values of Per. Each costs the packet
// program a look-up for every packet.
const MaxLevels = track.Levels

// Limits of the values of a detector.
const (
	MinWindow  = time.Second
	MaxWindow  = time.Hour
	MaxFor     = 52 * 7 * 24 * time.Hour
	MaxFactor  = 100
	MaxPorts   = 16
	MinSources = 2 // fewest offenders that a network is widened for
	MaxSources = 1000
)

// Action is what is done to a source above the limit. Configuration, JSON and metrics
// use the same words.
type Action string

// The actions.
const (
	Block  Action = "block"  // drop all packets of the source
	Limit  Action = "limit"  // drop packets above the limit
	Shadow Action = "shadow" // only count the packets that would be dropped
)

// Detector is a rule. It acts on sources that send more of the packets described by
// Match than Limit allows over Window. The comments of its fields, and of the types
// below, are also the text of the configuration reference.
type Detector struct {
	// The name. Entries of the detector have the origin `detector:NAME`.
	Name  string
	Match Match
	// How much a source may send: packets a second (`200/s`, `50k/s`), or bits or
	// bytes a second (`10Mbit/s`, `1MB/s`).
	Limit policy.Rate
	// The time over which the rate is measured. The detector acts on a source as soon as
	// it has sent more than limit × window in one window.
	Window time.Duration
	Per    Per
	// The action: `block`, `limit` (drop packets above the limit) or `shadow` (only
	// count).
	Action Action
	// How long a ban lasts. The window or longer.
	For      time.Duration
	Escalate Escalate
	Widen    Widen
}

// Per defines one source by the length of its prefix. All detectors together may have
// at most MaxLevels different values.
type Per struct {
	// The length of the prefix that counts as one IPv4 source.
	IPv4 int
	// The length of the prefix that counts as one IPv6 source. All detectors together
	// may have at most two different values of `per`.
	IPv6 int
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

// to returns the prefix length to widen a source of a family to, 0 for none.
func (w Widen) to(is4 bool) int {
	if is4 {
		return w.IPv4
	}
	return w.IPv6
}

// Default returns a detector with the default values. It has no name, limit and
// action, which have no default, and matches all packets.
func Default() Detector {
	return Detector{
		Match:    Match{Proto: AnyProto},
		Window:   5 * time.Second,
		Per:      Per{IPv4: 32, IPv6: 64},
		For:      10 * time.Minute,
		Escalate: Escalate{Factor: 1, Max: 24 * time.Hour, Forget: 24 * time.Hour},
		Widen:    Widen{Sources: 8},
	}
}

// Check returns an error if d is not valid.
func (d Detector) Check() error {
	checks := []error{
		d.checkName(), d.Match.Check(), d.checkRate(), d.checkPer(), d.checkAction(), d.checkEscalate(), d.checkWiden(),
	}
	for _, err := range checks {
		if err != nil {
			return err
		}
	}
	return nil
}

func (d Detector) checkName() error {
	if policy.ValidOrigin(policy.OriginDetector+d.Name) != nil {
		return fmt.Errorf("name %q: want letters, digits, '.', '_' and '-', at most 63", d.Name)
	}
	return nil
}

func (d Detector) checkRate() error {
	if err := d.Limit.Check(); err != nil {
		return fmt.Errorf("limit: %w", err)
	}
	return within("window", d.Window, MinWindow, MaxWindow)
}

func (d Detector) checkPer() error {
	if d.Per.IPv4 < policy.WidestIPv4 || d.Per.IPv4 > 32 {
		return fmt.Errorf("per.ipv4: got %d; want a length from %d to 32", d.Per.IPv4, policy.WidestIPv4)
	}
	if d.Per.IPv6 < policy.WidestIPv6 || d.Per.IPv6 > 128 {
		return fmt.Errorf("per.ipv6: got %d; want a length from %d to 128", d.Per.IPv6, policy.WidestIPv6)
	}
	return nil
}

func (d Detector) checkAction() error {
	switch d.Action {
	case Block, Limit, Shadow:
	default:
		return fmt.Errorf("action: got %q; want block, limit or shadow", string(d.Action))
	}
	// A shorter ban would end before the source can be detected again, and flap.
	if d.For < d.Window {
		return fmt.Errorf("for: %s is shorter than the window, %s", policy.FormatTTL(d.For), policy.FormatTTL(d.Window))
	}
	return within("for", d.For, time.Second, MaxFor)
}

func (d Detector) checkEscalate() error {
	e := d.Escalate
	if e.Factor < 0 || e.Factor > MaxFactor {
		return fmt.Errorf("escalate.factor: got %d; want a number from 1 to %d", e.Factor, MaxFactor)
	}
	if e.Factor <= 1 {
		return nil
	}
	if e.Max < d.For {
		return fmt.Errorf("escalate.max: %s is shorter than for, %s", policy.FormatTTL(e.Max), policy.FormatTTL(d.For))
	}
	if err := within("escalate.max", e.Max, time.Second, MaxFor); err != nil {
		return err
	}
	return within("escalate.forget", e.Forget, time.Second, MaxFor)
}

func (d Detector) checkWiden() error {
	w := d.Widen
	if w.IPv4 != 0 && (w.IPv4 < policy.WidestIPv4 || w.IPv4 >= d.Per.IPv4) {
		return fmt.Errorf("widen.ipv4: got %d; want a length from %d to %d, shorter than per.ipv4, or 0 for never",
			w.IPv4, policy.WidestIPv4, d.Per.IPv4-1)
	}
	if w.IPv6 != 0 && (w.IPv6 < policy.WidestIPv6 || w.IPv6 >= d.Per.IPv6) {
		return fmt.Errorf("widen.ipv6: got %d; want a length from %d to %d, shorter than per.ipv6, or 0 for never",
			w.IPv6, policy.WidestIPv6, d.Per.IPv6-1)
	}
	if (w.IPv4 != 0 || w.IPv6 != 0) && (w.Sources < MinSources || w.Sources > MaxSources) {
		return fmt.Errorf("widen.sources: got %d; want a number from %d to %d", w.Sources, MinSources, MaxSources)
	}
	return nil
}

func within(name string, d, low, high time.Duration) error {
	if d < low || d > high {
		return fmt.Errorf("%s: got %s; want a duration from %s to %s",
			name, policy.FormatTTL(d), policy.FormatTTL(low), policy.FormatTTL(high))
	}
	return nil
}

// CheckAll returns an error if one of the detectors, or all of them together, are not
// valid.
func CheckAll(list []Detector) error {
	if len(list) > MaxDetectors {
		return fmt.Errorf("%d detectors; at most %d", len(list), MaxDetectors)
	}
	names := map[string]bool{}
	for _, d := range list {
		if err := d.Check(); err != nil {
			return fmt.Errorf("detector %q: %w", d.Name, err)
		}
		if names[d.Name] {
			return fmt.Errorf("detector %q is listed twice; give one of them another name", d.Name)
		}
		names[d.Name] = true
	}
	if len(Levels(list)) > MaxLevels {
		return errTooManyLevels
	}
	return nil
}

var errTooManyLevels = errors.New(
	"per: detectors have more than two different values; use one or two, since each costs a look-up for every packet")

// Levels returns the different values of Per in the order of the detectors.
func Levels(list []Detector) []Per {
	var levels []Per
	for _, d := range list {
		if !slices.Contains(levels, d.Per) {
			levels = append(levels, d.Per)
		}
	}
	return levels
}
