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

	"github.com/paraxial/paraxial/ladder"
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
	MinWindow = time.Second
	MaxWindow = time.Hour
	MaxPorts  = 16
)

// Action is what is done to a source above the limit.
type Action = ladder.Action

// The actions.
const (
	Block  = ladder.Block
	Limit  = ladder.Limit
	Shadow = ladder.Shadow
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

// The settings that detectors and rules share. All detectors together may have at most MaxLevels
// different values of Per.
type (
	Per      = ladder.Per
	Escalate = ladder.Escalate
	Widen    = ladder.Widen
)

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
		d.checkName(), d.Match.Check(), d.checkRate(), d.Per.Check(), d.checkAction(), d.Escalate.Check(d.For),
		d.Widen.Check(d.Per),
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
	return ladder.Within("window", d.Window, MinWindow, MaxWindow)
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
	return ladder.Within("for", d.For, time.Second, ladder.MaxFor)
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
