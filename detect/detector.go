// Package detect finds the sources that send more than they may. Samples of
// packets tell whom to count exactly, and exact counts alone decide.
//
// It knows no kernel, no clock and no goroutines: counters and time come in as
// arguments, decisions go out. The same input gives the same output, in the same
// order, which is what makes yesterday's traffic worth replaying.
package detect

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/paraxial/paraxial/policy"
	"github.com/paraxial/paraxial/track"
)

// MaxDetectors is how many detectors there can be: the packet program has a
// counter for each in every source that it tracks.
const MaxDetectors = track.Detectors

// MaxLevels is how many different values of Per there can be: each costs the
// packet program a look-up for every packet.
const MaxLevels = track.Levels

// Bounds of a detector's values.
const (
	MinWindow  = time.Second
	MaxWindow  = time.Hour
	MaxFor     = 52 * 7 * 24 * time.Hour
	MaxFactor  = 100
	MaxPorts   = 16
	MinSources = 2 // a widening needs at least
	MaxSources = 1000
)

// Action is what happens to a source above its limit, in the words of the
// configuration, of JSON and of metrics.
type Action string

// The actions.
const (
	Block  Action = "block"  // drop all it sends
	Limit  Action = "limit"  // drop what is above the limit
	Shadow Action = "shadow" // only count what would be dropped
)

// Detector is a rule: sources that send more of what Match describes than Limit,
// over Window, are acted upon. The comments of its fields, and of those below, are
// also what the configuration reference says.
type Detector struct {
	// The name. Entries of the detector have the origin `detector:NAME`.
	Name  string
	Match Match
	// How much a source may send: packets a second (`200/s`, `50k/s`), or bits or
	// bytes a second (`10Mbit/s`, `1MB/s`).
	Limit policy.Rate
	// Over how long it is measured. A source is acted upon as soon as it has sent
	// limit × window in one window.
	Window time.Duration
	Per    Per
	// What is done: `block`, `limit` (drop what is above the limit) or `shadow` (only
	// count).
	Action Action
	// For how long. At least the window.
	For      time.Duration
	Escalate Escalate
	Widen    Widen
}

// Per is what counts as one source: the length of its prefix. All detectors
// together have at most MaxLevels different values.
type Per struct {
	// What counts as one IPv4 source: the length of its prefix.
	IPv4 int
	// What counts as one IPv6 source. All detectors together have at most two
	// different values of `per`.
	IPv6 int
}

// Escalate makes the bans of those who come back longer: each is Factor times
// the one before, up to Max, until the source has kept quiet for Forget after
// the last. A Factor of 0 or 1 makes them all alike.
type Escalate struct {
	// How many times longer each ban is than the one before.
	Factor int
	// The longest ban that this leads to.
	Max time.Duration
	// How long after its last ban a source is forgotten.
	Forget time.Duration
}

// Widen acts on a whole network once Sources of the sources in it are acted
// upon at once. A length of 0 is never.
type Widen struct {
	// How many sources of a network must be acted upon at once for the whole network
	// to be.
	Sources int
	// The length of such an IPv4 network, which is many strangers: 0 is never.
	IPv4 int
	// The length of such an IPv6 network, shorter than `per.ipv6`. 0 is never, as is
	// the default where it would not be shorter.
	IPv6 int
}

// to returns the length to widen a source of family and length to, 0 for none.
func (w Widen) to(is4 bool) int {
	if is4 {
		return w.IPv4
	}
	return w.IPv6
}

// Default returns a detector that lacks what only its author can know: its
// name, match, limit and action.
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

// Check returns what is wrong with d, nil if nothing is.
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
	// A ban shorter than what it takes to see the source again would flap.
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
		return fmt.Errorf("widen.ipv4: got %d; want a length from %d to %d, shorter than per.ipv4, or 0 for never", w.IPv4, policy.WidestIPv4, d.Per.IPv4-1)
	}
	if w.IPv6 != 0 && (w.IPv6 < policy.WidestIPv6 || w.IPv6 >= d.Per.IPv6) {
		return fmt.Errorf("widen.ipv6: got %d; want a length from %d to %d, shorter than per.ipv6, or 0 for never", w.IPv6, policy.WidestIPv6, d.Per.IPv6-1)
	}
	if (w.IPv4 != 0 || w.IPv6 != 0) && (w.Sources < MinSources || w.Sources > MaxSources) {
		return fmt.Errorf("widen.sources: got %d; want a number from %d to %d", w.Sources, MinSources, MaxSources)
	}
	return nil
}

func within(name string, d, low, high time.Duration) error {
	if d < low || d > high {
		return fmt.Errorf("%s: got %s; want a duration from %s to %s", name, policy.FormatTTL(d), policy.FormatTTL(low), policy.FormatTTL(high))
	}
	return nil
}

// CheckAll returns what is wrong with the detectors together or one by one.
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

var errTooManyLevels = errors.New("per: detectors have more than two different values; every one costs each packet a look-up")

// Levels returns the different values of Per, in the order of the detectors.
func Levels(list []Detector) []Per {
	var levels []Per
	for _, d := range list {
		if !slices.Contains(levels, d.Per) {
			levels = append(levels, d.Per)
		}
	}
	return levels
}
