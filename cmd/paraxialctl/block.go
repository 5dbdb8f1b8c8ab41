package main

import (
	"github.com/urfave/cli/v2"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/policy"
)

func (p *program) blockCommand() command {
	return command{
		Command: &cli.Command{
			Name:      "block",
			Usage:     "drop packets from addresses",
			ArgsUsage: "PREFIX...",
			Flags: []cli.Flag{
				forFlag(),
				reasonFlag(),
				ownOriginFlag(),
				limitFlag(),
				repliesFlag(),
				boolFlag("shadow", "only count the packets that would be dropped"),
				&cli.StringFlag{Name: "confirm", Usage: "revert after `DUR` unless `paraxialctl confirm` is run"},
				forceFlag(),
				replaceFlag(),
				boolFlag("dry-run", "change nothing; show the connections it would cut, and whether the guard refuses"),
			},
			Action: p.block,
		},
	}
}

func (p *program) block(c *cli.Context) error {
	req, err := p.blockRequest(c)
	if err != nil {
		return err
	}
	if c.Bool("dry-run") {
		return p.preview(c, req)
	}
	result, err := p.client.Block(c.Context, req)
	if err != nil {
		return err
	}
	if p.json() {
		return p.printJSON(result)
	}
	p.notes(result.Notes)
	p.changed(result, blockVerb)
	if result.ConfirmID != "" && result.ConfirmBy != nil {
		p.howToConfirm(result)
	}
	return nil
}

// howToConfirm says what happens without a confirmation, and how to confirm. Entries that were
// there before stay in force, and the stronger of two entries of a prefix acts.
func (p *program) howToConfirm(r control.ChangeResult) {
	by, in, id := p.clock(*r.ConfirmBy), p.expiry(r.ConfirmBy), printable(r.ConfirmID)
	if len(r.Beside) == 0 {
		p.printf("\nThis reverts at %s (%s). To keep it:\n  paraxialctl confirm %s\n", by, in, id)
		return
	}
	left := "block is left. To replace it by the new one"
	if len(r.Beside) > 1 {
		left = "blocks are left. To replace them by the new ones"
	}
	p.printf("\nUntil the confirmation, the stronger of the old and the new block acts.\n"+
		"At %s (%s) only the old %s:\n  paraxialctl confirm %s\n", by, in, left, id)
}

func (p *program) blockRequest(c *cli.Context) (control.BlockRequest, error) {
	req := control.BlockRequest{Action: policy.Drop.String(), Force: c.Bool("force"), Replace: c.Bool("replace")}
	if c.Bool("shadow") {
		req.Action = policy.Shadow.String()
	}
	var err error
	if req.Prefixes, err = p.prefixes(c); err != nil {
		return req, err
	}
	if req.Origin, err = p.ownOrigin(c); err != nil {
		return req, err
	}
	if req.Rate, err = p.rate(c); err != nil {
		return req, err
	}
	if req.Rate != "" {
		req.Action = policy.Limit.String()
	}
	if req.Replies, err = p.replies(c); err != nil {
		return req, err
	}
	if req.For, err = p.duration(c, "for"); err != nil {
		return req, err
	}
	if req.Reason, err = p.reason(c); err != nil {
		return req, err
	}
	if req.Confirm, err = p.duration(c, "confirm"); err != nil {
		return req, err
	}
	if req.Confirm == "forever" {
		return req, misuse(c, "--confirm: forever leaves nothing to confirm; give a time such as 60s")
	}
	return req, nil
}

// rate returns the value of --limit; empty if unset.
func (p *program) rate(c *cli.Context) (string, error) {
	if !c.IsSet("limit") {
		return "", nil
	}
	if c.Bool("shadow") {
		return "", misuse(c, "--limit and --shadow exclude each other")
	}
	s := c.String("limit")
	if _, err := policy.ParseRate(s); err != nil {
		return "", misuse(c, "--limit: %v", err)
	}
	return s, nil
}

func blockVerb(e control.Entry) string {
	switch e.Action {
	case policy.Shadow.String():
		return "shadowing"
	case policy.Limit.String():
		return "limited to " + printable(e.Rate) + ":"
	}
	return "blocked"
}
