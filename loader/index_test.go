package loader

import (
	"errors"
	"io/fs"
	"net/netip"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/google/go-cmp/cmp"
	"github.com/paraxial/paraxial/policy"
	"golang.org/x/sys/unix"
)

func newIndexMemory(tb testing.TB, l *Loader, ipv6 bool, lines uint32) *IndexMemory {
	tb.Helper()
	m, err := l.NewIndex(ipv6, lines)
	check(tb, err)
	tb.Cleanup(func() { check(tb, m.Close()) })
	return m
}

func idOf(tb testing.TB, m *ebpf.Map) ebpf.MapID {
	tb.Helper()
	id, err := mapID(m)
	check(tb, err)
	return id
}

// published returns the id of the generation in slot 0, or 0.
func published(tb testing.TB, l *Loader, ipv6 bool) ebpf.MapID {
	tb.Helper()
	var id uint32
	err := l.maps[indexName(ipv6)].Lookup(uint32(0), &id)
	if !errors.Is(err, ebpf.ErrKeyNotExist) {
		check(tb, err)
	}
	return ebpf.MapID(id)
}

func exists(tb testing.TB, id ebpf.MapID) bool {
	tb.Helper()
	m, err := ebpf.NewMapFromID(id)
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	check(tb, err)
	check(tb, m.Close())
	return true
}

// expectPublished checks what is in force, and that what was is freed.
func expectPublished(t *testing.T, l *Loader, ipv6 bool, want ebpf.MapID, freed ...ebpf.MapID) {
	t.Helper()
	if got := published(t, l, ipv6); got != want {
		t.Errorf("map %d is published, want %d", got, want)
	}
	for _, id := range freed {
		if exists(t, id) {
			t.Errorf("map %d is still in memory", id)
		}
	}
}

func TestPublishIndex(t *testing.T) {
	for _, ipv6 := range []bool{false, true} {
		t.Run(indexName(ipv6), func(t *testing.T) {
			l := open(t, bpffs(t), 100)
			check(t, l.UnpublishIndex(ipv6))
			// Generations differ in size, down and up.
			var ids []ebpf.MapID
			for _, lines := range []uint32{100, 3, 70_000} {
				m := newIndexMemory(t, l, ipv6, lines)
				if got := len(m.Words()); got != int(lines)*8 {
					t.Errorf("%d words, want %d", got, lines*8)
				}
				ids = append(ids, idOf(t, m.m))
				expectPublished(t, l, ipv6, append([]ebpf.MapID{0}, ids...)[len(ids)-1])
				publishIndex(t, l, m)
				publishIndex(t, l, m) // once more changes nothing
				expectPublished(t, l, ipv6, ids[len(ids)-1], ids[:len(ids)-1]...)
				m.Words()[lines*8-1] = 1
			}
			expectPublished(t, l, !ipv6, 0)
			check(t, l.UnpublishIndex(ipv6))
			check(t, l.UnpublishIndex(ipv6))
			expectPublished(t, l, ipv6, 0, ids...)
		})
	}
}

// What is written to the words is what the kernel has.
func TestIndexWords(t *testing.T) {
	l := open(t, bpffs(t), 100)
	m := newIndexMemory(t, l, false, 10)
	for i := range m.Words() {
		m.Words()[i] = uint64(i) + 1
	}
	var line [8]uint64
	check(t, m.m.Lookup(uint32(9), &line))
	if diff := cmp.Diff([8]uint64{73, 74, 75, 76, 77, 78, 79, 80}, line); diff != "" {
		t.Errorf("line 9 (-want +got):\n%s", diff)
	}
	id := idOf(t, m.m)
	check(t, m.Close())
	if exists(t, id) {
		t.Error("closed, and still in memory")
	}
}

// A generation outlives the process that published it, and goes on answering
// until the next process publishes its own.
func TestIndexSurvives(t *testing.T) {
	dir := bpffs(t)
	veth(t, "ind0")
	first := open(t, dir, 100)
	attach(t, first, "ind0", ModeNative, 0)
	old := newIndexMemory(t, first, true, 10)
	id := idOf(t, old.m)
	publishIndex(t, first, old)
	outer, err := first.maps.ids(indexNames()...)
	check(t, err)
	check(t, first.Close())

	l := open(t, dir, 100)
	again, err := l.maps.ids(indexNames()...)
	check(t, err)
	if diff := cmp.Diff(outer, again); diff != "" {
		t.Errorf("ids of the outer maps (-before +after):\n%s", diff)
	}
	expectPublished(t, l, true, id)
	m := newIndexMemory(t, l, true, 20)
	publishIndex(t, l, m)
	expectPublished(t, l, true, idOf(t, m.m), id)
}

func TestNewIndexRefused(t *testing.T) {
	l := open(t, bpffs(t), 100)
	_, err := l.NewIndex(false, 1<<31)
	if !errors.Is(err, unix.ENOMEM) || !strings.Contains(err.Error(), "MemoryMax") || !strings.Contains(err.Error(), "134217728 KiB") {
		t.Errorf("128 GiB: %v", err)
	}
	if _, err := l.NewIndex(false, 0); err == nil {
		t.Error("no lines: no error")
	}
}

// The twin decides by the index in force and writes to nothing that is shared.
func TestAskWithIndex(t *testing.T) {
	l := open(t, bpffs(t), 100)
	veth(t, "asi0")
	attach(t, l, "asi0", ModeNative, 0)
	apply(t, l, block("192.0.2.1/32", policy.TickForever, 0, 1), block("2001:db8::/32", policy.TickForever, 0, 2))
	l.SetEventCredit(1000)
	ask := func() {
		t.Helper()
		for from, want := range map[string]Answer{
			"192.0.2.1": {true, Blocked}, "192.0.2.2": {false, NotListed},
			"2001:db8::1": {true, Blocked}, "2001:db9::1": {false, NotListed},
		} {
			got, err := l.Ask("asi0", netip.MustParseAddr(from))
			check(t, err)
			if got != want {
				t.Errorf("Ask(%s) = %+v, want %+v", from, got, want)
			}
		}
	}
	ask()
	for _, ipv6 := range []bool{false, true} {
		publishIndex(t, l, newIndexMemory(t, l, ipv6, 64)) // all zero: knows nothing
		ask()
	}
	expectUntouched(t, l)
	twin := l.twins["asi0"].coll.Maps
	for name, m := range l.maps {
		shared := strings.HasPrefix(name, "index_") || strings.HasPrefix(name, "block_") || strings.HasPrefix(name, "allow_") || name == plainMapLimits
		if same := idOf(t, m) == idOf(t, twin[name]); same != shared {
			t.Errorf("map %s is the twin's too: %v, want %v", name, same, shared)
		}
	}
}

// publishIndex puts m in force and closes what was.
func publishIndex(tb testing.TB, l *Loader, m *IndexMemory) {
	tb.Helper()
	before, err := l.PublishIndex(m)
	check(tb, err)
	if before != nil && before != m {
		check(tb, before.Close())
	}
}
