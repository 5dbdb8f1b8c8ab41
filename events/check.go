package events

import (
	"fmt"
	"slices"
	"time"

	"github.com/paraxial/paraxial/ladder"
	"github.com/paraxial/paraxial/policy"
)

// Limits of rules and of events.
const (
	MaxRules  = 64
	MaxLimit  = 10_000
	MaxPoints = 1000 // of one event
	MinWindow = time.Second
	MaxWindow = 28 * 24 * time.Hour
)

// Default returns a rule with the default values. It has no name, limit and action, which have no
// default.
func Default() Rule {
	return Rule{
		Limit:    -1,
		Window:   10 * time.Minute,
		Per:      ladder.Per{IPv4: 32, IPv6: 64},
		Success:  IgnoreSuccess,
		For:      10 * time.Minute,
		Escalate: ladder.Escalate{Factor: 1, Max: 24 * time.Hour, Forget: 24 * time.Hour},
		Widen:    ladder.Widen{Sources: 8},
	}
}

// Check returns an error if r is not valid.
func (r Rule) Check() error {
	if policy.ValidOrigin(r.Origin()) != nil {
		return fmt.Errorf("name %q: want letters, digits, '.', '_' and '-', at most 63", r.Name)
	}
	if r.Limit < 0 || r.Limit > MaxLimit {
		return fmt.Errorf("limit: got %d; want a number from 0 to %d", r.Limit, MaxLimit)
	}
	for _, err := range []error{
		ladder.Within("window", r.Window, MinWindow, MaxWindow), r.Per.Check(), r.checkWords(), r.checkRate(),
		ladder.Within("for", r.For, time.Second, ladder.MaxFor), r.Escalate.Check(r.For), r.Widen.Check(r.Per),
	} {
		if err != nil {
			return err
		}
	}
	return nil
}

func (r Rule) checkWords() error {
	switch {
	case !slices.Contains([]Action{Block, Limit, Shadow, Alert}, r.Action):
		return fmt.Errorf("action: got %q; want block, limit, shadow or alert", string(r.Action))
	case !slices.Contains([]Distinct{EachEvent, DistinctUser, DistinctPath}, r.Distinct):
		return fmt.Errorf("distinct: got %q; want user or path", string(r.Distinct))
	case !slices.Contains([]Success{IgnoreSuccess, ResetSuccess}, r.Success):
		return fmt.Errorf("success: got %q; want ignore or reset", string(r.Success))
	}
	return nil
}

func (r Rule) checkRate() error {
	switch {
	case r.Action == Limit && r.Rate == policy.Rate{}:
		return fmt.Errorf("action is limit, and there is no rate; give it one, as in rate: 20/s")
	case r.Action == Limit:
		if err := r.Rate.Check(); err != nil {
			return fmt.Errorf("rate: %w", err)
		}
	case r.Rate != policy.Rate{}:
		return fmt.Errorf("rate: is only for action: limit")
	}
	return nil
}

// Origin returns the origin of the entries of r.
func (r Rule) Origin() string { return policy.OriginRule + r.Name }

// CheckAll returns an error if one of the rules, or all of them together, are not valid.
func CheckAll(list []Rule) error {
	if len(list) > MaxRules {
		return fmt.Errorf("%d rules; at most %d", len(list), MaxRules)
	}
	names := map[string]bool{}
	for _, r := range list {
		if err := r.Check(); err != nil {
			return fmt.Errorf("rule %q: %w", r.Name, err)
		}
		if names[r.Name] {
			return fmt.Errorf("rule %q is listed twice; give one of them another name", r.Name)
		}
		names[r.Name] = true
	}
	return nil
}
