package feeds

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestConditional(t *testing.T) {
	l := newLab(t)
	const modified = "Wed, 01 Jul 2026 00:00:00 GMT"
	l.serve(200, "198.51.100.9\n", `ETag: "a"`, "Last-Modified: "+modified)
	l.good()
	l.has(1, "198.51.100.9/32")
	l.clock = l.clock.Add(7 * time.Hour)
	l.serve(304, "")
	l.good()
	l.has(1, "198.51.100.9/32")
	h := l.requests[1].Header
	if h.Get("If-None-Match") != `"a"` || h.Get("If-Modified-Since") != modified {
		t.Errorf("the second request has no condition: %v", h)
	}
	st := l.state()
	if !st.CheckedAt.Equal(l.clock) || !st.FetchedAt.Equal(start) || st.NextAt != l.clock.Add(6*time.Hour) {
		t.Errorf("state %+v", st)
	}
	if l.daemon.puts != 1 || l.daemon.renewals != 1 {
		t.Errorf("%d puts and %d renewals, want one of each", l.daemon.puts, l.daemon.renewals)
	}
}

// A 304 is of no use after a change of the configuration.
func TestConfigurationChanges(t *testing.T) {
	l := newLab(t)
	l.serve(200, "ip,kind\n198.51.100.9,a\n203.0.113.7,b\n", `ETag: "a"`)
	l.good()
	l.has(1, "198.51.100.9/32", "203.0.113.7/32")
	l.clock = l.clock.Add(time.Minute)
	l.restart(func(f *Feed) { f.Select = "kind=a" })
	if next := l.wake(); next.After(l.clock) {
		t.Errorf("after the change the next request is at %s", next)
	}
	l.answer = func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("If-None-Match") != "" {
			w.WriteHeader(304)
			return
		}
		w.Header().Set("ETag", `"a"`)
		w.Write([]byte("ip,kind\n198.51.100.9,a\n203.0.113.7,b\n"))
	}
	l.good()
	l.has(2, "198.51.100.9/32")
	l.good()
	if h := l.requests[2].Header; h.Get("If-None-Match") != `"a"` {
		t.Error("the condition does not come back")
	}
	// Another use of the same set: it is handed in again.
	puts := l.daemon.puts
	l.restart(func(f *Feed) { f.Use = "shadow" })
	l.good()
	if l.daemon.puts != puts+1 {
		t.Errorf("%d puts after a change of use, want 1", l.daemon.puts-puts)
	}
}

func TestShrinkIsHeld(t *testing.T) {
	l := newLab(t)
	all := addresses(100)
	l.serve(200, text(all), `ETag: "a"`)
	l.good()
	l.serve(200, text(all[:10]), `ETag: "b"`)
	l.clock = l.clock.Add(6 * time.Hour)
	l.good()
	l.has(1, hosts(all)...)
	st := l.state()
	if st.Held == nil || st.Held.Generation != 2 || st.Held.Entries != 10 || st.Held.Removed != 90 ||
		!strings.Contains(st.Held.Reason, "of 100 entries only 10") {
		t.Fatalf("held %+v", st.Held)
	}
	// Neither the same body nor a 304 for it speaks for the set in force.
	l.clock = l.clock.Add(6 * time.Hour)
	l.good()
	l.serve(304, "")
	l.good()
	if h := l.requests[3].Header.Get("If-None-Match"); h != `"b"` {
		t.Errorf("If-None-Match is %s, want the tag of the body that is held", h)
	}
	if st := l.state(); !st.CheckedAt.Equal(start) || st.Held == nil || st.Held.Generation != 2 {
		t.Errorf("state %+v", st)
	}
	l.restart()
	const removed = "generation 1 to 2: 0 added, 90 removed\n-203.0.100.10/32\n"
	if diff, err := l.diff(0); err != nil || !strings.HasPrefix(diff, removed) {
		t.Errorf("diff: %v\n%.200s", err, diff)
	}
	if said, err := l.accept(t.Context()); err != nil || !strings.Contains(said, "generation 2 with 10 entries") {
		t.Errorf("accept says %q, %v", said, err)
	}
	l.has(2, hosts(all[:10])...)
	if !l.daemon.accepted {
		t.Error("the daemon is not told that the set is accepted")
	}
	if st := l.state(); st.Held != nil || !st.CheckedAt.Equal(l.clock) {
		t.Errorf("state %+v", st)
	}
	if _, err := l.accept(t.Context()); err == nil {
		t.Error("accept with nothing held succeeds")
	}
}

