package tags

import (
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/paraxial/paraxial/policy"
)

// clock is stepped by hand.
type clock struct{ now policy.Deadline }

func (c *clock) Now() policy.Deadline { return c.now }

func (c *clock) Wall(d policy.Deadline) time.Time { return time.Unix(1e9, 0).Add(time.Duration(d)) }

func prefixes(list ...string) iter.Seq[netip.Prefix] {
	return func(yield func(netip.Prefix) bool) {
		for _, s := range list {
			if !yield(netip.MustParsePrefix(s)) {
				return
			}
		}
	}
}

func (b *Board) names(p string, now policy.Deadline) string {
	return strings.Join(b.Of(netip.MustParsePrefix(p), now), " ")
}

func hour(n int) policy.Deadline { return policy.Deadline(time.Duration(n) * time.Hour) }

func check(t *testing.T, what string, got, want any) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// keepAll keeps the sets of feeds; those that begin with p are proxies.
func keepAll(name string) (proxies, ok bool) { return name[0] == 'p', true }

func day(string) time.Duration { return 24 * time.Hour }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestLookUp(t *testing.T) {
	c, b := &clock{now: 1}, New(t.TempDir())
	aws, pop := prefixes("198.51.100.0/24", "2001:db8::/32"), prefixes("198.51.100.128/25")
	must(t, b.Replace(Set{Name: "aws", Generation: 3, Deadline: hour(2)}, aws, c))
	must(t, b.Replace(Set{Name: "pop", Generation: 1, Deadline: hour(1), Proxies: true}, pop, c))
	must(t, b.Configure([]Inline{
		{Name: "office", Prefixes: []netip.Prefix{netip.MustParsePrefix("198.51.100.200/32")}},
		{Name: "edge", Prefixes: []netip.Prefix{netip.MustParsePrefix("203.0.113.128/25")}, Proxies: true},
	}, keepAll, c))
	for _, tt := range []struct {
		prefix, want string
		proxy        string
		behind       bool
	}{
		{"198.51.100.200/32", "aws office pop", "pop", true},
		{"198.51.100.128/25", "aws pop", "pop", true},
		{"198.51.100.0/24", "aws", "pop", false},
		{"198.51.0.0/16", "", "pop", false},
		{"198.51.100.1/32", "aws", "", false},
		{"2001:db8:1::/48", "aws", "", false},
		{"203.0.113.1/32", "", "", false},
		{"203.0.113.129/32", "edge", "edge", true},
	} {
		p := netip.MustParsePrefix(tt.prefix)
		proxy, _ := b.Proxy(p, 1)
		got := []any{b.names(tt.prefix, 1), proxy, b.BehindProxy(p, 1)}
		check(t, tt.prefix, got, []any{tt.want, tt.proxy, tt.behind})
	}
	check(t, "tags after the end of one", b.names("198.51.100.200/32", hour(1)), "aws office")
	if _, ok := b.Proxy(netip.MustParsePrefix("198.51.100.200/32"), hour(1)); ok {
		t.Error("a set that has ended is of proxies")
	}
	check(t, "changes", b.Compare("aws", prefixes("2001:db8::/32", "192.0.2.0/24")), Changes{1, 1, 1})
	check(t, "changes of a new set", b.Compare("new", prefixes("192.0.2.0/24")), Changes{1, 0, 0})

	names, err := b.Expire(hour(1), c)
	check(t, "expired", []any{names, err}, []any{[]string{"pop"}, nil})
	must(t, b.Configure(nil, func(string) (bool, bool) { return false, false }, c))
	check(t, "sets of a configuration without feeds", b.Sets(1), []Set{})
}

// A daemon that starts has the sets of the last one, with their ends.
func TestRestart(t *testing.T) {
	dir, c := filepath.Join(t.TempDir(), "sets"), &clock{now: 1}
	b := New(dir)
	must(t, b.Load(day, c)) // there is no folder yet
	must(t, b.Replace(Set{Name: "a", Generation: 3, Deadline: hour(2)}, prefixes("198.51.100.0/24"), c))
	must(t, b.Replace(Set{Name: "long", Generation: 1, Deadline: hour(50)}, prefixes("198.51.100.0/24"), c))
	must(t, b.Replace(Set{Name: "p", Generation: 1, Deadline: hour(3)}, prefixes("192.0.2.0/24"), c))
	must(t, b.Replace(Set{Name: "p", Generation: 2, Deadline: hour(3)}, prefixes("203.0.113.0/24"), c))
	renewed, err := b.Renew("a", 3, 1, hour(4), c)
	check(t, "renewed", []any{renewed, err}, []any{true, nil})
	for what, args := range map[string][2]uint64{"another generation": {4, 1}, "ended": {3, uint64(hour(5))}} {
		if renewed, _ := b.Renew("a", args[0], policy.Deadline(args[1]), hour(9), c); renewed {
			t.Errorf("a set is renewed: %s", what)
		}
	}

	again := New(dir)
	c.now = hour(1)
	must(t, again.Load(day, c))
	must(t, again.Configure(nil, keepAll, c))
	a, _ := again.Get("a", c.now)
	check(t, "a", a, Set{Name: "a", Generation: 3, Deadline: hour(4), Entries: 1})
	long, _ := again.Get("long", c.now)
	check(t, "the end of a set that ends too late", long.Deadline, hour(25))
	check(t, "p", again.names("203.0.113.0/24", c.now)+again.names("192.0.2.0/24", c.now), "p")
	if _, ok := again.Proxy(netip.MustParsePrefix("203.0.113.0/24"), c.now); !ok {
		t.Error("p is not of proxies after the start")
	}
	files, _ := os.ReadDir(dir)
	check(t, "files", len(files), 4)

	c.now = hour(5)
	late := New(dir)
	must(t, late.Load(day, c))
	check(t, "sets after their end", len(late.Sets(c.now)), 1)
}

