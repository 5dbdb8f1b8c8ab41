package main

import (
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/paraxial/paraxial/control"
)

// tableRows is the number of rows after which a table is written out and the
// widths of its columns are computed again, so that a million entries are not kept in
// memory to align them.
const tableRows = 1000

func (p *program) listCommand() command {
	return command{
		Command: &cli.Command{
			Name:      "list",
			Usage:     "show the entries in force",
			ArgsUsage: "[blocks|allows]",
			Flags:     []cli.Flag{listOriginFlag()},
			Action:    p.list,
		},
		args: kinds(),
	}
}

func (p *program) list(c *cli.Context) error {
	kind, err := p.kind(c, "")
	if err != nil {
		return err
	}
	origin, err := p.origin(c)
	if err != nil {
		return err
	}
	if p.json() {
		return p.entryArray(c, kind, origin)
	}
	return p.entryTable(c, kind, origin)
}

func (p *program) entryTable(c *cli.Context, kind, origin string) error {
	w := newTable(p.out)
	n := 0
	err := p.client.Entries(c.Context, kind, origin, func(e control.Entry) error {
		if n == 0 {
			listHead(w)
		}
		action := actionName(e, ":") // one word, so that the columns can be counted
		row(w, printable(e.Prefix), printable(e.Kind), action, printable(e.Origin),
			p.end(e), packets(e), printable(e.Author), reasonText(e))
		if n++; n%tableRows == 0 {
			return w.Flush()
		}
		return nil
	})
	if err == nil && n == 0 {
		listHead(w)
	}
	if flushErr := w.Flush(); err == nil {
		err = flushErr
	}
	return err
}

// reasonText returns the reason of an entry, and the sets that have its prefix. It is the last
// column, so that scripts that count columns are not disturbed.
func reasonText(e control.Entry) string {
	if len(e.Tags) == 0 {
		return printable(e.Reason)
	}
	return strings.TrimSpace(printable(e.Reason) + " [" + tagsText(e.Tags) + "]")
}

func listHead(w io.Writer) {
	row(w, "PREFIX", "KIND", "ACTION", "ORIGIN", "EXPIRES", "DROPS", "AUTHOR", "REASON")
}