func TestBounds(t *testing.T) {
	for _, tt := range []struct {
		name      string
		from, to  int
		wantsHeld string
	}{
		{"half lost", 100, 50, ""},
		{"more than half lost", 100, 49, "of 100 entries only 49"},
		{"few entries", 99, 1, ""},
		{"grown threefold", 100, 300, ""},
		{"grown more", 100, 301, "100 entries would become 301"},
		{"few entries grow", 99, 900, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newLab(t)
			l.serve(200, text(addresses(tt.from)))
			l.good()
			l.serve(200, text(addresses(tt.to)))
			l.good()
			held := ""
			if st := l.state(); st.Held != nil {
				held = st.Held.Reason
			}
			if (held == "") != (tt.wantsHeld == "") || !strings.Contains(held, tt.wantsHeld) {
				t.Errorf("held: %q, want %q", held, tt.wantsHeld)
			}
			if want := map[bool]int{true: tt.to, false: tt.from}[held == ""]; len(l.daemon.set) != want {
				t.Errorf("the daemon has %d entries, want %d", len(l.daemon.set), want)
			}
		})
	}
}

func TestShareIsHeld(t *testing.T) {
	l := newLab(t, func(f *Feed) { f.MaxShare = 0.0101 })
	// Overlaps count once: this is 1% of IPv4, and then more.
	list := "6.0.0.0/8\n6.0.0.0/9\n6.1.2.3\n7.0.0.0/9\n7.128.0.0/11\n7.160.0.0/12\n7.176.0.0/14\n"
	l.serve(200, list)
	l.good()
	if st := l.state(); st.Held != nil || st.Entries != 7 {
		t.Errorf("state %+v", st)
	}
	l.serve(200, list+"128.0.0.0/2\n")
	l.good()
	if st := l.state(); st.Held == nil || !strings.Contains(st.Held.Reason, "25.7% of IPv4") {
		t.Errorf("held %+v", st.Held)
	}
	l.serve(200, "2a00::/9\n")
	l.good()
	if st := l.state(); st.Held == nil || !strings.Contains(st.Held.Reason, "1.56% of 2000::/3") {
		t.Errorf("held %+v", st.Held)
	}
	// With other bounds the same body is applied.
	l.restart(func(f *Feed) { f.MaxShare = 0.2 })
	l.good()
	l.has(3, "2a00::/9")
}

// TestFirstShareIsHeld: there is nothing to fall back on.
func TestFirstShareIsHeld(t *testing.T) {
	l := newLab(t)
	l.serve(200, "128.0.0.0/2\n")
	l.good()
	l.has(0)
	if st := l.state(); st.Held == nil || st.Held.Generation != 1 {
		t.Errorf("held %+v", st.Held)
	}
}

func TestFailuresKeepTheSet(t *testing.T) {
	l := newLab(t)
	l.serve(200, "198.51.100.9\n")
	l.good()
	l.serve(503, "busy", "Retry-After: 3600")
	l.bad("503 Service Unavailable; retry after 1h0m0s")
	if st := l.state(); st.NextAt.Before(l.clock.Add(time.Hour)) || st.Failures != 1 {
		t.Errorf("after Retry-After: 3600 the next request is at %s", st.NextAt)
	}
	for n, status := range []int{404, 429, 500, 403, 204, 206} {
		l.serve(status, "")
		l.bad("the server answered")
		if st := l.state(); st.Failures != n+2 {
			t.Errorf("%d failures, want %d", st.Failures, n+2)
		}
	}
	l.has(1, "198.51.100.9/32")
	l.serve(200, "198.51.100.9\n")
	l.good()
	if st := l.state(); st.Failures != 0 || st.Error != "" {
		t.Errorf("after a good answer: %+v", st)
	}
}

