package main

import (
	"github.com/urfave/cli/v2"

	"github.com/paraxial/paraxial/control"
)

func (p *program) unallowCommand() command {
	return command{
		Command: &cli.Command{
			Name:      "unallow",
			Usage:     "remove allows",
			ArgsUsage: "PREFIX...",
			Flags: append(removeFlags(),
				boolFlag("force", "also remove allows that spare open sessions, and cut these sessions")),
			Action: p.unallow,
		},
	}
}

func (p *program) unallow(c *cli.Context) error {
	prefixes, origin, err := p.removal(c)
	if err != nil {
		return err
	}
	req := control.UnallowRequest{Prefixes: prefixes, Origin: origin, All: c.Bool("all"), Force: c.Bool("force")}
	result, err := p.client.Unallow(c.Context, req)
	if err != nil {
		return err
	}
	if err := p.removed(result, "no longer allowed:", "no allow", prefixes, origin); err != nil {
		return err
	}
	if !p.json() && len(result.StillBlocked) > 0 {
		p.printf("Blocks that match:\n")
		p.blockers(result.StillBlocked)
	}
	return removedNone(result)
}