// Damage costs the set that has it, and is told.
func TestDamage(t *testing.T) {
	for name, damage := range map[string]func([]byte) []byte{
		"cut":     func(b []byte) []byte { return b[:len(b)/2] },
		"garbage": func(b []byte) []byte { return []byte("\x00\x01") },
		"longer":  func(b []byte) []byte { return append(b, "192.0.2.0/24\n"...) },
		"gone":    nil,
	} {
		dir, c := t.TempDir(), &clock{now: 1}
		b := New(dir)
		must(t, b.Replace(Set{Name: "a", Deadline: hour(2)}, prefixes("198.51.100.0/24", "198.51.101.0/24"), c))
		must(t, b.Replace(Set{Name: "b", Deadline: hour(2)}, prefixes("198.51.100.0/24"), c))
		h, _ := b.find("a")
		file := filepath.Join(dir, h.file)
		text, err := os.ReadFile(file)
		must(t, err)
		os.Remove(file)
		if damage != nil {
			must(t, os.WriteFile(file, damage(text), 0o600))
		}
		again := New(dir)
		if err := again.Load(day, c); err == nil || !strings.Contains(err.Error(), "read the set a: ") {
			t.Errorf("%s: %v", name, err)
		}
		check(t, name, again.names("198.51.100.0/24", 1), "b")
	}
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, indexName), []byte("["), 0o600))
	if err := New(dir).Load(day, &clock{}); err == nil {
		t.Error("a damaged index is no error")
	}
}

// A set that cannot be saved, or for which there is no room, changes nothing.
func TestRefused(t *testing.T) {
	dir, c := t.TempDir(), &clock{now: 1}
	b := New(dir)
	b.most = 3
	must(t, b.Replace(Set{Name: "a", Deadline: hour(2)}, prefixes("198.51.100.0/24"), c))
	must(t, b.Replace(Set{Name: "b", Deadline: hour(2)}, prefixes("198.51.100.0/24"), c))
	many := prefixes("192.0.2.0/32", "192.0.2.1/32", "192.0.2.2/32")
	err := b.Replace(Set{Name: "a", Deadline: hour(2)}, many, c)
	if _, ok := errors.AsType[*FullError](err); !ok {
		t.Errorf("too many prefixes: %v", err)
	}
	must(t, b.Replace(Set{Name: "a", Deadline: hour(2)}, prefixes("192.0.2.0/32", "192.0.2.1/32"), c))
	must(t, os.RemoveAll(dir))
	must(t, os.WriteFile(dir, nil, 0o600)) // no folder can be made
	if err := b.Replace(Set{Name: "a", Deadline: hour(2)}, prefixes("203.0.113.0/24"), c); err == nil {
		t.Error("a set that cannot be saved is no error")
	}
	check(t, "tags", b.names("192.0.2.1/32", 1)+b.names("203.0.113.0/24", 1), "a")
}

// Look-ups while a set is replaced see the old or the new one as a whole.
func TestReplaceIsAtomic(t *testing.T) {
	c, b := &clock{now: 1}, New(t.TempDir())
	versions := []iter.Seq[netip.Prefix]{
		prefixes("192.0.2.1/32", "192.0.2.2/32"), prefixes("192.0.2.1/32", "192.0.2.3/32"),
	}
	must(t, b.Replace(Set{Name: "a", Deadline: hour(2)}, versions[0], c))
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			if b.names("192.0.2.1/32", 1) != "a" {
				t.Error("an address of both versions has no tag")
				return
			}
		}
	})
	for n := range 50 {
		must(t, b.Replace(Set{Name: "a", Deadline: hour(2)}, versions[n%2], c))
	}
	close(done)
	wg.Wait()
}

// A million prefixes take the memory that the comment of MostPrefixes says.
func TestMemory(t *testing.T) {
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	table := collect(func(yield func(netip.Prefix) bool) {
		for n := range 1 << 20 { // scattered, which is the worst
			x := uint32(n) * 2654435761
			a := netip.AddrFrom4([4]byte{byte(x >> 24), byte(x >> 16), byte(x >> 8), byte(x)})
			if !yield(netip.PrefixFrom(a, 32)) {
				return
			}
		}
	})
	took := heap() - before
	if most := uint64(64 << 20); took > most {
		t.Errorf("%d prefixes take %d MB, more than %d MB", table.Size(), took>>20, most>>20)
	}
	t.Logf("%d prefixes take %d MB", table.Size(), took>>20)
	runtime.KeepAlive(table)
}
