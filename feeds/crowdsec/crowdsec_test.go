package crowdsec

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/paraxial/paraxial/report"
)

// lab is a follower with an API, a daemon and a clock of the test.
type lab struct {
	*testing.T
	*Follower
	clock  time.Time
	key    string // that the API accepts
	status int
	body   string
	asked  []string // startup= of each request
	daemon *fakeDaemon
}

func newLab(t *testing.T, change ...func(*Source)) *lab {
	t.Helper()
	l := &lab{T: t, clock: time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC), key: "secret", status: 200}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l.asked = append(l.asked, r.URL.Query().Get("startup"))
		if r.URL.Path != "/v1/decisions/stream" || r.URL.Query().Get("dedup") != "false" {
			t.Errorf("asked for %s", r.URL)
		}
		if r.Header.Get("X-Api-Key") != l.key {
			w.WriteHeader(http.StatusForbidden)
			io.WriteString(w, `{"message":"access forbidden"}`)
			return
		}
		w.WriteHeader(l.status)
		io.WriteString(w, l.body)
	}))
	t.Cleanup(server.Close)
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := Source{
		Name: "cs", URL: server.URL + "/", KeyFile: key, Every: 10 * time.Second, Resync: 15 * time.Minute,
		TTL: 48 * time.Hour, MaxEntries: 1000, MaxBytes: 1 << 20, MaxShrink: 0.5,
	}
	for _, c := range change {
		c(&s)
	}
	l.daemon = &fakeDaemon{clock: &l.clock, set: map[netip.Prefix]report.Entry{}}
	l.Follower = New(s, Options{
		Sender: l.daemon, Agent: "test", Client: server.Client(), Now: func() time.Time { return l.clock },
	})
	return l
}

// after lets time pass, and makes a step with this answer. It returns the error as text.
func (l *lab) after(d time.Duration, body string) string {
	l.Helper()
	l.clock, l.body = l.clock.Add(d), body
	if err := l.Step(l.Context()); err != nil {
		return err.Error()
	}
	return ""
}

// good is after without an error, and tells what the daemon has then.
func (l *lab) good(d time.Duration, body, want string) {
	l.Helper()
	if err := l.after(d, body); err != "" {
		l.Error(err)
	}
	l.has(want)
}

// bad is after with an error.
func (l *lab) bad(d time.Duration, body, wantErr, want string) {
	l.Helper()
	if err := l.after(d, body); !strings.Contains(err, wantErr) || err == "" {
		l.Errorf("error %q, want %q", err, wantErr)
	}
	if st := l.State(); !strings.Contains(st.Error, wantErr) {
		l.Errorf("the state says %q, want %q", st.Error, wantErr)
	}
	l.has(want)
}

func (l *lab) has(want string) {
	l.Helper()
	if got := l.daemon.String(); got != want {
		l.Errorf("the daemon has\n%s\nwant\n%s", got, want)
	}
}

func (l *lab) wantAsked(want string) {
	l.Helper()
	if got := strings.Join(l.asked, " "); got != want {
		l.Errorf("asked %q, want %q", got, want)
	}
	l.asked = nil
}

// fakeDaemon is a Sender.
type fakeDaemon struct {
	clock   *time.Time
	set     map[netip.Prefix]report.Entry
	ends    map[netip.Prefix]time.Time
	puts    int
	changes int // prefixes
	unknown bool
	holds   string
}

func (d *fakeDaemon) Put(_ context.Context, s report.Set) (report.Result, error) {
	d.puts++
	if d.holds != "" && !s.Accept {
		return report.Result{Held: d.holds}, nil
	}
	d.set, d.unknown = map[netip.Prefix]report.Entry{}, false
	for e, err := range s.Entries {
		if err != nil {
			return report.Result{}, err
		}
		d.set[e.Prefix] = e
		d.end(e)
	}
	return report.Result{}, nil
}

func (d *fakeDaemon) end(e report.Entry) {
	if d.ends == nil {
		d.ends = map[netip.Prefix]time.Time{}
	}
	d.ends[e.Prefix] = d.clock.Add(e.For)
}

func (d *fakeDaemon) Change(_ context.Context, c report.Changes) (report.Result, error) {
	if d.unknown {
		return report.Result{}, report.Errorf(report.CodeUnknown, "put it")
	}
	d.changes += len(c.Put) + len(c.Remove)
	for _, e := range c.Put {
		d.set[e.Prefix] = e
		d.end(e)
	}
	for _, p := range c.Remove {
		delete(d.set, p)
	}
	return report.Result{}, nil
}

