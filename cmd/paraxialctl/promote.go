package main

import (
	"cmp"

	"github.com/urfave/cli/v2"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/policy"
)

func (p *program) promoteCommand() command {
	return command{
		Command: &cli.Command{
			Name:      "promote",
			Usage:     "turn shadow entries into blocks: drop the packets that they counted",
			ArgsUsage: "PREFIX...",
			Flags: []cli.Flag{
				originFlag("promote"),
				forceFlag(),
			},
			Action: p.promote,
		},
	}
}

func (p *program) promote(c *cli.Context) error {
	req := control.PromoteRequest{Force: c.Bool("force")}
	var err error
	if req.Prefixes, err = p.prefixes(c); err != nil {
		return err
	}
	if req.Origin, err = p.origin(c); err != nil {
		return err
	}
	req.Origin = cmp.Or(req.Origin, policy.OriginCLI)
	result, err := p.client.Promote(c.Context, req)
	if err != nil {
		return err
	}
	if p.json() {
		return p.printJSON(result)
	}
	p.notes(result.Notes)
	for _, e := range result.Entries {
		p.printf("blocked %s (origin %s), %s\n", printable(e.Prefix), printable(e.Origin), p.ending(e))
	}
	return nil
}
