package main

import (
	"cmp"
	"maps"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/paraxial/paraxial/control"
)

func (p *program) statsCommand() command {
	return command{
		Command: &cli.Command{
			Name:   "stats",
			Usage:  "show received packets and bytes, by interface and reason",
			Action: p.stats,
		},
	}
}

func (p *program) stats(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	s, err := p.client.Stats(c.Context)
	if err != nil {
		return err
	}
	if p.json() {
		return p.printJSON(s)
	}
	w := newTable(p.out)
	row(w, "INTERFACE", "REASON", "PACKETS", "BYTES")
	for _, i := range s.Interfaces {
		row(w, printable(i.Name), "(all)", count(i.Packets), count(i.Bytes))
		for _, reason := range busiestFirst(i.Reasons) {
			n := i.Reasons[reason]
			row(w, printable(i.Name), printable(reason), count(n.Packets), count(n.Bytes))
		}
	}
	return w.Flush()
}

func busiestFirst(reasons map[string]control.Counter) []string {
	return slices.SortedFunc(maps.Keys(reasons), func(a, b string) int {
		return cmp.Or(cmp.Compare(reasons[b].Packets, reasons[a].Packets), cmp.Compare(a, b))
	})
}
