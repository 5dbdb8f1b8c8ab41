package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/doctor"
	"github.com/paraxial/paraxial/doctor/probe"
	"github.com/paraxial/paraxial/policy"
	"github.com/paraxial/paraxial/report"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func at(d time.Duration) *time.Time {
	t := noon.Add(d)
	return &t
}

var (
	byHand = control.Entry{Prefix: "192.0.2.1/32", Kind: "block", Action: "drop", Origin: "cli",
		Reason: "ssh \x1b[2Jbrute force",
		Author: "uid:1000", Created: noon.Add(-time.Minute), Expires: at(59*time.Minute + 30*time.Second),
		Drops: 1234567}
	byList = control.Entry{Prefix: "192.0.2.0/24", Kind: "block", Action: "drop", Origin: "ipsum", Author: "uid:0",
		Created: noon.Add(-25 * time.Hour), Drops: 12, DropsEstimated: true}
	inShadow = control.Entry{Prefix: "2001:db8::/32", Kind: "block", Action: "shadow", Origin: "cli", Author: "uid:0",
		Created: noon}
	onTrial = control.Entry{Prefix: "198.51.100.0/24", Kind: "block", Action: "drop", Origin: "cli", Author: "uid:0",
		Created: noon,
		Pending: &control.Pending{ID: "k7", ConfirmBy: noon.Add(time.Minute), Expires: at(time.Hour)}, Forced: true}
	permanent = control.Entry{Prefix: "198.51.100.0/24", Kind: "block", Action: "drop", Origin: "cli", Author: "uid:0",
		Created: noon}
	caught = control.Entry{Prefix: "203.0.113.99/32", Kind: "block", Action: "drop", Origin: "detector:syn-flood",
		Reason: "412/s, limit 200/s over 5s",
		Author: "detector:syn-flood", Created: noon, Expires: at(10 * time.Minute),
		Evidence: &control.Evidence{Detector: "syn-flood", Rate: "412/s", Limit: "200/s", Window: "5s",
			Count: 2060, First: noon.Add(-8 * time.Second), Last: noon, Ports: []uint16{443, 80}, Offence: 2}}
	widened = control.Entry{Prefix: "203.0.113.0/24", Kind: "block", Action: "shadow", Origin: "detector:bulk",
		Author: "detector:bulk", Created: noon,
		Evidence: &control.Evidence{Detector: "bulk", Rate: "23Mbit/s", Limit: "10Mbit/s", Window: "5s",
			Count: 14_375_000, First: noon, Last: noon, Offence: 1, Sources: 12}}
	slowed = control.Entry{Prefix: "198.18.0.0/15", Kind: "block", Action: "limit", Rate: "10Mbit/s", Origin: "cli",
		Author: "uid:0", Created: noon, Drops: 7}
	letPass = control.Entry{Prefix: "203.0.113.7/32", Kind: "allow", Origin: "cli", Reason: "office", Author: "uid:0",
		Created: noon}
)

// fake is a daemon that records its requests.
type fake struct {
	control.Backend // nil: a request that no test expects panics
	mu              sync.Mutex
	asked           []any
	removed         control.RemoveResult
	forgiven        control.ForgiveResult
	imported        control.ImportResult
	beside          []control.Entry
	stateDir        string
	why             control.WhyResult
	err             error
	events          []control.Event
	detectors       control.DetectorsStatus
	preview         control.PreviewResult
	entries         []control.Entry     // nil: one of each kind
	top             []control.TopResult // the answers in order; the last one repeats
}

func (f *fake) ask(r any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, r)
}

func (f *fake) Status(context.Context) (control.Status, error) {
	return control.Status{
		Version: "1.0.0", PID: 42, Started: noon.Add(-3 * time.Hour), Blocks: 120430, Allows: 1,
		StateDir: f.stateDir, Warnings: []string{"clock is not synchronised"}, Tunnels: []string{"gre", "vxlan:4789"},
		UnseenTunnels: []control.Tunnel{{Name: "wg0", Kind: "wireguard"}, {Name: "s0", Kind: "sit"}},
		Interfaces: []control.InterfaceStatus{
			{Name: "eth0", Mode: "native", Protected: true, ProgramID: 7},
			{Name: "eth1", Note: "occupied by program 9 (cilium)"},
		},
	}, f.err
}

func (f *fake) Stats(context.Context) (control.Stats, error) {
	return control.Stats{Interfaces: []control.InterfaceStats{{Name: "eth0", Packets: 1300, Bytes: 91000,
		Reasons: map[string]control.Counter{
			"not_listed": {Packets: 300, Bytes: 21000}, "block": {Packets: 1000, Bytes: 70000},
		}}}}, f.err
}

func (f *fake) Detectors(context.Context) (control.DetectorsStatus, error) {
	return f.detectors, f.err
}

func (f *fake) Top(context.Context) (control.TopResult, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.top) == 0 {
		return control.TopResult{Time: noon}, f.err
	}
	now := f.top[0]
	f.top = f.top[min(1, len(f.top)-1):]
	return now, f.err
}