// String returns the entries in force, with the time until they end.
func (d *fakeDaemon) String() string {
	var all []string
	for p := range d.set {
		if left := d.ends[p].Sub(*d.clock); left > 0 {
			all = append(all, fmt.Sprintf("%s %s", p, left.Round(time.Second)))
		}
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// made returns a decision.
func made(id int, value, duration string) string {
	const text = `{"id":%d,"origin":"cscli","scenario":"test/a","scope":"Ip","type":"ban","value":%q,"duration":%q}`
	return fmt.Sprintf(text, id, value, duration)
}

func answer(fresh, deleted string) string {
	list := func(s string) string {
		if s == "" {
			return "null"
		}
		return "[" + s + "]"
	}
	return `{"deleted":` + list(deleted) + `,"new":` + list(fresh) + `}`
}

const (
	poll   = 10 * time.Second
	resync = 15 * time.Minute
)

// Two decisions for an address: it is banned as long as one of them lasts, whatever the order in
// which they are deleted and how often that is told.
func TestDecisions(t *testing.T) {
	l := newLab(t)
	l.good(0, answer("", ""), "")
	l.good(poll, answer(made(1, "198.51.100.9", "1h")+","+made(2, "198.51.100.9", "3h"), ""), "198.51.100.9/32 3h0m0s")
	l.good(poll, answer("", made(2, "198.51.100.9", "-1s")), "198.51.100.9/32 59m50s")
	l.good(poll, answer(made(3, "198.51.100.9", "5m"), made(2, "198.51.100.9", "-11s")), "198.51.100.9/32 59m40s")
	l.good(poll, answer("", made(1, "198.51.100.9", "-1s")), "198.51.100.9/32 4m50s")
	l.good(5*time.Minute, answer("", ""), "") // it ends by itself
	l.good(poll, answer("", made(3, "198.51.100.9", "-1s")), "")
	l.wantAsked("true false false false false false false")
	if l.daemon.puts != 1 {
		t.Errorf("the set was put %d times, want once", l.daemon.puts)
	}
}

// Silent changes are seen when all decisions are read again.
func TestResync(t *testing.T) {
	l := newLab(t)
	l.good(0, answer(made(1, "198.51.100.9", "1h")+","+made(2, "198.51.100.8", "2h"), ""),
		"198.51.100.8/32 2h0m0s, 198.51.100.9/32 1h0m0s")
	l.good(resync, answer(made(2, "198.51.100.8", "20m")+","+made(4, "198.51.100.7", "20m"), ""),
		"198.51.100.7/32 20m0s, 198.51.100.8/32 20m0s")
	l.wantAsked("true true")
	delete(l.daemon.set, netip.MustParsePrefix("198.51.100.7/32")) // by an operator
	l.good(resync, answer(made(2, "198.51.100.8", "5m")+","+made(4, "198.51.100.7", "5m"), ""),
		"198.51.100.7/32 5m0s, 198.51.100.8/32 5m0s")
}

// Nothing is lifted on an error, and everything is asked for after it: what the API has begun to
// tell it does not tell again.
func TestErrorsLiftNothing(t *testing.T) {
	l := newLab(t)
	all := answer(made(1, "203.0.113.1", "3h"), "")
	const has = "203.0.113.1/32 "
	l.good(0, all, has+"3h0m0s")
	l.asked = nil
	l.status = 500
	l.bad(poll, `{"message":"database is locked"}`, "500 Internal", has+"2h59m50s")
	l.status = 200
	left := []string{"2h59m30s", "2h59m10s", "2h58m50s", "2h58m30s", "2h58m10s"}
	for n, tt := range []struct{ body, want string }{
		{all[:len(all)-20], "unexpected end of JSON"},
		{"<html>", "invalid character"},
		{`{"message":"ok"}`, "no lists of decisions"},
		{`{"new":[{"id":"x"}],"deleted":null}`, "cannot unmarshal"},
		{"", "unexpected end of JSON"},
	} {
		l.at = l.clock // without the longer waits after several failures
		l.bad(20*time.Second, tt.body, tt.want, has+left[n])
	}
	l.at, l.key = l.clock, "another"
	l.bad(poll, all, "cscli bouncers add", has+"2h58m0s")
	l.key, l.status = "secret", 302
	l.at = l.clock
	l.bad(poll, all, "302", has+"2h57m50s")
	l.wantAsked("false true true true true true true true")
	l.status = 200
	l.good(time.Minute, answer(made(1, "203.0.113.1", "1h"), ""), has+"1h0m0s")
	os.Remove(l.source.KeyFile)
	l.bad(poll, all, "key_file", has+"59m50s")
	if wait := l.Wake().Sub(l.clock); wait != poll {
		t.Errorf("after the first failure the next step is in %s", wait)
	}
	for range 10 {
		l.after(time.Hour, all)
	}
	if wait := l.Wake().Sub(l.clock); wait != longestRetry {
		t.Errorf("after many failures the next step is in %s", wait)
	}
}

// A list that has lost most of its decisions is asked for again before it counts.
func TestShortAnswer(t *testing.T) {
	l := newLab(t)
	var decisions []string
	for n := range 4 {
		decisions = append(decisions, made(n+1, fmt.Sprintf("203.0.113.%d", n+1), "9h"))
	}
	all, short := answer(strings.Join(decisions, ","), ""), answer(decisions[0], "")
	four := func(left string) string {
		return strings.ReplaceAll("203.0.113.1/32 X, 203.0.113.2/32 X, 203.0.113.3/32 X, 203.0.113.4/32 X", "X", left)
	}
	l.good(0, all, four("9h0m0s"))
	l.bad(resync, short, "of 4 prefixes only 1 would be left", four("8h45m0s"))
	l.good(poll, all, four("9h0m0s")) // the database works again
	l.bad(resync, short, "of 4 prefixes only 1 would be left", four("8h45m0s"))
	l.good(poll, short, "203.0.113.1/32 9h0m0s")
	l.wantAsked("true true true true true")
	l.good(poll, answer(decisions[3], ""), "203.0.113.1/32 8h59m50s, 203.0.113.4/32 9h0m0s")
	l.good(poll, answer("", decisions[0]+","+decisions[3]), "") // these are named, and count at once
}

// Decisions that are no bans of addresses are left out and counted. A reason from a stranger is
// harmless.
func TestOtherDecisions(t *testing.T) {
	l := newLab(t)
	list := []string{
		made(1, "203.0.113.1", "-4s"), made(2, "not an ip", "1h"), made(3, "203.0.113.3", "soon"),
		made(4, "0.0.0.0/0", "1h"),
		`{"id":5,"type":"captcha","scope":"Ip","value":"203.0.113.5","duration":"1h"}`,
		`{"id":6,"type":"ban","scope":"Country","value":"XX","duration":"1h"}`,
		`{"id":7,"type":"BAN","scope":"ip","value":"::ffff:203.0.113.7","duration":"10m"}`,
		`{"id":8,"type":"ban","scope":"Range","value":"203.0.113.77/28","duration":"8760h0m0s",` +
			`"scenario":"a\u001b[2J` + strings.Repeat("é", 200) + `","origin":"lists"}`,
	}
	l.good(0, answer(strings.Join(list, ","), ""), "203.0.113.64/28 48h0m0s, 203.0.113.7/32 10m0s")
	want := "1 of another scope than Ip and Range, 1 of another type than ban, 3 not understood"
	if got := strings.Join(l.State().Notes, ", "); got != want {
		t.Errorf("notes %q, want %q", got, want)
	}
	reason := l.daemon.set[netip.MustParsePrefix("203.0.113.64/28")].Reason
	if strings.Contains(reason, "\x1b") || len(reason) > maxReason+len("…") || !strings.HasPrefix(reason, "a?[2J") {
		t.Errorf("reason %q", reason)
	}
}

// A long decision is prolonged in large steps, so that most answers change nothing.
func TestLongDecisions(t *testing.T) {
	l := newLab(t)
	body := answer(made(1, "203.0.113.1", "1000h"), "")
	ends := map[time.Time]bool{}
	for range 96 { // a day
		l.after(resync, body)
		end := l.daemon.ends[netip.MustParsePrefix("203.0.113.1/32")]
		if left := end.Sub(l.clock); left > 48*time.Hour || left < 41*time.Hour {
			t.Fatalf("it lasts %s", left)
		}
		ends[end] = true
	}
	if len(ends) > 5 {
		t.Errorf("its end has moved %d times in a day", len(ends))
	}
}

// The daemon has the set again after it was restarted, and changes come while it holds one.
func TestDaemon(t *testing.T) {
	l := newLab(t)
	one, two := made(1, "203.0.113.1", "9h"), made(2, "203.0.113.2", "9h")
	l.good(0, answer(one, ""), "203.0.113.1/32 9h0m0s")
	l.daemon.unknown = true
	l.good(poll, answer(two, ""), "203.0.113.1/32 8h59m50s, 203.0.113.2/32 9h0m0s")
	if l.daemon.puts != 2 {
		t.Errorf("%d puts, want 2", l.daemon.puts)
	}
	l.daemon.holds = "it grows"
	three := made(3, "203.0.113.3", "9h")
	l.good(resync, answer(one+","+two, ""), "203.0.113.1/32 8h44m50s, 203.0.113.2/32 8h45m0s")
	if st := l.State(); st.Held == nil || st.Held.Reason != "it grows" {
		t.Errorf("state %+v", st)
	}
	l.good(poll, answer(three, ""), "203.0.113.1/32 8h44m40s, 203.0.113.2/32 8h44m50s, 203.0.113.3/32 9h0m0s")
	l.daemon.unknown = true
	puts := l.daemon.puts
	l.after(poll, answer("", three))
	l.after(poll, answer("", ""))
	if l.daemon.puts != puts {
		t.Errorf("a set that is held was put %d times more", l.daemon.puts-puts)
	}
	text, err := l.Do(t.Context(), report.Command{Verb: report.Accept})
	if err != nil || text != "generation 4, 2 entries" {
		t.Errorf("accept: %q, %v", text, err)
	}
	if st := l.State(); st.Held != nil {
		t.Errorf("state after accept %+v", st)
	}
	if _, err := l.Do(t.Context(), report.Command{Verb: report.Accept}); err == nil {
		t.Error("accept with nothing held")
	}
}

func TestCommands(t *testing.T) {
	l := newLab(t)
	l.good(0, answer(made(1, "203.0.113.1", "99h"), ""), "203.0.113.1/32 48h0m0s")
	l.Do(t.Context(), report.Command{Verb: report.Pause})
	l.clock = l.clock.Add(50 * time.Hour)
	l.asked = nil
	l.good(0, answer("", ""), "")
	if st := l.State(); !st.Paused || !st.Ended || st.Entries != 0 || !st.NextAt.IsZero() {
		t.Errorf("state %+v", st)
	}
	l.wantAsked("")
	l.Do(t.Context(), report.Command{Verb: report.Resume})
	l.body = answer(made(1, "203.0.113.1", "49h"), "")
	if text, err := l.Do(t.Context(), report.Command{Verb: report.Refresh}); text != "generation 2, 1 entries" {
		t.Errorf("refresh: %q, %v", text, err)
	}
	l.wantAsked("true")
	if _, err := l.Do(t.Context(), report.Command{Verb: report.Rollback}); err == nil {
		t.Error("there is a rollback without generations")
	}
}

// Answers and decisions have bounds.
func TestBounds(t *testing.T) {
	l := newLab(t, func(s *Source) { s.MaxEntries = 2 })
	three := made(1, "203.0.113.1", "1h") + "," + made(2, "203.0.113.2", "1h") + "," + made(3, "203.0.113.3", "1h")
	l.bad(0, answer(three, ""), "bans of 3 prefixes, more than 2", "")
	var many []string
	for n := range 9 {
		many = append(many, made(n, "203.0.113.1", "1h"))
	}
	l.bad(poll, answer(strings.Join(many, ","), ""), "9 bans, more than 4 times", "")
	l.good(time.Minute, answer(many[0], ""), "203.0.113.1/32 1h0m0s")
	l.after(poll, answer(strings.Join(many[1:], ","), ""))
	if l.whole {
		t.Error("more changes than there is room for are taken")
	}
	l = newLab(t, func(s *Source) { s.MaxBytes = 100 })
	l.bad(0, answer(three, ""), "longer than 100 bytes", "")
}

// After random changes, told or not, the daemon has within one resync what the API has.
func TestAtRandom(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 1))
	l := newLab(t, func(s *Source) { s.MaxShrink = 1 })
	type active struct {
		value string
		until time.Time
	}
	all := map[int]active{}
	show := func(id int) string { return made(id, all[id].value, all[id].until.Sub(l.clock).String()) }
	for round := range 600 {
		var fresh, deleted []string
		for range random.IntN(5) {
			id := round*10 + random.IntN(10)
			value := fmt.Sprintf("203.0.113.%d", random.IntN(20))
			all[id] = active{value, l.clock.Add(time.Duration(1+random.IntN(50)) * time.Minute)}
			fresh = append(fresh, show(id))
		}
		for id := range all {
			if random.IntN(20) == 0 {
				deleted = append(deleted, show(id))
				delete(all, id)
			}
		}
		if random.IntN(3) == 0 { // the changes are lost
			fresh, deleted = nil, nil
		}
		body := answer(strings.Join(fresh, ","), strings.Join(deleted, ","))
		if !l.whole || !l.clock.Before(l.resyncAt) {
			fresh = nil
			for id, a := range all {
				if a.until.After(l.clock) {
					fresh = append(fresh, show(id))
				}
			}
			body = answer(strings.Join(fresh, ","), "")
		}
		resynced := l.resyncAt
		if err := l.after(0, body); err != "" {
			t.Fatalf("seed %d: %s", seed, err)
		}
		if l.resyncAt != resynced {
			ends := map[string]time.Duration{}
			for _, a := range all {
				if left := a.until.Sub(l.clock); left > 0 {
					ends[a.value] = max(ends[a.value], left)
				}
			}
			var want []string
			for value, left := range ends {
				want = append(want, fmt.Sprintf("%s/32 %s", value, left))
			}
			slices.Sort(want)
			if got := l.daemon.String(); got != strings.Join(want, ", ") {
				t.Fatalf("seed %d: the daemon has\n%s\nwant\n%s", seed, got, strings.Join(want, ", "))
			}
		}
		l.clock = l.clock.Add(poll)
		l.at = l.clock
	}
}