func TestTTL(t *testing.T) {
	l := newLab(t)
	l.serve(200, "198.51.100.9\n", `ETag: "a"`)
	l.good()
	l.serve(503, "")
	l.clock = start.Add(47 * time.Hour)
	l.bad("503")
	if st := l.state(); st.Ended || st.Entries != 1 || !st.EndsAt.Equal(start.Add(48*time.Hour)) {
		t.Errorf("before the ttl: %+v", st)
	}
	l.clock = start.Add(49 * time.Hour)
	l.bad("503")
	if err := l.end(); err != nil {
		t.Fatal(err)
	}
	if st := l.state(); !st.Ended || st.Entries != 0 || st.Error == "" {
		t.Errorf("after the ttl: %+v", st)
	}
	// The daemon has ended the set, so that it is put again and not renewed.
	l.serve(304, "")
	l.good()
	if l.daemon.puts != 2 || l.daemon.renewals != 0 {
		t.Errorf("%d puts, %d renewals; want 2 and 0", l.daemon.puts, l.daemon.renewals)
	}
	if st := l.state(); st.Ended {
		t.Errorf("after a good answer: %+v", st)
	}
}

// TestRestart: a restart forgets nothing and asks for nothing that is not due.
func TestRestart(t *testing.T) {
	l := newLab(t)
	all := addresses(200)
	l.serve(200, text(all), `ETag: "a"`)
	l.good()
	l.serve(200, text(all[:20]), `ETag: "b"`)
	l.good()
	if _, err := l.pause(true); err != nil {
		t.Fatal(err)
	}
	before := l.state()
	l.restart()
	after := l.state()
	if after.Held == nil || *after.Held != *before.Held {
		t.Errorf("held %+v, before the restart %+v", after.Held, before.Held)
	}
	if !after.Paused || after.Generation != 1 || after.Entries != 200 || !after.CheckedAt.Equal(before.CheckedAt) {
		t.Errorf("after the restart: %+v", after)
	}
	if _, err := l.pause(false); err != nil {
		t.Fatal(err)
	}
	l.good()
	if h := l.requests[2].Header.Get("If-None-Match"); h != `"b"` {
		t.Errorf("If-None-Match after a restart is %q", h)
	}
	if next := l.wake(); next.Before(l.clock.Add(6 * time.Hour)) {
		t.Errorf("the next request is at %s", next)
	}
}

// TestDaemonIsDown: the set is handed in later, for what is left of its ttl.
func TestDaemonIsDown(t *testing.T) {
	l := newLab(t)
	l.daemon.err = errDown
	l.serve(200, "198.51.100.9\n")
	l.bad(errDown.Error())
	if st := l.state(); st.Failures != 0 {
		t.Error("the server is blamed for the daemon")
	}
	if next := l.wake(); next.After(l.clock.Add(firstResend)) {
		t.Errorf("the next attempt is at %s", next)
	}
	l.restart()
	l.clock = l.clock.Add(8 * time.Hour)
	l.daemon.err = nil
	if !l.sendDue(l.clock) {
		t.Fatal("after a restart the set is not to be handed in")
	}
	if err := l.deliver(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.has(1, "198.51.100.9/32")
	if got := l.daemon.fors[0]; got != 40*time.Hour {
		t.Errorf("the entry stays for %s, want 40h", got)
	}
	if l.sendDue(l.clock.Add(time.Hour)) {
		t.Error("the set is to be handed in again")
	}
}

func TestDaemonHolds(t *testing.T) {
	l := newLab(t)
	l.serve(200, "198.51.100.9\n")
	l.good()
	l.daemon.holds = "too many"
	l.serve(200, "198.51.100.9\n198.51.100.10\n")
	l.good()
	l.has(1, "198.51.100.9/32")
	if st := l.state(); st.Held == nil || st.Held.Reason != "too many" || st.Held.Removed != 7 {
		t.Errorf("held %+v", st.Held)
	}
	if _, err := l.accept(t.Context()); err != nil {
		t.Error(err)
	}
	l.has(2, "198.51.100.9/32", "198.51.100.10/32")
}
