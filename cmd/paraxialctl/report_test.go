package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/paraxial/paraxial/report"
)

// reports is a daemon on the socket of reporters.
type reports struct {
	report.Backend // apart from sets
	asked          chan string
}

func (r *reports) Reporter(uint32) (report.Rights, bool) {
	return report.Rights{
		Name: "shop", MayReport: func(rule string) bool { return rule == "login" }, MayAsk: true, MayBan: true,
		EventsPerSecond: 100,
		Bans:            report.Bans{MaxFor: time.Hour, WidestIPv4: 32, WidestIPv6: 64, PerMinute: 10},
	}, true
}

func (r *reports) Events(_ context.Context, _ string, events []report.Event) ([]report.Refusal, error) {
	for _, e := range events {
		r.asked <- fmt.Sprint("event ", e.Rule, e.Address, e.Points, e.User, e.Path, e.Text, e.Success, e.Time.Unix())
	}
	return nil, nil
}

func (r *reports) Note(string, string, string) {}

func (r *reports) Verdict(a netip.Addr) report.Verdict {
	return report.Verdict{Address: a, Verdict: "drop", Origin: "rule:login", Until: noon.Add(time.Hour),
		Tags: []string{"aws", "tor\x1b"}}
}

func (r *reports) Ban(_ context.Context, _ report.Rights, b report.Ban) (report.Verdict, error) {
	r.asked <- fmt.Sprint("ban ", b.Prefix, b.For, b.Reason)
	return report.Verdict{Address: b.Prefix.Addr(), Verdict: "drop", Origin: "app:shop"}, nil
}

func TestReport(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "r")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	backend := &reports{asked: make(chan string, 1)}
	log := slog.New(slog.DiscardHandler)
	go report.NewServer(backend, &report.Board{}, report.Options{Log: log}).Serve(ctx, l)
	for _, tt := range []struct {
		line, asked, stdout, stderr string
		exit                        int
	}{
		{"event login 192.0.2.1", "event login 192.0.2.1 0   false -62135596800", "counted\n", "", 0},
		{"event login 2001:db8::1 --points 7 --user u --path /p --text t --success --time 1970-01-01T00:00:05Z",
			"event login 2001:db8::1 7 u /p t true 5", "counted\n", "", 0},
		{"event other 192.0.2.1", "", "", "not counted (forbidden)", 1},
		{"event other 192.0.2.1 -o json", "", `"code": "forbidden"`, "not counted (forbidden)", 1},
		{"event login 192.0.2.1 -o json", "event login 192.0.2.1 0   false -62135596800", `"accepted": 1`, "", 0},
		{"event login 192.0.2.1 --points 1001", "", "", "not counted (invalid_request): points", 1},
		{"event login 192.0.2.0/24", "", "", "Usage: paraxialctl report event RULE ADDR", 2},
		{"event login", "", "", "needs a rule and an address", 2},
		{"event login 192.0.2.1 --time now", "", "", "--time", 2},
		{"ask 192.0.2.1 2001:db8::1", "",
			"192.0.2.1    drop  rule:login  expires in 1h  aws tor\\x1b\n" +
				"2001:db8::1  drop  rule:login  expires in 1h  aws tor\\x1b\n", "", 0},
		{"ask 192.0.2.1 -o json", "", `"verdicts": [`, "", 0},
		{"ask", "", "", "needs an address", 2},
		{"ban 192.0.2.1 --for 1h --reason why", "ban 192.0.2.1/32 1h0m0s why",
			"banned 192.0.2.1/32\n192.0.2.1  drop  app:shop  -  -\n", "", 0},
		{"ban 192.0.2.1 --for 2h", "", "", "longer than 1h", 1},
		{"ban 192.0.2.0/31 --for 1h", "", "", "wider than a /32", 1},
		{"ban 192.0.2.1", "", "", "--for DURATION", 2},
		{"ban 192.0.2.1 --for forever", "", "", "bans of reporters end", 2},
		{"ban x --for 1h", "", "", "Usage", 2},
		{"ask 192.0.2.1 --report-socket /nonexistent/s", "", "", "/nonexistent/s", 3},
		{"", "", "", "event, ask, ban", 2},
	} {
		args := append([]string{"report"}, split(tt.line)...)
		if tt.line != "" && !strings.Contains(tt.line, "--report-socket") {
			args = append(args, "--report-socket", socket)
		}
		got := invoke(t.Context(), "/nonexistent", "", args...)
		if got.Code != tt.exit || !contains(got.Stdout, tt.stdout) || !contains(got.Stderr, tt.stderr) {
			t.Errorf("%s: %+v, want %d, %q and %q", tt.line, got, tt.exit, tt.stdout, tt.stderr)
		}
		asked := ""
		select {
		case asked = <-backend.asked:
		default:
		}
		if diff := cmp.Diff(strings.ReplaceAll(tt.asked, " ", ""), strings.ReplaceAll(asked, " ", "")); diff != "" {
			t.Errorf("%s: -want +got:\n%s", tt.line, diff)
		}
	}
}

// contains reports whether got contains want, or is empty if want is.
func contains(got, want string) bool { return strings.Contains(got, want) && (want != "" || got == "") }
