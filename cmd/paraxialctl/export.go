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
			Usage:     "print the entries, so that import reads them back",
			ArgsUsage: "[blocks|allows]",
			Description: "Prints one line for each entry: its prefix, a tab and its origin. Without an argument, the blocks.\n" +
				"What import would make more of than it is, a limit, a shadow or a block still to be confirmed, is a comment.\n" +
				"With -o json, all of every entry.",
			Flags:  []cli.Flag{listOriginFlag()},
			Action: p.export,
		},
		args: kinds(),
	}
}

func (p *program) export(c *cli.Context) error {
	// An allow read back by import would become a block, so it takes asking.
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
