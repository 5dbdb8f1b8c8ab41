package main

import (
	"bufio"
	"errors"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/paraxial/paraxial/control"
)

func (p *program) flushCommand() command {
	return command{
		Command: &cli.Command{
			Name:      "flush",
			Usage:     "remove all entries of one origin",
			ArgsUsage: "[blocks|allows] --origin NAME",
			Flags: []cli.Flag{
				&cli.StringFlag{Name: "origin", Usage: "remove the entries of origin `NAME`"},
				&cli.BoolFlag{
					Name: "yes", Aliases: []string{"y"}, Usage: "do not ask first", DisableDefaultText: true,
				},
			},
			Action: p.flush,
		},
		args: kinds(),
	}
}

func (p *program) flush(c *cli.Context) error {
	req, err := p.flushRequest(c)
	if err != nil {
		return err
	}
	if !c.Bool("yes") {
		if err := p.askToFlush(c, req); err != nil {
			return err
		}
	}
	result, err := p.client.Flush(c.Context, req)
	if err != nil {
		return err
	}
	if p.json() {
		return p.printJSON(result)
	}
	p.notes(result.Notes)
	p.printf("%s: %s removed\n", printable(result.Origin), flushed(result))
	return nil
}

func (p *program) flushRequest(c *cli.Context) (req control.FlushRequest, err error) {
	if req.Kind, err = p.kind(c, ""); err != nil {
		return req, err
	}
	if !c.IsSet("origin") {
		return req, misuse(c, "flush needs --origin NAME; paraxialctl list shows the origins")
	}
	req.Origin = c.String("origin")
	if err := control.CheckFlushOrigin(req.Origin); err != nil {
		return req, misuse(c, "--%v", err)
	}
	return req, nil
}

// askToFlush asks whether to remove the entries, with their number. It returns nil only
// after a yes.
func (p *program) askToFlush(c *cli.Context, req control.FlushRequest) error {
	dry := req
	dry.DryRun = true
	found, err := p.client.Flush(c.Context, dry)
	if err != nil {
		return err
	}
	if found.Blocks+found.Allows == 0 {
		return nil
	}
	fmt.Fprintf(p.stderr, "Remove %s of origin %s? [y/N] ", flushed(found), printable(req.Origin))
	answer, _ := bufio.NewReader(p.stdin).ReadString('\n')
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	fmt.Fprintln(p.stderr)
	return errors.New("nothing was removed; to remove the entries without a question, add --yes")
}

func flushed(r control.FlushResult) string {
	return fmt.Sprintf("%s and %s", blocksText(r.Blocks), allowsText(r.Allows))
}
