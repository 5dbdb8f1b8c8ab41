package main

import (
	"fmt"
	"maps"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/policy"
)

func (p *program) rulesCommand() command {
	return command{
		Command: &cli.Command{
			Name:      "rules",
			Usage:     "show the rules over events, and what became of the events",
			ArgsUsage: "[NAME]",
			Action:    p.rules,
		},
	}
}

func (p *program) rules(c *cli.Context) error {
	if c.NArg() > 1 {
		return misuse(c, "rules takes at most one name, got %d", c.NArg())
	}
	name := c.Args().First()
	s, err := p.client.Rules(c.Context, name)
	if err != nil {
		return err
	}
	if p.json() {
		return p.printJSON(s)
	}
	if len(s.Rules) == 0 {
		p.printf("The configuration has no rules.\n")
		return nil
	}
	if err := p.ruleTable(s.Rules); err != nil {
		return err
	}
	p.printf("\n")
	if err := p.ruleCounts(s.Rules); err != nil {
		return err
	}
	p.printf("\n")
	w := newTable(p.out)
	row(w, "entries", fmt.Sprintf("%s; rules and detectors together may have %s",
		count(s.Entries), count(s.MaxEntries)))
	row(w, "memory", fmt.Sprintf("%d KiB of %d KiB", s.Memory>>10, s.MaxMemory>>10))
	row(w, "breaker", p.breakerText(s.Breaker))
	if err := w.Flush(); err != nil || name == "" {
		return err
	}
	return p.ruleDetails(s.Rules[0])
}

func (p *program) ruleTable(all []control.RuleStatus) error {
	w := newTable(p.out)
	row(w, "RULE", "LIMIT", "WINDOW", "PER", "DISTINCT", "ACTION", "FOR")
	for _, r := range all {
		action := r.Action
		if r.Rate != "" {
			action += " " + r.Rate
		}
		distinct := r.Distinct
		if distinct == "" {
			distinct = "-"
		}
		per := fmt.Sprintf("/%d,/%d", r.IPv4Prefix, r.IPv6Prefix)
		row(w, printable(r.Name), count(r.Limit), printable(r.Window), per, printable(distinct),
			printable(action), printable(r.For))
	}
	return w.Flush()
}

func (p *program) ruleCounts(all []control.RuleStatus) error {
	w := newTable(p.out)
	row(w, "RULE", "LIVE", "COUNTED", "BANNED", "HELD", "REFUSED", "SOURCES", "EVICTED", "INEFFECTIVE")
	for _, r := range all {
		refused := uint64(0)
		for result, n := range r.Events {
			if !slices.Contains([]string{"counted", "banned", "alerted", "held", "success", "future"}, result) {
				refused += n
			}
		}
		row(w, printable(r.Name), count(r.Entries), count(r.Events["counted"]),
			count(r.Events["banned"]+r.Events["alerted"]), count(r.Events["held"]), count(refused), count(r.Sources),
			count(r.Evicted), count(r.Ineffective))
	}
	return w.Flush()
}

// ruleDetails prints what became of the events of one rule, and the sources nearest to its limit.
func (p *program) ruleDetails(r control.RuleStatus) error {
	p.printf("\n")
	w := newTable(p.out)
	row(w, "RESULT", "EVENTS")
	for _, result := range slices.Sorted(maps.Keys(r.Events)) {
		row(w, printable(result), count(r.Events[result]))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if len(r.Nearest) == 0 {
		p.printf("\nNo source has points now.\n")
		return nil
	}
	p.printf("\n")
	w = newTable(p.out)
	row(w, "SOURCE", "POINTS", "LIMIT", "LAST EVENT")
	for _, s := range r.Nearest {
		row(w, printable(s.Source), count(s.Points), count(s.Limit), p.since(s.Last)+" ago")
	}
	return w.Flush()
}

func (p *program) forgiveCommand() command {
	return command{
		Command: &cli.Command{
			Name:      "forgive",
			Usage:     "forget what rules and detectors hold against an address",
			ArgsUsage: "IP",
			Flags: []cli.Flag{
				&cli.BoolFlag{Name: "unblock", Usage: "also remove the entries of rules and detectors that cover it"},
			},
			Action: p.forgive,
		},
	}
}

func (p *program) forgive(c *cli.Context) error {
	if c.NArg() != 1 {
		return misuse(c, "forgive takes one address, got %d", c.NArg())
	}
	address := c.Args().First()
	if _, err := policy.ParseAddr(address); err != nil {
		return misuse(c, "%v", err)
	}
	result, err := p.client.Forgive(c.Context, control.ForgiveRequest{Address: address, Unblock: c.Bool("unblock")})
	if err != nil {
		return err
	}
	if p.json() {
		return p.printJSON(result)
	}
	if len(result.Counts)+len(result.Offences)+len(result.Removed) == 0 {
		p.printf("Nothing was held against %s.\n", printable(result.Address))
	}
	for _, s := range result.Counts {
		p.printf("forgot %d points of %s by rule %s\n", s.Points, printable(s.Source), printable(s.Rule))
	}
	for _, o := range result.Offences {
		p.printf("forgot %s of %s by %s\n", offencesText(o.Offences), printable(o.Prefix), printable(o.Origin))
	}
	for _, e := range result.Removed {
		p.printf("unblocked %s (origin %s)\n", printable(e.Prefix), printable(e.Origin))
	}
	p.remaining(result.StillBlocked)
	return nil
}

func offencesText(n int) string {
	if n == 1 {
		return "1 offence"
	}
	return fmt.Sprintf("%d offences", n)
}

// remaining prints the entries that still cover a forgiven address, and how to remove them.
func (p *program) remaining(entries []control.Entry) {
	if len(entries) == 0 {
		return
	}
	p.printf("\nThese entries still cover it:\n")
	for _, e := range entries {
		prefix, origin := printable(e.Prefix), printable(e.Origin)
		p.printf("  %s %s%s (origin %s), %s: paraxialctl unblock %s --origin %s\n",
			printable(e.Kind), prefix, actionText(e), origin, p.ending(e), prefix, origin)
	}
}
