package main

import (
	"encoding/json"
	"io"

	"github.com/urfave/cli/v2"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/policy"
)

// tableRows is after how many rows a long table is written out and its columns
// measured anew: a million entries must not be held to align them.
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

func listOriginFlag() cli.Flag {
	return &cli.StringFlag{Name: "origin", Usage: "only what `NAME` put"}
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
		row(w, printable(e.Prefix), printable(e.Kind), action, printable(e.Origin), p.end(e), packets(e), printable(e.Author), printable(e.Reason))
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

// actionName is what e does, and of a limit the rate.
func actionName(e control.Entry, separator string) string {
	switch e.Action {
	case "":
		return "pass"
	case policy.Limit.String():
		return e.Action + separator + printable(e.Rate)
	}
	return printable(e.Action)
}

func listHead(w io.Writer) {
	row(w, "PREFIX", "KIND", "ACTION", "ORIGIN", "EXPIRES", "DROPS", "AUTHOR", "REASON")
}

// entryArray prints entries as one JSON array, each as it comes.
func (p *program) entryArray(c *cli.Context, kind, origin string) error {
	separator := "[\n  "
	err := p.client.Entries(c.Context, kind, origin, func(e control.Entry) error {
		data, err := json.Marshal(e)
		if err != nil {
			return err
		}
		p.out.WriteString(separator)
		separator = ",\n  "
		_, err = p.out.Write(data)
		return err
	})
	if err != nil {
		return err
	}
	if separator == "[\n  " {
		p.out.WriteString("[")
	} else {
		p.out.WriteString("\n")
	}
	p.out.WriteString("]\n")
	return nil
}
