// Package manpage writes the manual page of a command line, from the definitions
// that the command line itself is parsed by, so that the two cannot differ.
package manpage

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// Page holds the parts of a page that the definitions do not have.
type Page struct {
	Section int // of the manual: 1 or 8
	Version string
	Extra   []Section // after the options
	SeeAlso []string  // such as paraxialctl(1)
}

// Section is a section of running text.
type Section struct {
	Title string
	Items []Item
}

// Item is a paragraph, with an optional term before it.
type Item struct{ Term, Text string }

// Write writes the page in the man macros. Hidden commands are left out.
func Write(w io.Writer, app *cli.App, p Page) error {
	r := &roff{w: bufio.NewWriter(w)}
	r.macro("TH", strings.ToUpper(app.Name), fmt.Sprint(p.Section), "", "Paraxial "+p.Version, "Paraxial")
	r.heading("NAME")
	r.line(app.Name + ` \- ` + text(app.Usage))
	r.heading("SYNOPSIS")
	for n, line := range strings.Split(app.UsageText, "\n") {
		if n > 0 {
			r.macro("br")
		}
		r.line(`\fB` + literal(app.Name) + `\fR` + literal(strings.TrimPrefix(line, app.Name)))
	}
	r.heading("DESCRIPTION")
	r.paragraphs(app.Description)
	r.heading("COMMANDS")
	r.commands("", app.Commands, app.Flags)
	if len(app.Flags) > 0 {
		r.heading("OPTIONS")
		r.flags(app.Flags)
	}
	for _, s := range p.Extra {
		r.heading(s.Title)
		for n, i := range s.Items {
			r.item(i, n == 0)
		}
	}
	r.heading("SEE ALSO")
	r.line(text(strings.Join(p.SeeAlso, ", ")))
	return r.w.Flush()
}

// roff collects lines. An error stays in the writer until Flush.
type roff struct{ w *bufio.Writer }

func (r *roff) line(s string) { fmt.Fprintln(r.w, s) }

func (r *roff) macro(name string, args ...string) {
	for _, a := range args {
		name += ` "` + strings.ReplaceAll(text(a), `"`, `\(dq`) + `"`
	}
	r.line("." + name)
}

func (r *roff) heading(s string) { r.macro("SH", s) }

// commands writes each command, and then those below it. The names above them
// are in prefix, with a space at its end.
func (r *roff) commands(prefix string, all []*cli.Command, common []cli.Flag) {
	for _, c := range all {
		if !c.Hidden && c.Name != "help" {
			r.command(prefix, c, common)
			r.commands(prefix+c.Name+" ", c.Subcommands, common)
		}
	}
}

// command writes one command. It leaves out the flags that every command has.
func (r *roff) command(prefix string, c *cli.Command, common []cli.Flag) {
	r.macro("SS", strings.TrimSpace(prefix+c.Name+" "+c.ArgsUsage))
	r.paragraphs(sentence(c.Usage))
	if c.UsageText != "" {
		r.macro("PP")
		r.preformatted(c.UsageText)
	}
	if c.Description != "" {
		r.macro("PP")
		r.paragraphs(c.Description)
	}
	r.flags(slices.DeleteFunc(slices.Clone(c.Flags), func(f cli.Flag) bool {
		return slices.ContainsFunc(common, func(other cli.Flag) bool { return f.String() == other.String() })
	}))
}

// flags lists flags as --help does.
func (r *roff) flags(all []cli.Flag) {
	for _, f := range all {
		if f.Names()[0] == "help" {
			continue
		}
		term, usage, _ := strings.Cut(f.String(), "\t")
		r.macro("TP")
		r.line(`\fB` + literal(strings.TrimSpace(term)) + `\fR`)
		r.line(text(usage))
	}
}

func (r *roff) item(i Item, first bool) {
	if i.Term == "" && !first {
		r.macro("PP")
	}
	if i.Term != "" {
		r.macro("TP")
		r.line(`\fB` + literal(i.Term) + `\fR`)
	}
	r.paragraphs(i.Text)
}

// paragraphs writes text with blank lines between paragraphs. A paragraph with
// columns keeps them.
func (r *roff) paragraphs(s string) {
	for n, p := range strings.Split(s, "\n\n") {
		if n > 0 {
			r.macro("PP")
		}
		if strings.Contains(p, "  ") {
			r.preformatted(p)
			continue
		}
		for line := range strings.SplitSeq(p, "\n") {
			r.line(text(line))
		}
	}
}

func (r *roff) preformatted(s string) {
	r.macro("nf")
	for line := range strings.SplitSeq(s, "\n") {
		r.line(text(line))
	}
	r.macro("fi")
}

// sentence turns a phrase of --help into a sentence.
func sentence(s string) string {
	s = strings.TrimSpace(s)
	if s == "" || strings.HasSuffix(s, ".") {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:] + "."
}

// text escapes characters that are special to roff. Hyphens are escaped so that
// they can be copied into a shell.
func text(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`, "`", "").Replace(s)
	if strings.HasPrefix(s, ".") || strings.HasPrefix(s, "'") {
		s = `\&` + s
	}
	return s
}

// literal escapes text that does not stand at the beginning of a line.
func literal(s string) string { return strings.TrimPrefix(text(s), `\&`) }
