package config

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/paraxial/paraxial/events"
	"github.com/paraxial/paraxial/ladder"
	"github.com/paraxial/paraxial/policy"
)

// ruleKeys returns the keys of an item of rules.
func ruleKeys(r *events.Rule) []key {
	return []key{
		textKey("rules.name", true, &r.Name, parseDetectorName),
		numberKey("rules.limit", true, &r.Limit, 0, events.MaxLimit),
		durationKey("rules.window", true, &r.Window, events.MinWindow, events.MaxWindow),
		numberKey("rules.per.ipv4", true, &r.Per.IPv4, policy.WidestIPv4, 32),
		numberKey("rules.per.ipv6", true, &r.Per.IPv6, policy.WidestIPv6, 128),
		textKey("rules.distinct", true, &r.Distinct, parseDistinct),
		textKey("rules.success", true, &r.Success, parseSuccess),
		textKey("rules.action", true, &r.Action, parseRuleAction),
		rateKey("rules.rate", true, &r.Rate),
		durationKey("rules.for", true, &r.For, time.Second, ladder.MaxFor),
		numberKey("rules.escalate.factor", true, &r.Escalate.Factor, 1, ladder.MaxFactor),
		durationKey("rules.escalate.max", true, &r.Escalate.Max, time.Second, ladder.MaxFor),
		durationKey("rules.escalate.forget", true, &r.Escalate.Forget, time.Second, ladder.MaxFor),
		numberKey("rules.widen.sources", true, &r.Widen.Sources, ladder.MinSources, ladder.MaxSources),
		numberKey("rules.widen.ipv6", true, &r.Widen.IPv6, 0, 127),
		numberKey("rules.widen.ipv4", true, &r.Widen.IPv4, 0, 31),
	}
}

func parseDistinct(s string) (events.Distinct, error) {
	if s == "" {
		return events.EachEvent, nil
	}
	return oneOf(s, events.DistinctUser, events.DistinctPath)
}

func parseSuccess(s string) (events.Success, error) {
	return oneOf(s, events.IgnoreSuccess, events.ResetSuccess)
}

func parseRuleAction(s string) (events.Action, error) {
	return oneOf(s, events.Block, events.Limit, events.Shadow, events.Alert)
}

func rulesKey(list *[]events.Rule) key {
	k := itemList[events.Rule]{
		name: "rules", example: "{name: login, limit: 5, window: 10m, action: shadow}",
		decode: (*decoder).rule, complete: completeRule, follow: nextRule,
	}.key(list)
	k.check = func() error { return named("rules", events.CheckAll(*list)) }
	return k
}

func (d *decoder) rule(m *ast.MappingNode) events.Rule {
	r := events.Default()
	r.Widen.IPv6 = unset
	d.mapping(m, "rules.", ruleKeys(&r))
	completeWiden(&r.Widen, r.Per)
	return r
}

func completeRule(r events.Rule) error {
	switch {
	case r.Name == "":
		return errors.New("a rule has no name; give it one, as in name: login")
	case r.Limit < 0:
		return fmt.Errorf("%q has no limit; give it one, as in limit: 5 (0 acts on the first event)", r.Name)
	case r.Action == "":
		return fmt.Errorf("%q has no action; want action: block, limit, shadow or alert (shadow only counts)", r.Name)
	}
	if err := r.Check(); err != nil {
		return fmt.Errorf("%q: %w", r.Name, err)
	}
	return nil
}

// nextRule returns an error if r cannot follow the rules before it.
func nextRule(before []events.Rule, r events.Rule) error {
	if len(before) == events.MaxRules {
		return fmt.Errorf("more than %d; %q is one too many", events.MaxRules, r.Name)
	}
	return events.CheckAll(append(slices.Clip(before), r))
}
