package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/policy"
)

func (p *program) detectorsCommand() command {
	return command{
		Command: &cli.Command{
			Name:   "detectors",
			Usage:  "show the detectors of the rate analysis, and their decisions",
			Action: p.detectors,
		},
	}
}

func (p *program) detectors(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	s, err := p.client.Detectors(c.Context)
	if err != nil {
		return err
	}
	if p.json() {
		return p.printJSON(s)
	}
	if !s.Enabled {
		p.printf("Rate analysis is off: the configuration has no detectors.\n")
		return nil
	}
	if err := p.thresholds(s.Detectors); err != nil {
		return err
	}
	p.printf("\n")
	if err := p.decisions(s.Detectors); err != nil {
		return err
	}
	p.printf("\n")
	return p.analysis(s)
}

func (p *program) thresholds(all []control.DetectorStatus) error {
	w := newTable(p.out)
	row(w, "DETECTOR", "LIMIT", "WINDOW", "PER", "ACTION", "FOR", "MATCH")
	for _, d := range all {
		per := fmt.Sprintf("/%d,/%d", d.IPv4Prefix, d.IPv6Prefix)
		row(w, printable(d.Name), printable(d.Limit), printable(d.Window), per,
			printable(d.Action), printable(d.For), printable(d.Match))
	}
	return w.Flush()
}

func (p *program) decisions(all []control.DetectorStatus) error {
	w := newTable(p.out)
	row(w, "DETECTOR", "LIVE", "BLOCK", "LIMIT", "SHADOW", "EXTENDED", "LIFTED", "SPARED", "NO ROOM")
	for _, d := range all {
		decided := func(a string) string { return count(d.Decisions[a]) }
		row(w, printable(d.Name), count(d.Entries),
			decided(policy.Block.String()), decided(policy.Limit.String()), decided(policy.Shadow.String()),
			count(d.Extended), count(d.Lifted), count(d.Spared), count(d.NoRoom))
	}
	return w.Flush()
}

// analysis prints what all detectors share.
func (p *program) analysis(s control.DetectorsStatus) error {
	w := newTable(p.out)
	row(w, "sources", fmt.Sprintf("%s of %s tracked; %s offenders remembered",
		count(s.Tracked), count(s.Capacity), count(s.Offenders)))
	row(w, "entries", fmt.Sprintf("%s of %s", count(s.Entries), count(s.MaxEntries)))
	row(w, "breaker", p.breakerText(s.Breaker))
	row(w, "sampling", samplingText(s.Sampling))
	if err := w.Flush(); err != nil {
		return err
	}
	if s.Sampling.Exceeded {
		p.printf("warning: more sources at once than detection is designed for; offenders may be found late\n")
	}
	return nil
}

func (p *program) breakerText(b control.BreakerStatus) string {
	changed := ""
	if b.Since != nil {
		changed = " for " + p.since(*b.Since)
	}
	switch {
	case b.Open:
		return "OPEN" + changed + ": too many bans a minute, so new bans are shadow entries"
	case b.Trips == 0:
		return "closed, has never opened"
	}
	return fmt.Sprintf("closed%s, opened %s", changed, times(b.Trips))
}

func samplingText(s control.SamplingStatus) string {
	interval := "every packet"
	if s.Interval > 1 {
		interval = "one packet in " + count(s.Interval)
	}
	return fmt.Sprintf("%s; %s samples lost, %s sources not tracked for lack of room",
		interval, count(s.Lost), count(s.Refused))
}

func times(n uint64) string {
	if n == 1 {
		return "once"
	}
	return count(n) + " times"
}