func (f *fake) Block(_ context.Context, _ control.Caller, r control.Block) (control.ChangeResult, error) {
	f.ask(r)
	switch {
	case f.err != nil:
		return control.ChangeResult{}, f.err
	case r.Confirm != 0:
		return control.ChangeResult{Entries: []control.Entry{onTrial}, Beside: f.beside, ConfirmID: "k7",
			ConfirmBy: at(time.Minute)}, nil
	case r.Action == policy.Limit:
		return control.ChangeResult{Entries: []control.Entry{slowed}}, nil
	case r.Action == policy.Shadow:
		return control.ChangeResult{Entries: []control.Entry{inShadow}}, nil
	}
	return control.ChangeResult{Entries: []control.Entry{byHand}, Notes: []string{"192.0.2.1/24: host bits cleared"}},
		nil
}

func (f *fake) Preview(_ context.Context, _ control.Caller, r control.Block) (control.PreviewResult, error) {
	f.ask(r)
	return f.preview, f.err
}

func (f *fake) Allow(_ context.Context, _ control.Caller, r control.Allow) (control.ChangeResult, error) {
	f.ask(r)
	return control.ChangeResult{Entries: []control.Entry{letPass}}, f.err
}

func (f *fake) Unblock(_ context.Context, _ control.Caller, r control.Removal) (control.RemoveResult, error) {
	f.ask(r)
	return f.removed, f.err
}

func (f *fake) Unallow(_ context.Context, _ control.Caller, r control.Removal) (control.RemoveResult, error) {
	f.ask(r)
	return f.removed, f.err
}

func (f *fake) Rules(_ context.Context, name string) (control.RulesStatus, error) {
	last := noon.Add(-time.Minute)
	s := control.RulesStatus{
		Entries: 2, MaxEntries: 10_000, Memory: 3000, MaxMemory: 64 << 20,
		Rules: []control.RuleStatus{{
			Name: "login", Limit: 5, Window: "10m", IPv4Prefix: 32, IPv6Prefix: 64, Success: "ignore", Action: "block",
			For: "10m", Events: map[string]uint64{"counted": 1200, "banned": 2, "bogon": 3, "old": 4}, Sources: 7,
			Entries: 2, Ineffective: 1,
		}},
	}
	switch name {
	case "":
		s.Rules = append(s.Rules, control.RuleStatus{
			Name: "scan", Distinct: "path", Window: "1m", Action: "limit", Rate: "20/s", For: "1h",
		})
	case "login":
		s.Rules[0].Nearest = []control.RuleSource{
			{Rule: "login", Source: "198.51.100.9/32", Points: 4, Limit: 5, Last: last},
		}
	default:
		return control.RulesStatus{}, control.Errorf(control.CodeNotFound, "the configuration has no rule %q", name)
	}
	return s, nil
}

func (f *fake) Forgive(
	_ context.Context, _ control.Caller, r control.Forgiveness,
) (control.ForgiveResult, error) {
	f.ask(r)
	return f.forgiven, f.err
}

func (f *fake) Feeds(context.Context) (control.FeedsStatus, error) {
	at := time.Date(2026, 11, 23, 11, 0, 0, 0, time.UTC)
	return control.FeedsStatus{
		Reporters: []control.ReporterStatus{{Name: "feeds", User: "paraxial-feeds"}},
		Feeds: []control.FeedStatus{
			{
				State: report.State{
					Name: "drop", URL: "https://x/", Generation: 4, CheckedAt: at, ChangedAt: at,
					NextAt: at.Add(6 * time.Hour),
					Held:   &report.Held{Generation: 5, Reason: "it would shrink", Removed: 900, Entries: 100},
					Kept:   []report.Kept{{Generation: 4, Entries: 1000, At: at}}, Notes: []string{"3 refused"},
				},
				Condition: control.FeedHeld, Use: "block", Every: "6h", TTL: "2d", InForce: 1000, Reporter: "feeds",
			},
			{State: report.State{Name: "new"}, Condition: control.FeedUnknown, Use: "allow", Every: "1h", TTL: "1d"},
		},
	}, nil
}

func (f *fake) Logs(context.Context) (control.LogsStatus, error) {
	return control.LogsStatus{Logs: []control.LogStatus{
		{
			LogState: report.LogState{
				Name: "sshd", Source: "journal ssh.service", Refusal: "own_address: no",
				LogCounts: report.LogCounts{
					Lines: 12345, Matched: 1000, Successes: 3, Ambiguous: 2, NoAddress: 1, Unread: 4, Refused: 5,
				},
			},
			Condition: control.LogBehind, Lag: 90.4, Format: "sshd", Rules: []string{"login"}, Reporter: "logs",
		},
		{
			LogState:  report.LogState{Name: "web", Source: "/var/log/web.log", Error: "permission denied"},
			Condition: control.LogFailing, Format: "patterns", Rules: []string{"login", "scan"}, Reporter: "logs",
		},
		{LogState: report.LogState{Name: "new"}, Condition: control.LogUnknown},
	}}, nil
}

