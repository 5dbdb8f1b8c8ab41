package main

import (
	"github.com/urfave/cli/v2"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/policy"
)

func (p *program) allowCommand() command {
	return command{
		Command: &cli.Command{
			Name:      "allow",
			Usage:     "let packets from addresses pass, whatever blocks them",
			ArgsUsage: "PREFIX...",
			Flags:     []cli.Flag{forFlag(), reasonFlag()},
			Action:    p.allow,
		},
	}
}

func (p *program) allow(c *cli.Context) error {
	req := control.AllowRequest{Origin: policy.OriginCLI}
	var err error
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
	for _, e := range result.Entries {
		p.printf("allowed %s, %s\n", printable(e.Prefix), p.ending(e))
	}
	return nil
}
