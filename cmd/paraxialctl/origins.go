package main

import (
	"time"

	"github.com/urfave/cli/v2"

	"github.com/paraxial/paraxial/control"
)

func (p *program) originsCommand() command {
	return command{
		Command: &cli.Command{
			Name:   "origins",
			Usage:  "show where the entries come from, with their numbers and drops",
			Action: p.origins,
		},
	}
}

func (p *program) origins(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	r, err := p.client.Origins(c.Context)
	if err != nil {
		return err
	}
	if p.json() {
		return p.printJSON(r)
	}
	w := newTable(p.out)
	row(w, "ORIGIN", "KIND", "ENTRIES", "DROPS", "CHANGED", "GENERATION", "LAST EXPIRY")
	for _, o := range r.Origins {
		drops := "-"
		if o.Kind == "block" {
			drops = packets(control.Entry{Kind: o.Kind, Drops: o.Drops, DropsEstimated: o.DropsEstimated})
		}
		last := "never"
		if o.Forever == 0 {
			last = p.expiry(o.LastExpiry)
		}
		row(w, printable(o.Origin), printable(o.Kind), count(o.Entries), drops, p.ago(o.Changed),
			generation(o.Generation), last)
	}
	return w.Flush()
}

// ago returns how long ago something was.
func (p *program) ago(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return p.since(t) + " ago"
}
