package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/paraxial/paraxial/control"
)

func (p *program) logsCommand() command {
	return command{Command: &cli.Command{
		Name: "logs", Usage: "show the logs that paraxial-agent reads", ArgsUsage: "[NAME]", Action: p.logs,
	}}
}

func (p *program) logs(c *cli.Context) error {
	args := c.Args().Slice()
	if len(args) > 1 {
		return misuse(c, "logs takes one name, got %d", len(args))
	}
	s, err := p.client.Logs(c.Context)
	if err != nil {
		return err
	}
	if len(args) == 1 {
		s.Logs = slices.DeleteFunc(s.Logs, func(l control.LogStatus) bool { return l.Name != args[0] })
		if len(s.Logs) == 0 {
			return fmt.Errorf("the configuration has no log %s; paraxialctl logs shows all", args[0])
		}
	}
	switch {
	case p.json():
		return p.printJSON(s)
	case len(args) == 1:
		return p.oneLog(s.Logs[0])
	case len(s.Logs) == 0:
		p.printf("The configuration has no logs.\n")
		return nil
	}
	w := newTable(p.out)
	row(w, "LOG", "STATE", "LAG", "LINES", "MATCHED", "AMBIGUOUS", "NO ADDRESS", "LOST BYTES", "NOTE")
	for _, l := range s.Logs {
		row(w, printable(l.Name), string(l.Condition), lag(l), count(l.Lines), count(l.Matched), count(l.Ambiguous),
			count(l.NoAddress+l.Proxied), count(uint64(l.LostBytes)), printable(logNote(l)))
	}
	return w.Flush()
}

func lag(l control.LogStatus) string {
	if l.Reporter == "" {
		return "-"
	}
	return time.Duration(l.Lag * float64(time.Second)).Round(time.Second).String()
}

// logNote returns the most important thing to know of a log.
func logNote(l control.LogStatus) string {
	switch {
	case l.Condition == control.LogUnknown, l.Condition == control.LogSilent:
		return "systemctl status paraxial-agent-logs"
	case l.Error != "":
		return l.Error
	case l.Refusal != "":
		return l.Refusal
	case l.Ambiguous > 0:
		return "ambiguous lines are held against nobody: a JSON log has none"
	}
	return ""
}

func (p *program) oneLog(l control.LogStatus) error {
	w := newTable(p.out)
	row(w, "log", printable(l.Name)+", "+string(l.Condition))
	row(w, "source", printable(l.Source))
	row(w, "format", printable(l.Format)+", for "+printable(strings.Join(l.Rules, ", ")))
	row(w, "lag", fmt.Sprintf("%s, %s bytes behind", lag(l), count(uint64(l.BehindBytes))))
	for _, c := range []struct {
		name string
		n    int
		what string
	}{
		{"lines", l.Lines, ""},
		{"matched", l.Matched, ""},
		{"successes", l.Successes, ""},
		{"unread", l.Unread, "fit no pattern"},
		{"ambiguous", l.Ambiguous, "can be held against two addresses"},
		{"no address", l.NoAddress, "have a name in its place"},
		{"proxied", l.Proxied, "come through a proxy, and name no client"},
		{"too long", l.TooLong, ""},
		{"refused", l.Refused, l.Refusal},
		{"foreign", l.Foreign, "are of users that do not count"},
		{"lost", l.Lost, "messages had no room"},
		{"gaps", l.Gaps, "lines may have been lost"},
	} {
		text := count(c.n)
		if c.n > 0 && c.what != "" {
			text += " (" + printable(c.what) + ")"
		}
		row(w, c.name, text)
	}
	row(w, "lost bytes", count(uint64(l.LostBytes)))
	if l.Error != "" {
		row(w, "error", printable(l.Error))
	}
	return w.Flush()
}
