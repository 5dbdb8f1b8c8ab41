package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/paraxial/paraxial/match"
)

func (p *program) matchCommand() command {
	return command{
		Command: &cli.Command{
			Name:      "match",
			Usage:     "show whom the lines of a log would be held against",
			ArgsUsage: "FORMAT [FILE|-]",
			Description: "Reads FILE, or standard input, and tells for each line which address it would be held " +
				"against.\n" +
				"A line that can be read with two different addresses is ambiguous, and held against nobody.\n" +
				"Needs no running paraxiald. FORMAT is one of " + strings.Join(match.Names(), ", ") + ".\n" +
				"With --pattern there is no FORMAT. With --config the lines are counted for a rule of that\n" +
				"configuration, by the times in them, and the bans are printed; FORMAT may be the name of a log.",
			Flags: []cli.Flag{
				&cli.StringSliceFlag{Name: "pattern",
					Usage: "read lines with `TEXT`, such as 'login failed for <user:[^:]*> from <addr>'; may be " +
						"repeated"},
				&cli.StringFlag{Name: "config",
					Usage: "count the lines by a rule in `FILE`, the configuration of paraxiald"},
				&cli.StringFlag{Name: "rule", Usage: "the rule, by its `NAME`; without it, that of the log"},
			},
			Action: p.match,
		},
		args: offer{Words: match.Names(), Files: true},
	}
}

// matchedLine is the answer for one line of input.
type matchedLine struct {
	Line      int         `json:"line"`
	Address   *netip.Addr `json:"address"`
	Ambiguous bool        `json:"ambiguous"`
	Result    string      `json:"result"`
	User      string      `json:"user,omitempty"`
	Count     int         `json:"count,omitempty"`
	Bans      []ban       `json:"bans,omitempty"` // with --config
}

func (p *program) match(c *cli.Context) error {
	if c.IsSet("config") || c.IsSet("rule") {
		return p.matchRule(c)
	}
	format, name, err := matchArguments(c)
	if err != nil {
		return err
	}
	in, err := p.input(name)
	if err != nil {
		return err
	}
	defer in.Close()
	summary := map[string]int{}
	held := map[netip.Addr]int{}
	err = matchLines(in, func(n int, line []byte, cut bool) error {
		r := match.Result{Kind: match.TooLong}
		if !cut {
			r = format.Match(line)
		}
		summary[r.Kind.String()]++
		if a := r.Held(); a.IsValid() {
			held[a] += r.Count
		}
		return p.printMatch(n, r)
	})
	if err != nil || p.json() {
		return err
	}
	p.matchSummary(held, summary)
	return nil
}

// matchRule prints the bans of a rule.
func (p *program) matchRule(c *cli.Context) error {
	r, name, err := p.newReplay(c)
	if err != nil {
		return err
	}
	in, err := p.input(name)
	if err != nil {
		return err
	}
	defer in.Close()
	return r.run(in)
}

// input opens a file, or standard input for "-".
func (p *program) input(name string) (io.ReadCloser, error) {
	if name == "-" {
		return io.NopCloser(p.stdin), nil
	}
	return os.Open(name)
}

// matchArguments returns the format and the name of the file.
func matchArguments(c *cli.Context) (*match.Format, string, error) {
	args := c.Args().Slice()
	var format *match.Format
	var err error
	switch patterns := c.StringSlice("pattern"); {
	case len(patterns) > 0:
		format, err = match.Patterns(patterns, "")
	case len(args) == 0:
		return nil, "", misuse(c, "match needs a format: one of %s", strings.Join(match.Names(), ", "))
	default:
		format, err = match.New(args[0])
		args = args[1:]
	}
	switch {
	case err != nil:
		return nil, "", misuse(c, "%v", err)
	case len(args) > 1:
		return nil, "", misuse(c, "match takes one file, got %d", len(args))
	case len(args) == 0:
		return format, "-", nil
	}
	return format, args[0], nil
}

// matchLines calls do with each line of in. A line that is too long is cut.
func matchLines(in io.Reader, do func(n int, line []byte, cut bool) error) error {
	r := bufio.NewReaderSize(in, match.Longest+2)
	for n := 1; ; n++ {
		line, err := r.ReadSlice('\n')
		cut := errors.Is(err, bufio.ErrBufferFull)
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = r.ReadSlice('\n')
		}
		if err != nil && err != io.EOF {
			return fmt.Errorf("read line %d: %w", n, err)
		}
		if len(line) > 0 {
			if err := do(n, bytes.TrimSuffix(line, []byte("\n")), cut); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
	}
}

func (p *program) printMatch(n int, r match.Result) error {
	m := newMatchedLine(n, r)
	address := "nobody"
	if a := r.Held(); a.IsValid() {
		m.Address, address = &a, a.String()
	}
	if p.json() {
		return p.printJSONLine(m)
	}
	_, err := fmt.Fprintf(p.out, "%d  %s  %s\n", n, address, m.Result)
	return err
}

func newMatchedLine(n int, r match.Result) matchedLine {
	return matchedLine{
		Line: n, Ambiguous: r.Kind == match.Ambiguous, Result: r.Kind.String(), User: string(r.User), Count: r.Count,
	}
}

// matchSummary prints the addresses that would be held, those with most events first.
func (p *program) matchSummary(held map[netip.Addr]int, summary map[string]int) {
	var addresses []netip.Addr
	for a := range held {
		addresses = append(addresses, a)
	}
	slices.SortFunc(addresses, func(a, b netip.Addr) int {
		if held[a] != held[b] {
			return held[b] - held[a]
		}
		return a.Compare(b)
	})
	p.printf("\n")
	for _, a := range addresses[:min(len(addresses), shown)] {
		p.printf("%s events of %s\n", count(held[a]), a)
	}
	more(p.out, len(addresses))
	var kinds []string
	for k := range match.TooLong + 1 {
		kinds = append(kinds, fmt.Sprintf("%s %s", k, count(summary[k.String()])))
	}
	p.printf("%s\n", strings.Join(kinds, ", "))
}
