package main

import (
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/policy"
)

func removeFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "origin", Usage: "remove what `NAME` put (default: " + policy.OriginCLI + ")"},
		&cli.BoolFlag{Name: "all", Usage: "remove what anybody put", DisableDefaultText: true},
	}
}

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
	result, err := p.client.Unblock(c.Context, control.UnblockRequest{Prefixes: prefixes, Origin: origin, All: c.Bool("all")})
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

// removal reads the arguments of unblock and unallow.
func (p *program) removal(c *cli.Context) (prefixes []string, origin string, err error) {
	if prefixes, err = p.prefixes(c); err != nil {
		return nil, "", err
	}
	if origin, err = p.origin(c); err != nil {
		return nil, "", err
	}
	if c.Bool("all") {
		if origin != "" {
			return nil, "", misuse(c, "--origin and --all exclude each other")
		}
		return prefixes, "", nil
	}
	if origin == "" {
		origin = policy.OriginCLI
	}
	return prefixes, origin, nil
}

// removed prints what was removed, or that nothing was.
func (p *program) removed(r control.RemoveResult, verb, nothing string, prefixes []string, origin string) error {
	if p.json() {
		return p.printJSON(r)
	}
	p.notes(r.Notes)
	for _, e := range r.Removed {
		p.printf("%s %s (origin %s)\n", verb, printable(e.Prefix), printable(e.Origin))
	}
	if len(r.Removed) == 0 {
		whose := ""
		if origin != "" {
			whose = " of origin " + origin
		}
		p.printf("nothing removed: there is %s%s for %s\n", nothing, whose, some(prefixes))
	}
	return nil
}

// removedNone is a failure if nothing was removed.
func removedNone(r control.RemoveResult) error {
	if len(r.Removed) == 0 {
		return errReported
	}
	return nil
}

func (p *program) blockers(entries []control.Entry) {
	w := newTable(p.out)
	for _, e := range entries[:min(len(entries), shown)] {
		row(w, "  by "+printable(e.Prefix), "origin "+printable(e.Origin), p.ending(e), printable(e.Reason))
	}
	w.Flush()
	more(p.out, len(entries))
}

// waysOut prints the commands that let prefixes through in spite of entries.
func (p *program) waysOut(entries []control.Entry, prefixes []string) {
	for _, e := range entries[:min(len(entries), shown)] {
		p.printf("  paraxialctl unblock %s --origin %s\n", printable(e.Prefix), printable(e.Origin))
	}
	if len(entries) > 1 {
		p.printf("  paraxialctl unblock PREFIX --all    # what anybody put on that prefix\n")
	}
	p.printf("  paraxialctl allow %s    # whatever blocks it\n", some(prefixes))
}

// some writes the first few of args.
func some(args []string) string {
	const few = 3
	if len(args) > few {
		return strings.Join(args[:few], " ") + " ..."
	}
	return strings.Join(args, " ")
}
