package feeds

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/paraxial/paraxial/report"
)

func parsePrefixes(list string) (all []netip.Prefix) {
	for s := range strings.FieldsSeq(list) {
		all = append(all, netip.MustParsePrefix(s))
	}
	return all
}

func TestWithout(t *testing.T) {
	for _, tt := range []struct{ prefix, except, want string }{
		{"203.0.113.0/24", "", "203.0.113.0/24"},
		{"203.0.113.0/24", "198.51.100.0/24 203.0.112.0/24 203.0.114.0/24", "203.0.113.0/24"},
		{"203.0.113.0/24", "203.0.113.0/24", ""},
		{"203.0.113.0/24", "203.0.0.0/16", ""},
		{"203.0.113.0/24", "203.0.113.0/25 203.0.113.192/26", "203.0.113.128/26"},
		{"203.0.113.0/30", "203.0.113.1/32", "203.0.113.0/32 203.0.113.2/31"},
		{"203.0.113.7/32", "203.0.113.7/32", ""},
		{"0.0.0.0/0", "128.0.0.0/1 64.0.0.0/2", "0.0.0.0/2"},
		{"2001:db8::/32", "2001:db8:8000::/33 2001:db8::/34", "2001:db8:4000::/34"},
		{"2001:db8::/127", "2001:db8::1/128 203.0.113.0/24", "2001:db8::/128"},
	} {
		x := newExceptions(parsePrefixes(tt.except))
		var got []string
		x.without(netip.MustParsePrefix(tt.prefix), func(p netip.Prefix) bool {
			got = append(got, p.String())
			return true
		})
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s without %q: %q, want %q", tt.prefix, tt.except, got, tt.want)
		}
	}
}

// Random prefixes without random exceptions, compared address by address.
func TestWithoutAtRandom(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	prefix := func() netip.Prefix { // inside 203.0.113.0/24 or, at times, around it
		a := netip.AddrFrom4([4]byte{203, 0, 113, byte(random.IntN(256))})
		return netip.PrefixFrom(a, 22+random.IntN(11)).Masked()
	}
	for range 2000 {
		var except []netip.Prefix
		for range random.IntN(12) {
			except = append(except, prefix())
		}
		p, x := prefix(), newExceptions(append([]netip.Prefix{}, except...))
		var left []netip.Prefix
		x.without(p, func(p netip.Prefix) bool { left = append(left, p); return true })
		for n := range 1024 {
			a := netip.AddrFrom4([4]byte{203, 0, byte(112 + n>>8), byte(n)})
			want := p.Contains(a) && !contains(except, a)
			if got := contains(left, a); got != want {
				t.Fatalf("seed %d: %s without %v: %s is in it: %t, want %t", seed, p, except, a, got, want)
			}
		}
	}
}

func contains(all []netip.Prefix, a netip.Addr) bool {
	for _, p := range all {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// Splitting makes more entries, which have a bound. The details of an entry stay.
func TestLeaveOutIsBounded(t *testing.T) {
	list := func(yield func(report.Entry, error) bool) {
		yield(report.Entry{Prefix: netip.MustParsePrefix("203.0.113.0/24"), Reason: "r", For: time.Hour}, nil)
	}
	x := newExceptions(parsePrefixes("203.0.113.1/32"))
	for most, want := range map[int]string{8: "", 7: "more than 7 entries"} {
		var last error
		n, changed := 0, 0
		for e, err := range x.leaveOut(list, most, &changed) {
			if last = err; err == nil {
				n++
			}
			if e.Reason != "r" || e.For != time.Hour {
				t.Errorf("entry %+v", e)
			}
		}
		if (last == nil) != (want == "") || !strings.Contains(fmt.Sprint(last), want) || n != most {
			t.Errorf("%d entries at most: %d, %v", most, n, last)
		}
		if changed != 1 {
			t.Errorf("%d entries changed, want 1", changed)
		}
	}
}

// A set is not handed in before the addresses that it leaves out are known, and again when they
// change. Nothing is fetched for that.
func TestEngineExcept(t *testing.T) {
	dir, lists := t.TempDir(), t.TempDir()
	cloud, bot := filepath.Join(lists, "cloud"), filepath.Join(lists, "bot")
	write(t, cloud, "203.0.113.0/30\n")
	synctest.Test(t, func(t *testing.T) {
		d := &fakeDaemon{
			commands: make(chan report.Command), answers: make(chan report.Answer), sets: map[string]string{},
		}
		e := newEngine(t, dir, d)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			e.Run(ctx)
		}()
		f, g := fileFeed("cloud", cloud), fileFeed("bot", bot)
		f.Except = "bot"
		configure := func() {
			t.Helper()
			if err := e.Configure(ctx, []Feed{f, g}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		is := func(what, want string) {
			t.Helper()
			synctest.Wait()
			d.mu.Lock()
			defer d.mu.Unlock()
			if d.sets["cloud"] != want {
				t.Errorf("%s: the set is %q, want %q", what, d.sets["cloud"], want)
			}
		}
		configure()
		is("the exceptions were never fetched", "")
		if st := e.States()[1]; !strings.Contains(st.Error, "waits for the feed bot") {
			t.Errorf("state %+v", st)
		}
		write(t, bot, "203.0.113.1\n")
		d.commands <- report.Command{ID: "1", Verb: report.Refresh, Name: "bot"}
		<-d.answers
		is("the exceptions are there", "203.0.113.0/32 203.0.113.2/31")
		if n := strings.Join(e.States()[1].Notes, ", "); n != "1 left out or split because of except" {
			t.Errorf("notes %q", n)
		}
		write(t, bot, "203.0.113.2\n")
		time.Sleep(2 * time.Hour)
		is("the exceptions have changed", "203.0.113.0/31 203.0.113.3/32")
		puts, generation := d.puts, e.States()[1].Generation
		time.Sleep(2 * time.Hour)
		if synctest.Wait(); d.puts != puts {
			t.Errorf("%d sets were handed in without a change", d.puts-puts)
		}
		f.Exempt = "203.0.113.0/32"
		configure()
		is("a set is an exception, too", "203.0.113.1/32 203.0.113.3/32")
		if e.States()[1].Generation != generation {
			t.Error("the list was read again")
		}
		cancel()
		<-done
		// Another agent has the same exceptions, and hands in nothing.
		again := newEngine(t, dir, d)
		ctx, cancel = context.WithCancel(t.Context())
		puts = d.puts
		if err := again.Configure(ctx, []Feed{f, g}); err != nil {
			t.Fatal(err)
		}
		if synctest.Wait(); d.puts != puts {
			t.Errorf("after a restart %d sets were handed in", d.puts-puts)
		}
		cancel()
		again.Run(ctx)
	})
}
