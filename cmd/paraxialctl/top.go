package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/paraxial/paraxial/control"
)

// topRows is the number of sources shown if neither --limit nor a screen bounds it.
const topRows = 20

func (p *program) topCommand() command {
	return command{
		Command: &cli.Command{
			Name:  "top",
			Usage: "show the sources that are nearest to a limit, live",
			Description: "Keys: q quits; " + keyHelp() + "; the same key again reverses.\n" +
				"If the output is not a terminal, it prints a plain table every interval, or with -o json\n" +
				"one object a line.",
			Flags: []cli.Flag{
				boolFlag("once", "print one table and exit"),
				&cli.StringFlag{Name: "interval", Usage: "refresh every `DUR`: 1s, 500ms or 1m", Value: "1s"},
				&cli.IntFlag{Name: "limit", Usage: fmt.Sprintf(
					"show at most `N` sources (default: as many as fit, %d without a screen, all in JSON)", topRows)},
				&offeringFlag{&cli.StringFlag{
					Name: "sort", Usage: "sort by `KEY`: " + strings.Join(orderNames(), ", "), Value: orderNames()[0],
				}, offer{Words: orderNames()}},
			},
			Action: p.top,
		},
	}
}

func (p *program) top(c *cli.Context) error {
	v, err := p.topView(c)
	if err != nil {
		return err
	}
	first, err := p.client.Top(c.Context)
	if err != nil {
		return err
	}
	v.take(first)
	switch {
	case c.Bool("once") && p.json():
		return p.printJSON(v.result())
	case c.Bool("once"):
		p.snapshot(v)
		return nil
	case p.json() || !p.hasTerminal():
		return p.snapshots(c.Context, v)
	}
	t, err := p.openTerminal()
	if err != nil {
		return err
	}
	defer t.close() // even if the view panics
	return v.run(c.Context, t, p.client.Top)
}

// topView returns the view that the flags describe.
func (p *program) topView(c *cli.Context) (*topView, error) {
	if err := noArguments(c); err != nil {
		return nil, err
	}
	const shortest, longest = 100 * time.Millisecond, time.Hour
	interval, err := time.ParseDuration(c.String("interval"))
	if err != nil || interval < shortest || interval > longest {
		return nil, misuse(c, "--interval %q: want a time from 100ms to 1h, such as 1s or 500ms", c.String("interval"))
	}
	if c.IsSet("limit") && c.Int("limit") < 1 {
		return nil, misuse(c, "--limit %d: want at least 1", c.Int("limit"))
	}
	order, known := orderNamed(c.String("sort"))
	if !known {
		return nil, misuse(c, "--sort %q: want one of %s", c.String("sort"), strings.Join(orderNames(), ", "))
	}
	return &topView{
		now: p.now, interval: interval, limit: c.Int("limit"), order: order,
		shares: map[string][]float64{}, sparks: p.hasTerminal() && !c.Bool("once") && isUTF8(p.getenv),
	}, nil
}

// isUTF8 reports whether the locale uses UTF-8.
func isUTF8(getenv func(string) string) bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := strings.ToUpper(getenv(name)); v != "" {
			return strings.Contains(v, "UTF-8") || strings.Contains(v, "UTF8")
		}
	}
	return false
}

// snapshots prints one snapshot after the other, until interrupted.
func (p *program) snapshots(ctx context.Context, v *topView) error {
	tick := time.NewTicker(v.interval)
	defer tick.Stop()
	for {
		if err := p.printSnapshot(v); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil // an interruption is the normal end
		case <-tick.C:
		}
		next, err := p.client.Top(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		v.take(next)
	}
}

func (p *program) printSnapshot(v *topView) error {
	if p.json() {
		if err := p.printJSONLine(v.result()); err != nil {
			return err
		}
	} else {
		p.snapshot(v)
		p.printf("\n")
	}
	return p.out.Flush()
}

// snapshot prints a table with all columns, however wide.
func (p *program) snapshot(v *topView) {
	sources := v.sorted()
	shown := sources[:min(len(sources), v.rows(topRows))]
	p.printf("%s  %s\n", p.clock(v.last.Time), summary(v.last.Sources, len(shown)))
	for _, line := range v.table(shown, 0) {
		p.printf("%s\n", line)
	}
}

// summary returns how many sources there are, and how many of them are shown.
func summary(all []control.TopSource, shown int) string {
	if len(all) == 0 {
		return "no source is near a limit (paraxialctl detectors shows the limits)"
	}
	over := 0
	for _, s := range all {
		if s.Share >= 1 {
			over++
		}
	}
	text := count(len(all)) + " sources"
	if len(all) == 1 {
		text = "1 source"
	}
	text += fmt.Sprintf(", %s at a limit or over", count(over))
	if shown < len(all) {
		text += fmt.Sprintf(", %s shown", count(shown))
	}
	return text
}
