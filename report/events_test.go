package report

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/paraxial/paraxial/policy"
)

// Events notes the events, and refuses those for the rule "unknown".
func (f *fake) Events(_ context.Context, reporter string, events []Event) (refused []Refusal, err error) {
	for n, e := range events {
		if e.Rule == "unknown" {
			refused = append(refused, Refusal{Line: n + 1, Code: "unknown_rule", Message: "no rule\n" + e.Rule})
			continue
		}
		f.note("event %s %s %s %d %s", reporter, e.Address, e.Rule, e.Points, e.User)
	}
	return refused, nil
}

func (f *fake) Rate(_ context.Context, reporter string, e Event) (Verdict, error) {
	if e.Rule == "unknown" {
		return Verdict{}, Errorf("unknown_rule", "no rule %s", e.Rule)
	}
	f.note("rate %s %s %s", reporter, e.Address, e.Rule)
	return Verdict{Address: e.Address, Verdict: "drop", Origin: "rule:" + e.Rule, Points: 6, Limit: 5}, nil
}

func (f *fake) Note(reporter, rule, code string) {
	if code != CodeBudget {
		f.note("refused %s %s %s", reporter, rule, code)
	}
}

func (f *fake) Verdict(a netip.Addr) Verdict { return Verdict{Address: a, Verdict: "pass"} }

func (f *fake) Ban(_ context.Context, who Rights, b Ban) (Verdict, error) {
	f.note("ban %s %s %s %q", who.Name, b.Prefix, b.For, b.Reason)
	return Verdict{Address: b.Prefix.Addr(), Verdict: "drop", Origin: "app:" + who.Name}, nil
}

// shop may do everything for the rule login, with small budgets.
func shop() Rights {
	return Rights{
		Name: "shop", MayPut: func(string) bool { return false },
		MayReport: func(rule string) bool { return rule == "login" || rule == "unknown" }, MayAsk: true, MayBan: true,
		EventsPerSecond: 5000, Bans: Bans{MaxFor: time.Hour, WidestIPv4: 24, WidestIPv6: 64, PerMinute: 3, Live: 9},
	}
}

