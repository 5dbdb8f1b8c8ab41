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
