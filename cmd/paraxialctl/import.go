package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/policy"
)

func (p *program) importCommand() command {
	return command{
		Command: &cli.Command{
			Name:      "import",
			Usage:     "replace the blocks or allows of one origin by those in a list",
			ArgsUsage: "FILE|-",
			Description: "Reads FILE, or standard input for \"-\", in one of many formats, also compressed.\n" +
				"The format is recognised, or named with --format. A line that is not understood as a\n" +
				"whole is an error. The origin is the name of the file without its extension; a general\n" +
				"name such as ipv4.txt gets the name of its folder before it. A list that would empty,\n" +
				"halve or triple a large set is held until --accept.",
			Flags: []cli.Flag{
				&cli.StringFlag{
					Name:  "origin",
					Usage: "replace the entries of origin `NAME` (default: the name of the file, or stdin)",
				},
				&offeringFlag{
					&cli.StringFlag{Name: "kind", Usage: "make `KIND` of the list: block or allow (default: block)"},
					offer{Words: []string{policy.Block.String(), policy.Allow.String()}},
				},
				limitFlag(),
				repliesFlag(),
				boolFlag("shadow", "only count the packets that would be dropped"),
				forFlag(),
				reasonFlag(),
				&cli.StringFlag{Name: "format", Usage: "read the list as `FORMAT`, instead of recognising it"},
				&cli.StringFlag{Name: "column",
					Usage: "take the addresses from the column `NAME`, a name or number; FIRST-LAST for ranges"},
				&cli.StringFlag{Name: "select", Usage: "take only the records with `KEY=VALUE,...`"},
				boolFlag("aggregate", "merge prefixes that overlap or touch"),
				boolFlag("skip-invalid", "skip lines that are not understood, instead of applying nothing"),
				boolFlag("dry-run", "change nothing; show what would change, and what the guard refuses"),
				boolFlag("accept", "apply a list that is held because it changes or covers too much"),
				boolFlag("wide", "accept very wide prefixes, and keep what is protected"),
				forceFlag(),
			},
			Action: p.importList,
		},
		args: offer{Files: true},
	}
}

func (p *program) importList(c *cli.Context) error {
	if c.NArg() != 1 {
		return misuse(c, "import takes one file, got %d", c.NArg())
	}
	name := c.Args().First()
	if strings.Contains(name, "://") {
		return misuse(c, "import reads files: use `curl -fsSL %s | paraxialctl import - --origin NAME`", name)
	}
	req, err := p.importRequest(c, name)
	if err != nil {
		return err
	}
	list, err := p.readList(c, name)
	if err != nil {
		return err
	}
	if list.Bad > 0 && (!req.SkipInvalid || len(list.Entries) == 0) {
		return p.notUnderstood(shownName(name), req.Origin, list)
	}
	notes := append(readNotes(list), p.useDetails(c, list)...)
	if c.Bool("aggregate") {
		aggregateList(list)
	}
	bar := newProgress(p.stderr, p.now)
	result, err := p.client.Import(c.Context, req, &canonical{entries: list.Entries, now: p.now()}, bar.show)
	bar.clear()
	if err != nil {
		return err
	}
	originalLines(list, &result)
	result.Notes = append(notes, result.Notes...)
	if req.DryRun {
		return p.importPreview(c, req, list, result)
	}
	return p.imported(shownName(name), req, result, list.Bad)
}

func (p *program) importRequest(c *cli.Context, name string) (control.ImportRequest, error) {
	req := control.ImportRequest{SkipInvalid: c.Bool("skip-invalid"), Force: c.Bool("force"), Wide: c.Bool("wide"),
		Accept: c.Bool("accept"), DryRun: c.Bool("dry-run")}
	if req.Origin = originOf(name); c.IsSet("origin") {
		req.Origin = c.String("origin")
	} else if req.Origin == "" {
		return req, misuse(c, "%s gives no name for the list; name it with --origin", name)
	}
	err := control.CheckImportOrigin(req.Origin)
	if err != nil {
		return req, misuse(c, "%v (--origin NAME)", err)
	}
	if err := p.importEffect(c, &req); err != nil {
		return req, err
	}
	if req.For, err = p.duration(c, "for"); err != nil {
		return req, err
	}
	req.Reason, err = p.reason(c)
	return req, err
}

// importEffect sets what the request makes of the list.
func (p *program) importEffect(c *cli.Context, req *control.ImportRequest) (err error) {
	switch req.Kind = c.String("kind"); req.Kind {
	case "", policy.Block.String():
	case policy.Allow.String():
		if c.Bool("shadow") || c.IsSet("limit") || c.IsSet("replies") {
			return misuse(c, "--kind allow excludes --shadow, --limit and --replies")
		}
	default:
		return misuse(c, "--kind: want block or allow, got %q", req.Kind)
	}
	if c.Bool("shadow") {
		req.Action = policy.Shadow.String()
	}
	if req.Replies, err = p.replies(c); err != nil {
		return err
	}
	req.Rate, err = p.rate(c)
	return err
}

// imported prints the result of an import.
func (p *program) imported(name string, req control.ImportRequest, r control.ImportResult, bad int) error {
	failed := len(r.Invalid) > 0 && !req.SkipInvalid
	for _, l := range r.Invalid[:min(len(r.Invalid), shown)] {
		fmt.Fprintf(p.stderr, "%s:%d: %s\n", printable(name), l.Line, printable(l.Message))
	}
	bad = max(bad, len(r.Invalid))
	more(p.stderr, bad)
	if p.json() {
		if err := p.printJSON(r); err != nil {
			return err
		}
	} else {
		p.importSummary(req, r, failed, bad)
	}
	if failed {
		return errReported
	}
	return nil
}

func (p *program) importSummary(req control.ImportRequest, r control.ImportResult, failed bool, bad int) {
	p.notes(r.Notes)
	if failed {
		fmt.Fprintf(p.stderr, "paraxialctl: %s: nothing was applied; "+
			"correct the list or skip such lines with --skip-invalid\n", req.Origin)
		return
	}
	p.printf("%s: %s", req.Origin, importChanges(r))
	if bad > 0 {
		p.printf(", %s invalid", count(bad))
	}
	p.printf("\n")
	p.importSpared(r.Spared)
	if len(r.Refused) == 0 {
		return
	}
	p.printf("Refused:\n")
	for _, l := range r.Refused[:min(len(r.Refused), shown)] {
		p.printf("  %s (line %d): %s\n", printable(l.Prefix), l.Line, printable(l.Message))
	}
	more(p.out, len(r.Refused))
}

// importSpared shows the open sessions that the list would cut.
func (p *program) importSpared(lines []control.SparedLine) {
	if len(lines) == 0 {
		return
	}
	p.printf("%s prefix(es) cover sessions that are open now. These addresses are spared as long as they last:\n",
		count(len(lines)))
	for _, l := range lines[:min(len(lines), shown)] {
		p.printf("  %s (line %d): %s\n", printable(l.Prefix), l.Line, printable(strings.Join(l.Addresses, ", ")))
	}
	more(p.out, len(lines))
}
