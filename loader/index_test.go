package loader

import (
	"errors"
	"io/fs"
	"net/netip"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/google/go-cmp/cmp"
	"github.com/paraxial/paraxial/loader/banks"
	"github.com/paraxial/paraxial/policy"
)

func newIndexMemory(tb testing.TB, l *Loader, family policy.Family, lines uint32) *IndexMemory {
	tb.Helper()
	m, err := l.NewIndex(family, lines)
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

// published returns the id of the generation in force, or 0.
func published(tb testing.TB, l *Loader, family policy.Family) ebpf.MapID {
	tb.Helper()
	id, err := l.indexes[family].banks.InForce()
	check(tb, err)
	return id
}

func generationID(tb testing.TB, m *IndexMemory) ebpf.MapID {
	tb.Helper()
	id, err := m.ID()
	check(tb, err)
	return id
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

// expectPublished checks which generation is in force, and that others are freed.
func expectPublished(t *testing.T, l *Loader, family policy.Family, want ebpf.MapID, freed ...ebpf.MapID) {
	t.Helper()
	if got := published(t, l, family); got != want {
		t.Errorf("map %d is published, want %d", got, want)
	}
	for _, id := range freed {
		if exists(t, id) {
			t.Errorf("map %d is still in memory", id)
		}
	}
}

func TestPublishIndex(t *testing.T) {
	for _, family := range policy.Families() {
		t.Run(indexName(family), func(t *testing.T) {
			l := open(t, bpffs(t), 100)
			check(t, l.UnpublishIndex(family))
			// Generations get smaller and larger.
			var ids []ebpf.MapID
			for _, lines := range []uint32{100, 3, 70_000} {
				m := newIndexMemory(t, l, family, lines)
				if got := len(m.Words()); got != int(lines)*8 {
					t.Errorf("%d words, want %d", got, lines*8)
				}
				ids = append(ids, generationID(t, m))
				expectPublished(t, l, family, append([]ebpf.MapID{0}, ids...)[len(ids)-1])
				publishIndex(t, l, m)
				publishIndex(t, l, m) // a second call changes nothing
				expectPublished(t, l, family, ids[len(ids)-1], ids[:len(ids)-1]...)
				m.Words()[lines*8-1] = 1
			}
			expectPublished(t, l, policy.IPv6-family, 0)
			check(t, l.UnpublishIndex(family))
			check(t, l.UnpublishIndex(family))
			// The first segment of the last one fills the elements.
			expectPublished(t, l, family, 0, ids[:len(ids)-1]...)
		})
	}
}

// A generation outlives the process that published it, and is in force until the next process
// publishes its own.
func TestIndexSurvives(t *testing.T) {
	dir := bpffs(t)
	veth(t, "ind0")
	first := open(t, dir, 100)
	attach(t, first, "ind0", ModeNative, 0)
	old := newIndexMemory(t, first, policy.IPv6, 10)
	id := generationID(t, old)
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
	expectPublished(t, l, policy.IPv6, id)
	m := newIndexMemory(t, l, policy.IPv6, 20)
	publishIndex(t, l, m)
	expectPublished(t, l, policy.IPv6, generationID(t, m), id)
}

func TestNewIndexRefused(t *testing.T) {
	l := open(t, bpffs(t), 100)
	for _, lines := range []uint32{0, banks.MaxLines + 1} {
		if _, err := l.NewIndex(policy.IPv4, lines); err == nil || !strings.Contains(err.Error(), "index_v4") {
			t.Errorf("%d lines: %v", lines, err)
		}
	}
}

// The twin uses the index in force and writes to no shared map.
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
	for _, family := range policy.Families() {
		publishIndex(t, l, newIndexMemory(t, l, family, 64)) // all zero: asks the tries
		ask()
	}
	expectUntouched(t, l)
	twin := l.twins[0].coll.Maps
	for name, m := range l.maps {
		shared := strings.HasPrefix(name, "index_") || strings.HasPrefix(name, "block_") ||
			strings.HasPrefix(name, "allow_") || name == plainMapLimits || name == plainMapEssential
		if same := idOf(t, m) == idOf(t, twin[name]); same != shared {
			t.Errorf("map %s is shared with the twin: %v, want %v", name, same, shared)
		}
	}
}

// publishIndex puts m in force and closes the previous generation.
func publishIndex(tb testing.TB, l *Loader, m *IndexMemory) {
	tb.Helper()
	before, err := l.PublishIndex(m)
	check(tb, err)
	if before != nil && before != m {
		check(tb, before.Close())
	}
}

// The program and the package banks use the same elements.
func TestBanksAreTheProgrammes(t *testing.T) {
	spec, err := loadPlain()
	check(t, err)
	var enum *btf.Enum
	check(t, spec.Types.TypeByName("index_segments", &enum))
	got := map[string]uint64{}
	for _, v := range enum.Values {
		got[v.Name] = v.Value
	}
	want := map[string]uint64{
		"INDEX_SEGMENT_LINES": banks.Lines, "INDEX_BANK_ELEMENTS": banks.Bank,
		"INDEX_IN_FORCE": banks.InForce, "INDEX_ELEMENTS": banks.Elements,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("enum index_segments (-banks +program):\n%s", diff)
	}
}