func (f *fake) FeedCommand(
	_ context.Context, _ control.Caller, r control.FeedCommand,
) (control.FeedAnswer, error) {
	f.ask(r)
	return control.FeedAnswer{Text: "generation 4 to 5: 0 added, 1 removed\n-192.0.2.1/32\n"}, nil
}

func (f *fake) Origins(context.Context) (control.OriginsResult, error) {
	at := time.Date(2026, 11, 23, 11, 0, 0, 0, time.UTC)
	later := at.Add(48 * time.Hour)
	return control.OriginsResult{Origins: []control.Origin{
		{Origin: "cli", Kind: "allow", Entries: 1, Changed: at, Forever: 1},
		{Origin: "feed:drop", Kind: "block", Entries: 1000, Drops: 7, Changed: at, LastExpiry: &later, Generation: 4},
	}}, nil
}

func (f *fake) Flush(_ context.Context, _ control.Caller, r control.Flush) (control.FlushResult, error) {
	f.ask(r)
	return control.FlushResult{Origin: r.Origin, Blocks: 1200, Allows: 3}, f.err
}

func (f *fake) Promote(_ context.Context, _ control.Caller, r control.Promotion) (control.ChangeResult, error) {
	f.ask(r)
	return control.ChangeResult{Entries: []control.Entry{byList}}, f.err
}

func (f *fake) Confirm(_ context.Context, _ control.Caller, r control.ConfirmRequest) (control.ChangeResult, error) {
	f.ask(r)
	return control.ChangeResult{Entries: []control.Entry{byHand}}, f.err
}

func (f *fake) Entries(_ context.Context, kind policy.Kind, origin string, yield func(control.Entry) error) error {
	entries := f.entries
	if entries == nil {
		entries = []control.Entry{byHand, byList, inShadow, slowed, onTrial, letPass}
	}
	for _, e := range entries {
		if kind != 0 && e.Kind != kind.String() || origin != "" && e.Origin != origin {
			continue
		}
		if err := yield(e); err != nil {
			return err
		}
	}
	return f.err
}

func (f *fake) Import(_ context.Context, _ control.Caller, r control.Import, list io.Reader,
	progress func(control.ImportProgress)) (control.ImportResult, error) {
	f.ask(r)
	err := policy.ReadDetailedList(list, func(l policy.ListLine) bool {
		line := l.Prefix.String()
		if l.For != 0 || l.Reason != "" {
			line = fmt.Sprintf("%s %s %q", line, l.For, l.Reason)
		}
		f.ask(line)
		return true
	})
	progress(control.ImportProgress{Read: 1})
	if err == nil {
		err = f.err
	}
	return f.imported, err
}

func (f *fake) Why(_ context.Context, source netip.Addr) (control.WhyResult, error) {
	f.why.Address = source.String()
	return f.why, f.err
}

func (f *fake) Watch(_ context.Context, yield func(control.Event) error) error {
	for _, e := range f.events {
		if err := yield(e); err != nil {
			return err
		}
	}
	return f.err
}

// outcome is the result of a run.
type outcome struct {
	Code           int
	Stdout, Stderr string
}

// realProgram returns the program with its own commands.
func realProgram() *program {
	p := &program{}
	p.build(p.commands())
	return p
}

// serve starts a daemon and returns its socket.
func serve(tb testing.TB, b control.Backend) string {
	tb.Helper()
	socket := filepath.Join(tb.TempDir(), "s")
	l, err := control.Listen(socket, "")
	if err != nil {
		tb.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- control.NewServer(b, control.Options{Log: slog.New(slog.DiscardHandler)}).Serve(ctx, l)
	}()
	tb.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			tb.Error(err)
		}
	})
	return socket
}

// invoke runs the program in this process.
func invoke(ctx context.Context, socket, stdin string, args ...string) outcome {
	return invokeWith(ctx, (*program).commands, socket, stdin, args...)
}

// invokeWith is invoke with other commands.
func invokeWith(
	ctx context.Context, commands func(*program) []command, socket, stdin string, args ...string,
) outcome {
	var stdout, stderr bytes.Buffer
	code := runWith(ctx, args, environment{
		stdin: strings.NewReader(stdin), stdout: &stdout, stderr: &stderr,
		now: func() time.Time { return noon }, probe: probeOf(doctor.Facts{}),
		getenv: func(name string) string {
			if name == "PARAXIAL_SOCKET" {
				return socket
			}
			return ""
		},
	}, commands)
	return outcome{code, stdout.String(), stderr.String()}
}

func split(line string) []string { return strings.Fields(line) }

func lines(s ...string) string { return strings.Join(s, "\n") + "\n" }

var errFull = &control.Error{Code: control.CodeStoreFailed, Message: fmt.Sprintf("save: %s", "no space left on device")}

// probeOf returns a probe of a host with the facts f.
func probeOf(f doctor.Facts) func(probe.Options) (doctor.Facts, error) {
	return func(probe.Options) (doctor.Facts, error) { return f, nil }
}