// allow returns a backend on which every caller has these rights.
func allow(r Rights) *fake {
	return &fake{rights: func(uint32) (Rights, bool) { return r, true }}
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func login(a string) Event { return Event{Address: addr(a), Rule: "login"} }

func TestEvents(t *testing.T) {
	f := allow(shop())
	socket, _ := serve(t, f, Options{})
	c, ctx := NewClient(socket), t.Context()
	other := login("192.0.2.4")
	other.Rule = "other"
	unknown := login("192.0.2.5")
	unknown.Rule = "unknown"
	many := login("::ffff:192.0.2.6")
	many.Points, many.User = 7, strings.Repeat("u", 300)
	taken, err := c.Events(ctx, []Event{login("192.0.2.3"), other, unknown, many})
	want := Taken{Accepted: 2, Refused: []Refusal{{Line: 2, Code: CodeForbidden}, {Line: 3, Code: "unknown_rule"}}}
	if diff := cmp.Diff(want, taken, cmpopts.IgnoreFields(Refusal{}, "Message")); err != nil || diff != "" {
		t.Errorf("events: %v (-want +got):\n%s", err, diff)
	}
	v, err := c.Rate(ctx, login("2001:db8::1"))
	wantVerdict := Verdict{
		Address: addr("2001:db8::1"), Verdict: "drop", Origin: "rule:login", Points: 6, Limit: 5, Tags: []string{},
	}
	if diff := cmp.Diff(wantVerdict, v, cmp.Comparer(equalAddr)); err != nil || diff != "" {
		t.Errorf("rate: %v (-want +got):\n%s", err, diff)
	}
	if _, err := c.Rate(ctx, unknown); code(err) != "unknown_rule" {
		t.Errorf("rate of an unknown rule: %v", err)
	}
	if v, err := c.Verdict(ctx, addr("::ffff:192.0.2.7")); err != nil || v.Address != addr("192.0.2.7") {
		t.Errorf("verdict %v, %v", v, err)
	}
	list, err := c.Verdicts(ctx, []netip.Addr{addr("192.0.2.8"), addr("192.0.2.9")})
	if err != nil || len(list) != 2 || list[1].Address != addr("192.0.2.9") || list[1].Tags == nil {
		t.Errorf("verdicts %v, %v", list, err)
	}
	reason := "a\x1b[2J" + strings.Repeat("r", 300)
	b := Ban{Prefix: netip.MustParsePrefix("192.0.2.0/24"), For: time.Hour, Reason: reason}
	if _, err := c.Ban(ctx, b); err != nil {
		t.Error(err)
	}
	wantCalls := []string{
		"refused shop other forbidden",
		"event shop 192.0.2.3 login 0 ", "event shop 192.0.2.6 login 7 " + strings.Repeat("u", MaxEventText),
		"rate shop 2001:db8::1 login",
		fmt.Sprintf("ban shop 192.0.2.0/24 1h0m0s %q", "a?[2J"+strings.Repeat("r", MaxEventText-5)),
	}
	if diff := cmp.Diff(wantCalls, f.taken()); diff != "" {
		t.Errorf("the backend was asked (-want +got):\n%s", diff)
	}
}

func equalAddr(x, y netip.Addr) bool { return x == y }

// Each line of a body is judged alone, and its number is told.
func TestEventLines(t *testing.T) {
	f := allow(shop())
	socket, _ := serve(t, f, Options{})
	body := strings.Join([]string{
		`{"address":"192.0.2.1","rule":"login"}`,
		`{"address":"192.0.2.1%eth0","rule":"login"}`,
		``,
		`{"address":"host.example","rule":"login"}`,
		`{"address":"fe80::1%eth0","rule":"login"}`,
		`{"address":"192.0.2.1"}`,
		`{"rule":"login"}`,
		`{"address":"192.0.2.1","rule":"login","points":1001}`,
		`{"address":"192.0.2.1","rule":"login","points":-1}`,
		`{"address":"192.0.2.1","rule":"login"} {}`,
		`{"address":"192.0.2.1","rule":"login","time":"yesterday"}`,
		"\x00\xff",
		`{"address":"192.0.2.2","rule":"login","points":1000}`, // the end of a line is missing
	}, "\n")
	taken := post(t, socket, body)
	lines := []int{}
	for _, r := range taken.Refused {
		lines = append(lines, r.Line)
		if r.Code != CodeInvalidRequest || r.Message == "" {
			t.Errorf("line %d: %+v", r.Line, r)
		}
	}
	if diff := cmp.Diff([]int{2, 4, 5, 6, 7, 8, 9, 10, 11, 12}, lines); diff != "" || taken.Accepted != 2 {
		t.Errorf("%d accepted; refused lines (-want +got):\n%s", taken.Accepted, diff)
	}
}

// post sends a body of events as it is.
func post(t *testing.T, socket, body string) (taken Taken) {
	t.Helper()
	answer := sendRaw(t, socket, "POST /v1/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: "+
		fmt.Sprint(len(body))+"\r\n\r\n"+body)
	_, data, _ := strings.Cut(answer, "\r\n\r\n")
	if err := json.Unmarshal([]byte(data), &taken); err != nil {
		t.Fatalf("%v: %s", err, answer)
	}
	return taken
}

// sendRaw sends bytes and returns all that is answered until the connection is closed.
func sendRaw(t *testing.T, socket, request string) string {
	t.Helper()
	nc, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	io.WriteString(nc, request)
	answer, _ := io.ReadAll(nc)
	return string(answer)
}

// Nothing is counted of a request that is too large or cut off, and the client learns it.
func TestEventsAllOrNone(t *testing.T) {
	line := `{"address":"192.0.2.1","rule":"login"}` + "\n"
	head := "POST /v1/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: "
	for name, tt := range map[string]struct{ request, want string }{
		"1001 lines": {head + fmt.Sprintf("%d\r\n\r\n", 1001*len(line)) + strings.Repeat(line, 1001), CodeTooLarge},
		"too long": {head + fmt.Sprintf("%d\r\n\r\n", 8*MaxBody) + line + strings.Repeat(" ", 8*MaxBody-len(line)),
			CodeTooLarge},
		"silent": {head + "500\r\n\r\n" + line, CodeInvalidRequest},
	} {
		t.Run(name, func(t *testing.T) {
			f := allow(shop())
			socket, _ := serve(t, f, Options{StallTimeout: 200 * time.Millisecond})
			answer := sendRaw(t, socket, tt.request)
			if !strings.Contains(answer, `{"error":{"code":"`+tt.want+`"`) {
				t.Errorf("answer %s", answer)
			}
			if calls := f.taken(); len(calls) > 0 {
				t.Errorf("counted %q", calls)
			}
		})
	}
}

// The client sends as many events as it is given, and the lines of refusals are their places.
func TestManyEvents(t *testing.T) {
	f := allow(shop())
	socket, _ := serve(t, f, Options{})
	events := make([]Event, 2500)
	for n := range events {
		events[n] = login("192.0.2.1")
		events[n].Text = strings.Repeat("\x01", MaxEventText) // six bytes each on the wire
	}
	events[2400].Rule = "unknown"
	taken, err := NewClient(socket).Events(t.Context(), events)
	if err != nil || taken.Accepted != 2499 || len(taken.Refused) != 1 || taken.Refused[0].Line != 2401 {
		t.Errorf("%d accepted, refused %v, %v", taken.Accepted, taken.Refused, err)
	}
}

// A reporter does only what it is named for.
func TestEventRights(t *testing.T) {
	none := shop()
	none.MayReport, none.MayAsk, none.MayBan = func(string) bool { return false }, false, false
	askOnly := none
	askOnly.MayAsk = true
	eventOnly := none
	eventOnly.MayReport = shop().MayReport
	proven := shop()
	proven.Proof = &Proof{Rule: "login", Ports: []uint16{22}}
	for _, tt := range []struct {
		name                            string
		rights                          Rights
		event, rate, ask, verdicts, ban string
	}{
		{"nothing", none, CodeForbidden, CodeForbidden, CodeForbidden, CodeForbidden, CodeForbidden},
		{"ask", askOnly, CodeForbidden, CodeForbidden, "", "", CodeForbidden},
		{"event", eventOnly, "", CodeForbidden, CodeForbidden, CodeForbidden, CodeForbidden},
		{"all", shop(), "", "", "", "", ""},
		{"with a proof", proven, CodeUnproven, CodeUnproven, "", "", ""},
	} {
		socket, _ := serve(t, allow(tt.rights), Options{})
		c, ctx := NewClient(socket), t.Context()
		taken, err := c.Events(ctx, []Event{login("192.0.2.1")})
		got := code(err)
		if len(taken.Refused) == 1 {
			got = taken.Refused[0].Code
		}
		check := func(what, got, want string) {
			if want == "" {
				want = "<nil>"
			}
			if got != want {
				t.Errorf("%s: %s: %s, want %s", tt.name, what, got, want)
			}
		}
		check("event", got, tt.event)
		_, err = c.Rate(ctx, login("192.0.2.1"))
		check("rate", code(err), tt.rate)
		_, err = c.Verdict(ctx, addr("192.0.2.1"))
		check("verdict", code(err), tt.ask)
		_, err = c.Verdicts(ctx, []netip.Addr{addr("192.0.2.1")})
		check("verdicts", code(err), tt.verdicts)
		_, err = c.Ban(ctx, Ban{Prefix: netip.MustParsePrefix("192.0.2.1/32"), For: time.Minute})
		check("ban", code(err), tt.ban)
	}
}

// Bans beyond the budget are refused, not shortened or narrowed.
func TestBanBudget(t *testing.T) {
	f := allow(shop())
	socket, _ := serve(t, f, Options{})
	c, ctx := NewClient(socket), t.Context()
	for _, tt := range []struct {
		prefix, code string
		ttl          time.Duration
	}{
		{"192.0.2.1/32", CodeBudget, time.Hour + time.Second},
		{"192.0.2.1/32", CodeInvalidRequest, 0},
		{"192.0.2.0/23", CodeBudget, time.Hour},
		{"2001:db8::/63", CodeBudget, time.Hour},
		{"192.0.2.0/24", "<nil>", time.Hour},
		{"2001:db8::/64", "<nil>", time.Hour},
		{"192.0.2.1/32", "<nil>", time.Millisecond}, // at least a second
		{"192.0.2.2/32", CodeBudget, time.Hour},     // the fourth of a minute
	} {
		_, err := c.Ban(ctx, Ban{Prefix: netip.MustParsePrefix(tt.prefix), For: tt.ttl})
		if code(err) != tt.code {
			t.Errorf("ban of %s for %s: %v, want %s", tt.prefix, tt.ttl, err, tt.code)
		}
	}
	if calls := f.taken(); len(calls) != 3 {
		t.Errorf("bans: %q", calls)
	}
	for _, body := range []string{
		`{"address":"192.0.2.1"}`, `{"address":"192.0.2.1","for":"forever"}`, `{"address":"x","for":"1h"}`, `[]`,
	} {
		answer := sendRaw(t, socket, fmt.Sprintf("POST /v1/ban HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"+
			"Content-Length: %d\r\n\r\n%s", len(body), body))
		if !strings.Contains(answer, `{"error":{"code":`) {
			t.Errorf("%s: %s", body, answer)
		}
	}
	if calls := f.taken(); len(calls) != 0 {
		t.Errorf("bans: %q", calls)
	}
}

func TestTooManyVerdicts(t *testing.T) {
	socket, _ := serve(t, allow(shop()), Options{})
	c := NewClient(socket)
	list := make([]netip.Addr, MaxVerdicts+1)
	for n := range list {
		list[n] = addr("192.0.2.1")
	}
	if got, err := c.Verdicts(t.Context(), list[1:]); err != nil || len(got) != MaxVerdicts {
		t.Errorf("%d verdicts, %v", len(got), err)
	}
	if _, err := c.Verdicts(t.Context(), list); code(err) != CodeTooLarge {
		t.Errorf("one more: %v", err)
	}
	if _, err := c.Verdicts(t.Context(), []netip.Addr{addr("192.0.2.1"), {}}); code(err) != CodeInvalidRequest {
		t.Errorf("no address: %v", err)
	}
}

// Events beyond the budget are refused with their lines, and their answer is delayed. What one
// reporter has used up is not missing for another.
func TestEventBudget(t *testing.T) {
	r := shop()
	r.EventsPerSecond = 10
	const wait = 300 * time.Millisecond
	s := NewServer(allow(r), &Board{}, Options{OverBudget: wait})
	b := newBatch(12)
	for n := range 12 {
		b.events, b.lines = append(b.events, login("192.0.2.1")), append(b.lines, n+1)
	}
	now := time.Now()
	if got := s.budgets.events(r, now, 12); got != 10 {
		t.Errorf("%d of 12 events, want 10", got)
	}
	if got := s.budgets.events(r, now.Add(300*time.Millisecond), 12); got != 3 {
		t.Errorf("%d events after 300 ms, want 3", got)
	}
	other := r
	other.Name = "other"
	if got := s.budgets.events(other, now, 12); got != 10 {
		t.Errorf("another reporter: %d of 12 events, want 10", got)
	}
	if got := s.budgets.events(r, now.Add(time.Hour), 12); got != 10 {
		t.Errorf("%d events after an hour, want 10", got)
	}
	f := allow(r)
	socket, _ := serve(t, f, Options{OverBudget: wait})
	line := `{"address":"192.0.2.1","rule":"login"}` + "\n"
	began := time.Now()
	taken := post(t, socket, "\n"+strings.Repeat(line, 20))
	if len(taken.Refused) == 0 || taken.Accepted+len(taken.Refused) != 20 || len(f.taken()) != taken.Accepted {
		t.Errorf("taken %+v", taken)
	}
	for n, refused := range taken.Refused {
		if want := taken.Accepted + 2 + n; refused.Line != want || refused.Code != CodeBudget {
			t.Errorf("refusal %d: %+v, want line %d", n, refused, want)
		}
	}
	if took := time.Since(began); took < wait {
		t.Errorf("answered after %s, want a delay of %s", took, wait)
	}
}

// The line of a Ban is what UnmarshalJSON reads.
func TestBanOnTheWire(t *testing.T) {
	want := Ban{Prefix: netip.MustParsePrefix("2001:db8::/64"), For: 36*time.Hour + 5*time.Second, Reason: "why"}
	data, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got Ban
	if err := json.Unmarshal(data, &got); err != nil || got != want {
		t.Errorf("%s: %v, %v", data, got, err)
	}
	if !bytes.Contains(data, []byte(`"for":"129605s"`)) || policy.TTLForever == want.For {
		t.Errorf("%s", data)
	}
}
