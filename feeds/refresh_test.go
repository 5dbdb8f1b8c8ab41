package feeds

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
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

func TestRollback(t *testing.T) {
	l := newLab(t)
	for n := range 7 {
		l.clock = l.clock.Add(time.Hour)
		l.serve(200, text(addresses(n+1)))
		l.good()
	}
	if st := l.state(); len(st.Kept) != maxKept || st.Kept[0].Generation != 3 {
		t.Errorf("kept %+v, want the last %d", st.Kept, maxKept)
	}
	if files, _ := filepath.Glob(filepath.Join(l.dir, "gen-*")); len(files) != maxKept {
		t.Errorf("files of generations: %q", files)
	}
	if _, err := l.rollback(t.Context(), 2); err == nil {
		t.Error("a generation that is not kept comes back")
	}
	if _, err := l.rollback(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	l.has(6, hosts(addresses(6))...)
	// The same list does not come back by itself, and the older one is renewed.
	l.clock = l.clock.Add(6 * time.Hour)
	l.good()
	l.has(6, hosts(addresses(6))...)
	if st := l.state(); !st.CheckedAt.Equal(l.clock) || st.Held == nil || st.Held.Generation != 7 {
		t.Errorf("after a refresh: %+v", st)
	}
	if diff, err := l.diff(3); err != nil || !strings.HasPrefix(diff, "generation 3 to 6: 3 added, 0 removed\n+") {
		t.Errorf("diff: %v\n%s", err, diff)
	}
	if _, err := l.rollback(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	l.has(3, hosts(addresses(3))...)
	// A list that is new does.
	l.serve(200, text(addresses(5)))
	l.good()
	l.has(8, hosts(addresses(5))...)
	if st := l.state(); st.Held != nil {
		t.Errorf("held %+v", st.Held)
	}
}

// TestOwnExpiry: entries end as the list says, and such a set is put and not renewed.
func TestOwnExpiry(t *testing.T) {
	l := newLab(t)
	l.serve(200, "198.51.100.9 \t2026-07-01 11:00:00 + 7200 = 2026-07-01 13:00:00\n"+
		"198.51.100.10 \t2026-07-01 11:00:00 + 864000 = 2026-07-11 11:00:00\n", `ETag: "a"`)
	l.good()
	l.has(1, "198.51.100.9/32", "198.51.100.10/32")
	if want := []time.Duration{time.Hour, 48 * time.Hour}; !slices.Equal(l.daemon.fors, want) {
		t.Errorf("the entries stay for %s, want %s", l.daemon.fors, want)
	}
	l.clock = l.clock.Add(2 * time.Hour)
	l.serve(304, "")
	l.good()
	if !slices.Equal(l.daemon.set, []string{"198.51.100.10/32"}) {
		t.Errorf("an hour after the end of an entry the daemon has %q", l.daemon.set)
	}
}

func TestReasons(t *testing.T) {
	l := newLab(t)
	l.serve(200, `{"cidr":"198.51.100.0/24","sblid":"SBL1","rir":"arin"}`+"\n"+
		`{"type":"metadata","timestamp":1790000000,"size":2,"records":1}`+"\n")
	l.good()
	l.has(1, "198.51.100.0/24")
	if !slices.Equal(l.daemon.reasons, []string{"SBL1"}) {
		t.Errorf("reasons %q", l.daemon.reasons)
	}
}

// TestLeftOut: what a list on the internet cannot mean is left out and counted, and one bad
// line does not lose the others.
func TestLeftOut(t *testing.T) {
	list := "127.0.0.1\n10.0.0.0/8\n0.0.0.0/0\n::/0\n198.51.100.9203.0.113.5\n203.0.113.7\n203.0.113.7/24\n"
	l := newLab(t)
	l.serve(200, list)
	l.good()
	l.has(1, "203.0.113.0/24", "203.0.113.7/32")
	if st := l.state(); !slices.Equal(st.Notes, []string{"4 private or reserved", "1 not understood"}) {
		t.Errorf("notes %q", st.Notes)
	}
	l.restart(func(f *Feed) { f.Private = true })
	l.good()
	l.has(2, "10.0.0.0/8", "127.0.0.1/32", "203.0.113.0/24", "203.0.113.7/32")
}

func TestFiles(t *testing.T) {
	list := filepath.Join(t.TempDir(), "list.txt")
	write := func(text string, at time.Time) {
		if err := os.WriteFile(list, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(list, at, at); err != nil {
			t.Fatal(err)
		}
	}
	for _, address := range []string{list, "file://" + list} {
		l := newLab(t, func(f *Feed) { f.URL = address })
		write("10.0.0.1\n", start)
		l.good()
		l.has(1, "10.0.0.1/32")
		write("10.0.0.2\n", start) // of the same size and time: not seen
		l.good()
		l.has(1, "10.0.0.1/32")
		write("10.0.0.2\n", start.Add(time.Second))
		l.good()
		l.has(2, "10.0.0.2/32")
		if err := os.Remove(list); err != nil {
			t.Fatal(err)
		}
		l.bad("no such file")
		l.has(2, "10.0.0.2/32")
	}
	for path, want := range map[string]string{"/": "not a regular file", "/dev/zero": "not a regular file"} {
		newLab(t, func(f *Feed) { f.URL = path }).bad(want)
	}
}

// TestDamagedGeneration: the daemon keeps its set, and the list is asked for anew.
func TestDamagedGeneration(t *testing.T) {
	l := newLab(t)
	l.serve(200, "198.51.100.9\n", `ETag: "a"`)
	l.good()
	if err := os.WriteFile(filepath.Join(l.dir, genName(1)), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	l.daemon.generation = 0
	l.clock = l.clock.Add(time.Hour)
	l.serve(304, "")
	l.bad(genName(1))
	if next := l.wake(); next.After(l.clock) {
		t.Errorf("the next request is at %s", next)
	}
	l.serve(200, "198.51.100.9\n")
	l.good()
	if h := l.requests[2].Header; h.Get("If-None-Match") != "" {
		t.Error("the request has a condition, but there is no body on the disk")
	}
	l.has(2, "198.51.100.9/32")
}

// TestClosed: what still runs for a feed that was configured anew does not change the state.
func TestClosed(t *testing.T) {
	l := newLab(t)
	l.serve(200, "198.51.100.9\n")
	l.good()
	l.answer = func(w http.ResponseWriter, _ *http.Request) {
		l.close()
		w.Write([]byte("198.51.100.10\n"))
	}
	if err := l.refreshed(); !strings.Contains(err, errClosed.Error()) {
		t.Errorf("refresh: %q", err)
	}
	if _, err := l.pause(true); err == nil {
		t.Error("a command changes the state")
	}
	l.restart()
	if st := l.state(); st.Generation != 1 || st.Paused || len(st.Kept) != 1 {
		t.Errorf("state %+v", st)
	}
}
