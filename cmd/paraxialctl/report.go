package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/paraxial/paraxial/policy"
	"github.com/paraxial/paraxial/report"
)

func (p *program) reportCommand() command {
	socket := func() cli.Flag {
		return &cli.StringFlag{Name: "report-socket", Usage: "the daemon's socket for reporters (default: " +
			report.DefaultSocket + ", or $PARAXIAL_REPORT_SOCKET)"}
	}
	event := command{Command: &cli.Command{
		Name: "event", Usage: "report an event of a source, which counts for a rule", ArgsUsage: "RULE ADDR",
		Flags: []cli.Flag{
			socket(),
			&cli.IntFlag{Name: "points", Usage: "count as `N` points (default: 1)"},
			&cli.StringFlag{Name: "user", Usage: "the source gave the user name `NAME`"},
			&cli.StringFlag{Name: "path", Usage: "the source asked for `PATH`"},
			&cli.StringFlag{Name: "text", Usage: "the line of a log, or a description: `TEXT`"},
			&cli.StringFlag{Name: "time", Usage: "it happened at `TIME`, as in 2026-01-01T00:00:00Z (default: now)"},
			boolFlag("success", "the source succeeded, as at a login"),
		},
		Action: p.reportEvent,
	}}
	ask := command{Command: &cli.Command{
		Name: "ask", Usage: "ask what happens to the packets of addresses", ArgsUsage: "ADDR...",
		Flags: []cli.Flag{socket()}, Action: p.reportAsk,
	}}
	ban := command{Command: &cli.Command{
		Name: "ban", Usage: "ban an address or prefix, within the budget of your user", ArgsUsage: "PREFIX",
		Flags: []cli.Flag{
			socket(),
			&cli.StringFlag{Name: "for", Usage: "the ban ends after `DURATION`, as in 1h"},
			&cli.StringFlag{Name: "reason", Usage: "the `TEXT` that list and why show"},
		},
		Action: p.reportBan,
	}}
	return p.group("report", "report events, ask and ban with the lesser right of a reporter", event, ask, ban)
}

// reporter returns a client for the socket of reporters.
func (p *program) reporter(c *cli.Context) *report.Client {
	return report.NewClient(cmp.Or(c.String("report-socket"), p.getenv("PARAXIAL_REPORT_SOCKET"), report.DefaultSocket))
}

// isUnreachable reports whether err tells that nobody listens on the socket of reporters.
func isUnreachable(err error) bool {
	failed, ok := errors.AsType[*net.OpError](err)
	return ok && failed.Op == "dial"
}

func (p *program) reportEvent(c *cli.Context) error {
	if c.NArg() != 2 {
		return misuse(c, "report event needs a rule and an address")
	}
	addr, err := reportedAddr(c, c.Args().Get(1))
	if err != nil {
		return err
	}
	e := report.Event{
		Rule: c.Args().First(), Address: addr, Points: c.Int("points"), User: c.String("user"), Path: c.String("path"),
		Text: c.String("text"), Success: c.Bool("success"),
	}
	if s := c.String("time"); s != "" {
		if e.Time, err = time.Parse(time.RFC3339, s); err != nil {
			return misuse(c, "--time: %q is not a time such as 2026-01-01T00:00:00Z", s)
		}
	}
	taken, err := p.reporter(c).Events(c.Context, []report.Event{e})
	if err != nil {
		return err
	}
	if p.json() {
		err = p.printJSON(taken)
	}
	for _, r := range taken.Refused {
		return errors.Join(err, fmt.Errorf("not counted (%s): %s", r.Code, r.Message))
	}
	if !p.json() {
		p.printf("counted\n")
	}
	return err
}

func reportedAddr(c *cli.Context, s string) (netip.Addr, error) {
	addr, err := policy.ParseAddr(s)
	if err != nil {
		return addr, misuse(c, "%v", err)
	}
	return addr, nil
}

func (p *program) reportAsk(c *cli.Context) error {
	if c.NArg() == 0 {
		return misuse(c, "report ask needs an address")
	}
	var addrs []netip.Addr
	for _, s := range c.Args().Slice() {
		addr, err := reportedAddr(c, s)
		if err != nil {
			return err
		}
		addrs = append(addrs, addr)
	}
	verdicts, err := p.reporter(c).Verdicts(c.Context, addrs)
	if err != nil {
		return err
	}
	if p.json() {
		return p.printJSON(map[string][]report.Verdict{"verdicts": verdicts})
	}
	w := newTable(p.out)
	for _, v := range verdicts {
		p.verdictRow(w, v)
	}
	return w.Flush()
}

// verdictRow writes an address and what happens to its packets.
func (p *program) verdictRow(w io.Writer, v report.Verdict) {
	end := ""
	if !v.Until.IsZero() {
		end = "expires " + p.expiry(&v.Until)
	}
	row(w, v.Address.String(), printable(v.Verdict), printable(v.Origin), end, printable(strings.Join(v.Tags, " ")))
}

func (p *program) reportBan(c *cli.Context) error {
	if c.NArg() != 1 || c.String("for") == "" {
		return misuse(c, "report ban needs a prefix and --for DURATION")
	}
	prefix, _, err := policy.ParsePrefix(c.Args().First())
	if err != nil {
		return misuse(c, "%v", err)
	}
	ttl, err := policy.ParseTTL(c.String("for"))
	if err != nil {
		return misuse(c, "--for: %v", err)
	}
	if ttl == policy.TTLForever {
		return misuse(c, "--for: bans of reporters end; name a duration such as 1h")
	}
	v, err := p.reporter(c).Ban(c.Context, report.Ban{Prefix: prefix, For: ttl, Reason: c.String("reason")})
	if err != nil {
		return err
	}
	if p.json() {
		return p.printJSON(v)
	}
	p.printf("banned %s\n", prefix)
	w := newTable(p.out)
	p.verdictRow(w, v)
	return w.Flush()
}
