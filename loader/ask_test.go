package loader

import (
	"errors"
	"net/netip"
	"path/filepath"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/google/go-cmp/cmp"
	"github.com/paraxial/paraxial/policy"
	"github.com/vishvananda/netlink"
)

// askBook has a prefix for each answer in each family.
func askBook(now policy.Tick) []policy.Node {
	const never = policy.TickNever
	return []policy.Node{
		block("192.0.2.0/24", policy.TickForever, never, 1),
		allow("192.0.2.64/26", policy.TickForever),
		block("198.51.100.1/32", never, now+1000, 2),
		block("198.51.100.2/32", now, never, 3),
		allow("192.0.2.32/32", now),
		block("198.51.100.3/32", now+1000, never, 4),
		block("2001:db8::/32", policy.TickForever, never, 5),
		allow("2001:db8:1::/48", now+1000),
		block("2001:db9::/32", never, policy.TickForever, 6),
	}
}

func TestAsk(t *testing.T) {
	tests := []struct {
		from string
		want Answer
	}{
		{"203.0.113.1", Answer{false, NotListed}},
		{"192.0.2.1", Answer{true, Blocked}},
		{"::ffff:192.0.2.1", Answer{true, Blocked}},
		{"192.0.2.65", Answer{false, Allowed}},
		{"192.0.2.32", Answer{true, Blocked}}, // its allow has expired
		{"198.51.100.1", Answer{false, Shadow}},
		{"198.51.100.2", Answer{false, NotListed}}, // expired
		{"198.51.100.3", Answer{true, Blocked}},
		{"2001:db8::1", Answer{true, Blocked}},
		{"2001:db8:1::1", Answer{false, Allowed}},
		{"2001:db9::1", Answer{false, Shadow}},
		{"2001:dba::1", Answer{false, NotListed}},
	}
	for b, mtu := range map[build]int{plain: 1500, frags: 9000} {
		t.Run(string(b), func(t *testing.T) {
			l := open(t, bpffs(t), 100)
			veth(t, "ask0")
			check(t, netlink.LinkSetMTU(linkByName(t, "ask0p"), mtu))
			if a := attach(t, l, "ask0", ModeNative, 9); a.Frags != (b == frags) {
				t.Fatalf("attachment %+v, want the %s build", a, b)
			}
			apply(t, l, askBook(policy.TickAt(bootNow(t)))...)
			l.SetEventCredit(1000)
			for _, tt := range tests {
				got, err := l.Ask("ask0", netip.MustParseAddr(tt.from))
				check(t, err)
				if got != tt.want {
					t.Errorf("Ask(%s) = %+v, want %+v", tt.from, got, tt.want)
				}
			}
			expectUntouched(t, l)
		})
	}
}

// expectUntouched checks that nothing was counted and no event was written.
func expectUntouched(t *testing.T, l *Loader) {
	t.Helper()
	counters, err := l.Counters()
	check(t, err)
	if diff := cmp.Diff(map[uint32]map[Reason]Counter{}, counters); diff != "" {
		t.Errorf("live counters moved:\n%s", diff)
	}
	for id := range l.HitCapacity() {
		if n := l.Hits(id); n != 0 {
			t.Errorf("hits of %d moved to %d", id, n)
		}
	}
	if left := l.credit.load(0); left != 1000 {
		t.Errorf("event credit %d, want 1000", left)
	}
}

// A change of the tries affects the next answer, also when the twin exists already.
func TestAskFollows(t *testing.T) {
	l := open(t, bpffs(t), 100)
	veth(t, "asf0")
	attach(t, l, "asf0", ModeNative, 0)
	from := netip.MustParseAddr("192.0.2.1")
	for _, want := range []Answer{{false, NotListed}, {true, Blocked}} {
		got, err := l.Ask("asf0", from)
		check(t, err)
		if got != want {
			t.Errorf("Ask = %+v, want %+v", got, want)
		}
		apply(t, l, block("192.0.2.1/32", policy.TickForever, 0, 0))
	}
	// The same after the program was loaded again.
	attach(t, l, "asf0", ModeNative, 1)
	if got, err := l.Ask("asf0", from); err != nil || !got.Drop {
		t.Errorf("after attaching again: %+v, %v", got, err)
	}
}

func TestAskDifferentProgram(t *testing.T) {
	dir := bpffs(t)
	l := open(t, dir, 100)
	veth(t, "asd0")
	from := netip.MustParseAddr("192.0.2.1")
	if _, err := l.Ask("asd0", from); !errors.Is(err, ErrNotAttached) {
		t.Errorf("before attaching: %v", err)
	}
	attach(t, l, "asd0", ModeNative, 0)
	_, err := l.Ask("asd0", from)
	check(t, err)

	other := open(t, bpffs(t), 100)
	p, err := other.loadBuild(plain, 0)
	check(t, err)
	defer p.Close()
	lk, err := link.LoadPinnedLink(filepath.Join(dir, linksDir, "asd0"), nil)
	check(t, err)
	defer lk.Close()
	check(t, lk.Update(p))
	if _, err := l.Ask("asd0", from); !errors.Is(err, ErrDifferentProgram) {
		t.Errorf("with another program in the link: %v", err)
	}
	if err := l.usesOurMaps(p); err == nil {
		t.Error("a program over other tries was accepted as ours")
	}
}

// An interface that is attached again, after its link was lost, has the same twin.
func TestAskAfterARepair(t *testing.T) {
	dir := bpffs(t)
	l := open(t, dir, 100)
	veth(t, "asr0")
	from := netip.MustParseAddr("192.0.2.1")
	var twins []*twin
	for range 2 {
		attach(t, l, "asr0", ModeNative, 7)
		_, err := l.Ask("asr0", from)
		check(t, err)
		twins = append(twins, l.twins[7])
		lk, err := link.LoadPinnedLink(filepath.Join(dir, linksDir, "asr0"), nil)
		check(t, err)
		check(t, errors.Join(lk.Detach(), lk.Close()))
		if _, err := l.Ask("asr0", from); !errors.Is(err, ErrDifferentProgram) {
			t.Errorf("without a filter: %v", err)
		}
	}
	if twins[0] == nil || twins[0] != twins[1] {
		t.Error("another twin was loaded")
	}
	check(t, l.Detach("asr0"))
	if len(l.twins) != 0 {
		t.Error("the twin is still loaded after the interface was detached")
	}
}

func TestTags(t *testing.T) {
	l := open(t, bpffs(t), 100)
	a, err := l.loadBuild(plain, 0)
	check(t, err)
	defer a.Close()
	b, err := l.loadBuild(plain, 0)
	check(t, err)
	defer b.Close()
	c, err := l.loadBuild(frags, 0)
	check(t, err)
	defer c.Close()
	tags := map[string]bool{}
	for _, p := range []*ebpf.Program{a, b, c} {
		tag, err := tagOf(p)
		check(t, err)
		tags[tag] = true
	}
	if len(tags) != 2 {
		t.Errorf("tags %v, want one of both plain builds and one of the other", tags)
	}
}
