package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/paraxial/paraxial/control"
)

func (p *program) importCommand() command {
	return command{
		Command: &cli.Command{
			Name:      "import",
			Usage:     "replace the blocks of one origin by those in a list",
			ArgsUsage: "FILE|-",
			Description: "Reads FILE, or standard input for \"-\": one address or prefix a line, comments after\n" +
				"# or ;. The origin is the name of the file without its extension.",
			Flags: []cli.Flag{
				&cli.StringFlag{
					Name:  "origin",
					Usage: "replace the entries of origin `NAME` (default: the name of the file, or stdin)",
				},
				forFlag(),
				reasonFlag(),
				boolFlag("skip-invalid", "skip lines that are not a prefix, instead of applying nothing"),
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
	req, err := p.importRequest(c, name)
	if err != nil {
		return err
	}
	list, done, err := p.openList(name)
	if err != nil {
		return err
	}
	defer done()
	bar := newProgress(p.stderr, p.now)
	result, err := p.client.Import(c.Context, req, list, bar.show)
	bar.clear()
	if err != nil {
		return err
	}
	return p.imported(shownName(name), req, result)
}

func (p *program) importRequest(c *cli.Context, name string) (control.ImportRequest, error) {
	req := control.ImportRequest{SkipInvalid: c.Bool("skip-invalid"), Force: c.Bool("force")}
	if req.Origin = originOf(name); c.IsSet("origin") {
		req.Origin = c.String("origin")
	} else if req.Origin == "" {
		return req, misuse(c, "%s gives no name for the list; name it with --origin", name)
	}
	err := control.CheckImportOrigin(req.Origin)
	if err != nil {
		return req, misuse(c, "%v (--origin NAME)", err)
	}
	if req.For, err = p.duration(c, "for"); err != nil {
		return req, err
	}
	req.Reason, err = p.reason(c)
	return req, err
}

var (
	notInOrigin   = regexp.MustCompile(`[^A-Za-z0-9._-]+`)
	notAtItsStart = regexp.MustCompile(`^[._-]+`)
)

// originOf derives an origin from the name of a file: "lists/ipsum.txt" is
// "ipsum". It is empty if no letter or digit remains, or if name is the name of
// a pipe.
func originOf(name string) string {
	const longest = 63
	if name == "-" {
		return "stdin"
	}
	if strings.HasPrefix(name, "/dev/fd/") || strings.HasPrefix(name, "/proc/") {
		return "" // a shell replaces <(command) by such a name
	}
	base := filepath.Base(name)
	origin := notInOrigin.ReplaceAllString(strings.TrimSuffix(base, filepath.Ext(base)), "-")
	origin = notAtItsStart.ReplaceAllString(origin, "")
	return strings.TrimRight(origin[:min(len(origin), longest)], "-")
}

func shownName(name string) string {
	if name == "-" {
		return "stdin"
	}
	return name
}

// openList opens a list. It rejects a file that cannot be a list before anything
// is sent.
func (p *program) openList(name string) (list io.Reader, done func(), err error) {
	list, done = p.stdin, func() {}
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, nil, err
		}
		info, err := f.Stat()
		if err == nil && info.IsDir() {
			err = fmt.Errorf("%s is a directory; name a file in it", name)
		}
		if err == nil && info.Size() > control.MaxList {
			err = fmt.Errorf("%s is %s bytes long, at most %s are accepted",
				name, count(uint64(info.Size())), count(control.MaxList))
		}
		if err != nil {
			f.Close()
			return nil, nil, err
		}
		list, done = f, func() { f.Close() }
	}
	br := bufio.NewReaderSize(list, 64<<10)
	start, err := br.Peek(2)
	if err != nil && err != io.EOF {
		done()
		return nil, nil, fmt.Errorf("read %s: %w", shownName(name), err)
	}
	if bytes.Equal(start, []byte{0x1f, 0x8b}) {
		done()
		return nil, nil, gzipError(name)
	}
	return br, done, nil
}

func gzipError(name string) error {
	if name == "-" {
		return fmt.Errorf("standard input is compressed by gzip; put `gunzip |` before paraxialctl")
	}
	return fmt.Errorf("%s is compressed by gzip; use `gunzip -c %s | paraxialctl import - --origin %s`",
		name, name, originOf(strings.TrimSuffix(name, filepath.Ext(name))))
}

// imported prints the result of an import.
func (p *program) imported(name string, req control.ImportRequest, r control.ImportResult) error {
	failed := len(r.Invalid) > 0 && !req.SkipInvalid
	for _, l := range r.Invalid[:min(len(r.Invalid), shown)] {
		fmt.Fprintf(p.stderr, "%s:%d: %s\n", printable(name), l.Line, printable(l.Message))
	}
	more(p.stderr, len(r.Invalid))
	if p.json() {
		if err := p.printJSON(r); err != nil {
			return err
		}
	} else {
		p.importSummary(req, r, failed)
	}
	if failed {
		return errReported
	}
	return nil
}

func (p *program) importSummary(req control.ImportRequest, r control.ImportResult, failed bool) {
	p.notes(r.Notes)
	if failed {
		fmt.Fprintf(p.stderr, "paraxialctl: %s: nothing was applied; "+
			"correct the list or skip such lines with --skip-invalid\n", req.Origin)
		return
	}
	p.printf("%s: %s", req.Origin, changes(r.Added, r.Removed, r.Unchanged, len(r.Refused)))
	if len(r.Invalid) > 0 {
		p.printf(", %s invalid", count(len(r.Invalid)))
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
