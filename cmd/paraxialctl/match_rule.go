package main

import (
	"fmt"
	"io"
	"net/netip"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/paraxial/paraxial/config"
	rules "github.com/paraxial/paraxial/events"
	"github.com/paraxial/paraxial/ladder"
	"github.com/paraxial/paraxial/match"
	"github.com/paraxial/paraxial/policy"
)

// rulesReplay counts the lines of a log for a rule, by the times in the lines.
type rulesReplay struct {
	program *program
	reader  *config.Reader
	rule    string // of all lines; empty: that of the log
	counter *rules.Counter
	now     time.Time // of the last line
	untimed int
	bans    int
}

// newReplay returns a replay for the flags --config and --rule, and the name of the file.
func (p *program) newReplay(c *cli.Context) (r *rulesReplay, file string, err error) {
	args := c.Args().Slice()
	switch {
	case !c.IsSet("config"):
		return nil, "", misuse(c, "--rule needs the configuration with the rule: --config FILE")
	case c.IsSet("pattern"):
		return nil, "", misuse(c, "--pattern does not go with --config; write the patterns into the configuration")
	case len(args) == 0 || len(args) > 2:
		return nil, "", misuse(c, "match --config takes a format, or a log of the configuration, and a file")
	}
	cfg, err := config.Load(c.String("config"))
	if err != nil {
		return nil, "", err
	}
	cfg = cfg.WithProxySets()
	r = &rulesReplay{program: p, rule: c.String("rule")}
	if r.reader, err = readerOf(cfg, args[0], r.rule); err != nil {
		return nil, "", misuse(c, "%v", err)
	}
	if r.rule != "" && !slices.ContainsFunc(cfg.Rules, func(x rules.Rule) bool { return x.Name == r.rule }) {
		return nil, "", fmt.Errorf("%s has no rule %s", c.String("config"), r.rule)
	}
	r.counter = rules.NewCounter(cfg.Rules, rules.Options{
		Ladder: ladder.New(cfg.Detection.MaxBans, cfg.Detection.Breaker.BansPerMinute),
		Exempt: func(prefix netip.Prefix) rules.Result {
			if cfg.BehindProxy(prefix) {
				return rules.Proxy
			}
			return ""
		},
	}, nil)
	return r, append(args, "-")[1], nil
}

// readerOf returns the reader of a log of the configuration or of a format. A format is read as
// the log of the configuration that has it and counts for the rule, if there is one.
func readerOf(cfg config.Config, name, rule string) (*config.Reader, error) {
	for _, l := range cfg.Logs {
		if l.Name == name || rule != "" && l.Format == name && slices.Contains(l.Rules(), rule) {
			return l.Reader()
		}
	}
	if rule == "" {
		return nil, fmt.Errorf("the configuration has no log %s; name a rule for a format: --rule NAME", name)
	}
	return config.LogSource{Name: name, Format: name, Rule: rule}.Reader()
}

// ban is a decision of a rule at a line.
type ban struct {
	Rule   string       `json:"rule"`
	Prefix netip.Prefix `json:"prefix"`
	Action string       `json:"action"`
	At     time.Time    `json:"at"`
	For    string       `json:"for"`
	Points int          `json:"points"`
	Limit  int          `json:"limit"`
}

// run reads the log and prints the bans.
func (r *rulesReplay) run(in io.Reader) error {
	err := matchLines(in, func(n int, line []byte, cut bool) error {
		m := match.Result{Kind: match.TooLong}
		var addr netip.Addr
		var success bool
		if !cut {
			addr, m, success = r.reader.Event(line)
		}
		bans := r.count(n, line, addr, m, success)
		r.bans += len(bans)
		if success {
			addr = netip.Addr{} // nothing is held against it
		}
		return r.print(n, addr, m, bans)
	})
	if err != nil || r.program.json() {
		return err
	}
	p := r.program
	p.printf("%s\n", plural(r.bans, "ban"))
	if r.untimed > 0 {
		p.printf("%s without a time that could be read: they count at the time of the line before\n",
			plural(r.untimed, "line"))
	}
	return nil
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return count(n) + " " + what + "s"
}

// count counts a line, and returns the decisions that follow.
func (r *rulesReplay) count(
	n int, line []byte, addr netip.Addr, m match.Result, success bool,
) (bans []ban) {
	if !addr.IsValid() {
		return nil
	}
	at, ok := r.reader.Format.Time(line, time.Now())
	if !ok {
		r.untimed++
		at = r.now
	}
	if at.After(r.now) {
		r.now = at
	}
	rule := r.rule
	if rule == "" {
		rule = r.reader.Rule(m)
	}
	o := r.counter.Add(policy.Deadline(r.now.UnixNano()), rules.Event{
		Address: addr, Rule: rule, Points: min(m.Count, rules.MaxPoints), At: policy.Deadline(at.UnixNano()),
		Success: success, End: m.End,
		User: string(m.User), Path: string(m.HTTP.Path), Where: fmt.Sprintf("line %d", n),
	})
	for _, d := range o.Decisions {
		if d.Kind == ladder.Made {
			bans = append(bans, ban{
				Rule: d.Rule, Prefix: d.Prefix, Action: string(d.Action), At: at.UTC(), For: policy.FormatTTL(d.For),
				Points: d.Evidence.Points, Limit: d.Evidence.Limit,
			})
		}
	}
	return bans
}

func (r *rulesReplay) print(n int, addr netip.Addr, m match.Result, bans []ban) error {
	p := r.program
	if p.json() {
		line := newMatchedLine(n, m)
		line.Address = nil
		if addr.IsValid() {
			line.Address = &addr
		}
		line.Bans = bans
		return p.printJSONLine(line)
	}
	for _, b := range bans {
		p.printf("%s  line %d  %s  %s for %s by %s: %d points, limit %d\n", b.At.Format(time.RFC3339), n, b.Prefix,
			b.Action, b.For, b.Rule, b.Points, b.Limit)
	}
	return nil
}
