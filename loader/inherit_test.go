package loader

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/paraxial/paraxial/policy"
)

// replacePin replaces a pinned map by one of another shape, as another version would make it.
func replacePin(t *testing.T, l *Loader, name string, change func(*ebpf.MapSpec)) *ebpf.Map {
	t.Helper()
	spec := l.specs[plain].Maps[name].Copy()
	change(spec)
	m, err := ebpf.NewMap(spec)
	check(t, err)
	t.Cleanup(func() { m.Close() })
	path := filepath.Join(l.gen.path, name)
	check(t, os.Remove(path))
	check(t, pinCopy(m, path))
	return m
}

func double(m *ebpf.MapSpec) { m.MaxEntries *= 2 }

func owners(t *testing.T, l *Loader) []policy.Node {
	t.Helper()
	var nodes []policy.Node
	for n, err := range l.HitOwners() {
		check(t, err)
		nodes = append(nodes, n)
	}
	slices.SortFunc(nodes, func(x, y policy.Node) int { return x.Prefix.Addr().Compare(y.Prefix.Addr()) })
	return nodes
}

// With another capacity only the tries are new. Counts of the running program before the
// switch are in the counters of both, and limits keep their level.
func TestCountsOutliveCapacity(t *testing.T) {
	dir := bpffs(t)
	veth(t, "inh0")
	first := open(t, dir, 100)
	attach(t, first, "inh0", ModeNative, 3)
	applyLimits(t, first, policy.Delta{
		Limits: []policy.LimitRecord{ownLimit(t, 1, "1/s")},
		Put: []policy.Node{
			block("192.0.2.1/32", policy.TickForever, 0, 7), block("2001:db8::/32", 0, policy.TickForever, 9),
			limitNode("192.0.2.3/32", 1),
		},
	})
	traffic := [][]byte{udp("192.0.2.1", 1, 1), udp("2001:db8::1", 1, 1), udp("192.0.2.3", 1, 1)}
	receive(t, first, "inh0", traffic...)
	full := fullAt(first)

	check(t, first.pins.unlock()) // the process has ended, but its program runs
	l := open(t, dir, 200)
	if l.Reused() {
		t.Fatal("tries of another capacity were taken over")
	}
	for n, err := range l.Nodes(policy.Block) {
		t.Errorf("a new trie holds %+v, %v", n, err)
	}
	want := []policy.Node{
		block("192.0.2.1/32", 0, 0, 7), block("192.0.2.3/32", 0, 0, 0), block("2001:db8::/32", 0, 0, 9),
	}
	if diff := cmp.Diff(want, owners(t, l), cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Errorf("owners of drop counters (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(full, fullAt(l)); diff != "" {
		t.Errorf("limits full at (-first +second):\n%s", diff)
	}
	receive(t, first, "inh0", traffic[:2]...)
	expectHits(t, l, "while the first program filters", []uint64{2, 2}, 7, 9)
	attach(t, l, "inh0", ModeAuto, 3)
	check(t, l.Commit())
	counters, err := l.Counters()
	check(t, err)
	if got := counters[3][Blocked].Packets; got != 2 {
		t.Errorf("%d packets counted as blocked, want 2", got)
	}
	if nodes := owners(t, l); len(nodes) > 0 {
		t.Errorf("owners after Commit: %+v", nodes)
	}
}

// Counters in a map of another size are copied when it is replaced, and those of an interface
// once more before it is switched. A slot that was given to another interface in between stays
// at zero, and so does one that is switched already.
func TestPacketCountersAreCopied(t *testing.T) {
	dir := bpffs(t)
	for _, name := range []string{"cpy0", "cpy1", "cpy2"} {
		veth(t, name)
	}
	first := open(t, dir, 100)
	attach(t, first, "cpy0", ModeNative, 0)
	elder := replacePin(t, first, plainMapCounters, double)
	sampled := replacePin(t, first, plainMapAttribution, double)
	count := func(slot uint32, packets uint64) {
		perCPU := make([]plainCounter, ebpf.MustPossibleCPU())
		perCPU[len(perCPU)-1] = plainCounter{Packets: packets, Bytes: 10 * packets}
		check(t, elder.Put(slot<<reasonBits|uint32(Blocked), perCPU))
	}
	perCPU := make([]plainAttribution, ebpf.MustPossibleCPU())
	perCPU[0].Sampled = 5
	check(t, sampled.Put(uint32(0), perCPU))
	for slot := range uint32(MaxSlots) {
		count(slot, uint64(100+slot))
	}
	check(t, first.pins.unlock()) // the process has ended, but its program runs
	l := open(t, dir, 100)
	expect := func(when string, want map[uint32]uint64) {
		t.Helper()
		counters, err := l.Counters()
		check(t, err)
		got := map[uint32]uint64{}
		for slot := range want {
			got[slot] = counters[slot][Blocked].Packets
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", when, diff)
		}
	}
	expect("after the take-over", map[uint32]uint64{0: 100, 1: 101, 2: 102, MaxSlots - 1: 100 + MaxSlots - 1})
	if n, err := l.Sampled(); n != 5 || err != nil {
		t.Errorf("%d drops sampled, %v; want 5", n, err)
	}
	for slot := range uint32(3) {
		count(slot, 1000)
	}
	check(t, l.ClearSlot(1))
	attach(t, l, "cpy0", ModeAuto, 0)
	attach(t, l, "cpy1", ModeAuto, 1)
	expect("after two switches", map[uint32]uint64{0: 1000, 1: 0, 2: 102})
	count(0, 2000)
	attach(t, l, "cpy0", ModeAuto, 0)
	attach(t, l, "cpy2", ModeAuto, 2)
	check(t, l.Commit())
	expect("after all", map[uint32]uint64{0: 1000, 1: 0, 2: 1000})
}

// Values of tries grow at their end. Maps that cannot be read start over, and prevent no
// version from starting.
func TestMapsOfOtherVersions(t *testing.T) {
	const hit = 7
	verdict := plainVerdict{DropUntil: ^uint32(0), HitId: hit}
	tests := []struct {
		name   string
		change func(t *testing.T, l *Loader)
		owner  bool
		hits   uint64
	}{
		{"more in a value", func(t *testing.T, l *Loader) {
			m := replacePin(t, l, plainMapBlockV4, func(m *ebpf.MapSpec) { m.ValueSize += 8 })
			check(t, m.Put(plainLpmV4{Prefixlen: 32, Addr: 1}, struct {
				plainVerdict
				More [2]uint32
			}{verdict, [2]uint32{1, 2}}))
		}, true, 11},
		{"another key", func(t *testing.T, l *Loader) {
			replacePin(t, l, plainMapBlockV4, func(m *ebpf.MapSpec) { m.KeySize = 12 })
		}, false, 11},
		{"room for more segments", func(t *testing.T, l *Loader) {
			for _, a := range []*segmented{l.hits, l.limits} {
				m := replacePin(t, l, a.name, double)
				for n, s := range a.all() {
					check(t, m.Put(uint32(n), s.m))
				}
			}
		}, false, 11},
		{"segments of another size", func(t *testing.T, l *Loader) {
			m := replacePin(t, l, plainMapHits, func(m *ebpf.MapSpec) { m.InnerMap.MaxEntries *= 2 })
			inner := l.specs[plain].Maps[plainMapHits].InnerMap.Copy()
			double(inner)
			s, err := ebpf.NewMap(inner)
			check(t, err)
			defer s.Close()
			check(t, m.Put(uint32(0), s))
			check(t, os.Remove(l.gen.segment(plainMapHits, 0)))
			check(t, pinCopy(s, l.gen.segment(plainMapHits, 0)))
		}, false, 0},
		{"no drop counters", func(t *testing.T, l *Loader) {
			check(t, os.Remove(filepath.Join(l.gen.path, plainMapHits)))
		}, false, 0},
		{"larger counters", func(t *testing.T, l *Loader) {
			replacePin(t, l, plainMapCounters, func(m *ebpf.MapSpec) { m.ValueSize *= 2 })
		}, false, 11},
		{"something else", func(t *testing.T, l *Loader) {
			replacePin(t, l, plainMapCounters, func(m *ebpf.MapSpec) { m.Type = ebpf.Array })
		}, false, 11},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := bpffs(t)
			veth(t, "oth0")
			first := open(t, dir, 100)
			attach(t, first, "oth0", ModeNative, 0)
			w, i, _ := first.hits.at(hit)
			w.store(i, 11)
			tt.change(t, first)
			check(t, first.Close())

			l := open(t, dir, 100)
			if l.Reused() {
				t.Error("all maps were taken over")
			}
			expectHits(t, l, "after the take-over", []uint64{tt.hits}, hit)
			nodes := owners(t, l)
			if tt.owner != (len(nodes) == 1 && nodes[0].Verdict == policy.Verdict{HitID: hit}) {
				t.Errorf("owners of drop counters: %+v", nodes)
			}
			attach(t, l, "oth0", ModeAuto, 0)
			check(t, l.Commit())
			apply(t, l, block("192.0.2.1/32", policy.TickForever, 0, hit))
			receive(t, l, "oth0", udp("192.0.2.1", 1, 1))
			expectHits(t, l, "counted by the new program", []uint64{tt.hits + 1}, hit)
		})
	}
}
