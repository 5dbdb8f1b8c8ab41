package main

import (
	"github.com/urfave/cli/v2"

	"github.com/paraxial/paraxial/control"
)

func (p *program) confirmCommand() command {
	return command{
		Command: &cli.Command{
			Name:      "confirm",
			Usage:     "keep a block that was made with --confirm",
			ArgsUsage: "[ID]",
			Action:    p.confirm,
		},
	}
}

func (p *program) confirm(c *cli.Context) error {
	if c.NArg() > 1 {
		return misuse(c, "confirm takes one ID, got %d", c.NArg())
	}
	result, err := p.client.Confirm(c.Context, control.ConfirmRequest{ID: c.Args().First()})
	if err != nil {
		return err
	}
	if p.json() {
		return p.printJSON(result)
	}
	p.notes(result.Notes)
	p.changed(result, func(control.Entry) string { return "confirmed" })
	return nil
}
