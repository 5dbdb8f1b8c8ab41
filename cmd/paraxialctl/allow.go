package main

import (
	"github.com/urfave/cli/v2"

	"github.com/paraxial/paraxial/control"
)

func (p *program) allowCommand() command {
	return command{
		Command: &cli.Command{
			Name:      "allow",
			Usage:     "let packets from addresses pass, whatever blocks them",
			ArgsUsage: "PREFIX...",
			Flags: []cli.Flag{
				forFlag(), reasonFlag(), ownOriginFlag(),
				boolFlag("force", "accept prefixes so wide that filtering is off for much of the address space"),
				replaceFlag(),
			},
			Action: p.allow,
		},
	}
}

func (p *program) allow(c *cli.Context) error {
	req := control.AllowRequest{Force: c.Bool("force"), Replace: c.Bool("replace")}
	var err error
	if req.Origin, err = p.ownOrigin(c); err != nil {
		return err
	}
	if req.Prefixes, err = p.prefixes(c); err != nil {
		return err
	}
	if req.For, err = p.duration(c, "for"); err != nil {
		return err
	}
	if req.Reason, err = p.reason(c); err != nil {
		return err
	}
	result, err := p.client.Allow(c.Context, req)
	if err != nil {
		return err
	}
	if p.json() {
		return p.printJSON(result)
	}
	p.notes(result.Notes)
	p.changed(result, func(control.Entry) string { return "allowed" })
	return nil
}
