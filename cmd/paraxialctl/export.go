package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/policy"
)

func (p *program) exportCommand() command {
	return command{
		Command: &cli.Command{
			Name:      "export",
			Usage:     "print the entries in the format that import reads",
			ArgsUsage: "[blocks|allows]",
			Description: "Prints one line for each entry: its prefix, a tab and its origin. Without an argument it\n" +
				"prints the blocks. Limits, shadow entries and unconfirmed blocks are comments, since import\n" +
				"would make blocks of them. With -o json, it prints all fields of every entry.",
			Flags:  []cli.Flag{listOriginFlag()},
			Action: p.export,
		},
		args: kinds(),
	}
}

func (p *program) export(c *cli.Context) error {
	// Import would make a block of an allow, so allows are printed only on request.
	kind, err := p.kind(c, policy.Block.String())
	if err != nil {
		return err
	}
	origin, err := p.origin(c)
	if err != nil {
		return err
	}
	if p.json() {
		return p.entryArray(c, kind, origin)
	}
	return p.client.Entries(c.Context, kind, origin, func(e control.Entry) error {
		_, err := fmt.Fprintf(p.out, "%s%s\t%s\n", exportMark(e), printable(e.Prefix), printable(e.Origin))
		return err
	})
}

func exportMark(e control.Entry) string {
	switch {
	case e.Pending != nil:
		return "# unconfirmed: "
	case e.Action == policy.Shadow.String():
		return "# shadow: "
	case e.Action == policy.Limit.String():
		return "# limit " + printable(e.Rate) + ": "
	}
	return ""
}
