package main

import (
	"github.com/urfave/cli/v2"

	"github.com/paraxial/paraxial/control"
)

func (p *program) unblockCommand() command {
	return command{
		Command: &cli.Command{
			Name:      "unblock",
			Usage:     "remove blocks",
			ArgsUsage: "PREFIX...",
			Flags:     removeFlags(),
			Action:    p.unblock,
		},
	}
}

func (p *program) unblock(c *cli.Context) error {
	prefixes, origin, err := p.removal(c)
	if err != nil {
		return err
	}
	req := control.UnblockRequest{Prefixes: prefixes, Origin: origin, All: c.Bool("all")}
	result, err := p.client.Unblock(c.Context, req)
	if err != nil {
		return err
	}
	if err := p.removed(result, "unblocked", "no block", prefixes, origin); err != nil {
		return err
	}
	if !p.json() && len(result.StillBlocked) > 0 {
		p.printf("Still blocked:\n")
		p.blockers(result.StillBlocked)
		p.printf("To lift it:\n")
		p.waysOut(result.StillBlocked, prefixes)
	}
	return removedNone(result)
}
