package manpage_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/urfave/cli/v2"

	"github.com/paraxial/paraxial/manpage"
)

func TestWrite(t *testing.T) {
	app := &cli.App{
		Name: "tool", Usage: "do it", UsageText: "tool [run]\ntool check",
		Description: "First.\n\nA table:\na  b\n\n.dot and 'quote and \\ and a-b",
		Flags:       []cli.Flag{&cli.StringFlag{Name: "socket", Aliases: []string{"s"}, Usage: "talk to `PATH`"}},
		Commands: []*cli.Command{
			{
				Name: "check", ArgsUsage: `"FILE"`, Usage: "look at it",
				Flags: []cli.Flag{
					&cli.StringFlag{Name: "socket", Aliases: []string{"s"}, Usage: "talk to `PATH`"},
					&cli.StringFlag{Name: "dry-run", Usage: "only `SAY` so", Value: "no"},
				},
			},
			{Name: "secret", Usage: "not for you", Hidden: true,
				Subcommands: []*cli.Command{{Name: "part", Usage: "no"}}},
			{Name: "lists", ArgsUsage: "COMMAND", Usage: "keep lists", Subcommands: []*cli.Command{
				{Name: "add", ArgsUsage: "URL", Usage: "add one",
					Flags: []cli.Flag{&cli.BoolFlag{Name: "now", Usage: "at once"}}},
				{Name: "trace", Usage: "not for you", Hidden: true},
				{Name: "help", Usage: "added by the cli library"},
			}},
		},
	}
	var b strings.Builder
	err := manpage.Write(&b, app, manpage.Page{
		Section: 8, Version: "1.2",
		Extra: []manpage.Section{{Title: "EXIT STATUS",
			Items: []manpage.Item{{Text: "0 or 1."}, {Text: "More."}, {Term: "-1", Text: "Never."}}}},
		SeeAlso: []string{"other(1)", "more(8)"},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := `.TH "TOOL" "8" "" "Paraxial 1.2" "Paraxial"
.SH "NAME"
tool \- do it
.SH "SYNOPSIS"
\fBtool\fR [run]
.br
\fBtool\fR check
.SH "DESCRIPTION"
First.
.PP
.nf
A table:
a  b
.fi
.PP
\&.dot and 'quote and \e and a\-b
.SH "COMMANDS"
.SS "check \(dqFILE\(dq"
Look at it.
.TP
\fB\-\-dry\-run SAY\fR
only SAY so (default: "no")
.SS "lists COMMAND"
Keep lists.
.SS "lists add URL"
Add one.
.TP
\fB\-\-now\fR
at once (default: false)
.SH "OPTIONS"
.TP
\fB\-\-socket PATH, \-s PATH\fR
talk to PATH
.SH "EXIT STATUS"
0 or 1.
.PP
More.
.TP
\fB\-1\fR
Never.
.SH "SEE ALSO"
other(1), more(8)
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}
}
