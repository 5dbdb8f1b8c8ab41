package loader

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/google/go-cmp/cmp"
	"github.com/paraxial/paraxial/policy"
	"github.com/paraxial/paraxial/tests/testenv"
)

const (
	segmentIDs    = 1 << 16 // HIT_SEGMENT of bpf/types.h
	manySegments  = 8 * segmentIDs
	entriesOfMany = manySegments / 2
)

// hitsOf returns the counts of ids.
func hitsOf(l *Loader, ids ...uint32) []uint64 {
	var n []uint64
	for _, id := range ids {
		n = append(n, l.Hits(id))
	}
	return n
}

func expectHits(t *testing.T, l *Loader, when string, want []uint64, ids ...uint32) {
	t.Helper()
	if diff := cmp.Diff(want, hitsOf(l, ids...)); diff != "" {
		t.Errorf("%s: hits of %d (-want +got):\n%s", when, ids, diff)
	}
}

// The program counts into every segment, and the next process takes over the counts.
func TestHitSegments(t *testing.T) {
	dir := bpffs(t)
	veth(t, "hit0")
	first := open(t, dir, entriesOfMany)
	attach(t, first, "hit0", ModeNative, 0)
	ids := []uint32{1, segmentIDs - 1, segmentIDs, 7*segmentIDs + 5}
	var sources [][]byte
	for i, id := range ids {
		from := fmt.Sprintf("192.0.2.%d", i)
		apply(t, first, block(from+"/32", policy.TickForever, 0, id))
		sources = append(sources, udp(from, 1, 1))
	}
	receive(t, first, "hit0", sources...)
	expectHits(t, first, "with one segment", []uint64{1, 1, 0, 0}, ids...)
	check(t, first.GrowHits(manySegments))
	receive(t, first, "hit0", append(sources, sources[3])...)
	expectHits(t, first, "with eight segments", []uint64{2, 2, 1, 2}, ids...)
	first.ClearHits(ids[2])
	check(t, first.Commit())
	check(t, first.Close())

	l := open(t, dir, entriesOfMany)
	if !l.Reused() {
		t.Fatal("the maps were not taken over")
	}
	expectHits(t, l, "in the next process", []uint64{2, 2, 0, 2}, ids...)
	attach(t, l, "hit0", ModeNative, 0)
	check(t, l.Commit())
	receive(t, l, "hit0", sources...)
	expectHits(t, l, "of the next program", []uint64{3, 3, 1, 3}, ids...)
	if got := len(l.hits.all()); got != 8 {
		t.Errorf("%d segments, want 8", got)
	}
}

func TestGrowHits(t *testing.T) {
	l := open(t, bpffs(t), entriesOfMany)
	if got := l.HitCapacity(); got != manySegments+1 {
		t.Errorf("capacity %d, want %d", got, manySegments+1)
	}
	if got := l.Capacity()[plainMapHits]; got != manySegments+1 {
		t.Errorf("capacity of map hits %d, want %d", got, manySegments+1)
	}
	for _, step := range []struct {
		ids  uint32
		want int // segments
	}{{0, 1}, {1, 1}, {segmentIDs, 1}, {segmentIDs + 1, 2}, {1, 2}, {5 * segmentIDs, 5}, {manySegments + 1, 9}} {
		check(t, l.GrowHits(step.ids))
		if got := len(l.hits.all()); got != step.want {
			t.Errorf("GrowHits(%d): %d segments, want %d", step.ids, got, step.want)
		}
		for n := range step.want {
			if _, err := os.Stat(l.gen.segment(plainMapHits, n)); err != nil {
				t.Errorf("GrowHits(%d): %v", step.ids, err)
			}
		}
	}
	full, ok := errors.AsType[*FullError](l.GrowHits(manySegments + 2))
	if !ok || full.Map != plainMapHits || full.Capacity != manySegments+1 {
		t.Errorf("beyond the capacity: %+v", full)
	}
	l.ClearHits(1 << 31)
	if got := l.Hits(1 << 31); got != 0 {
		t.Errorf("hits out of range: %d", got)
	}
}

// Faults of the pins of segments that a process can meet when it takes over.
func TestHitPins(t *testing.T) {
	tests := []struct {
		name   string
		harm   func(t *testing.T, l *Loader)
		reused bool
		want   []uint64 // counts in segments 0 and 1
	}{
		{"nothing", func(*testing.T, *Loader) {}, true, []uint64{10, 11}},
		{"a pin is missing", func(t *testing.T, l *Loader) {
			check(t, os.Remove(l.gen.segment(plainMapHits, 1)))
		}, true, []uint64{10, 0}},
		{"another segment is pinned", func(t *testing.T, l *Loader) {
			check(t, os.Rename(l.gen.segment(plainMapHits, 0), l.gen.segment(plainMapHits, 1)))
			check(t, pinCopy(l.hits.all()[0].m, l.gen.segment(plainMapHits, 0)))
		}, false, []uint64{0, 0}},
		{"another map is pinned", func(t *testing.T, l *Loader) {
			check(t, os.Remove(l.gen.segment(plainMapHits, 1)))
			check(t, pinCopy(l.maps[plainMapEventCredit], l.gen.segment(plainMapHits, 1)))
		}, false, []uint64{0, 0}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := bpffs(t)
			veth(t, "hip0")
			first := open(t, dir, entriesOfMany)
			check(t, first.GrowHits(2*segmentIDs))
			attach(t, first, "hip0", ModeNative, 0)
			apply(t, first, block("192.0.2.0/32", policy.TickForever, 0, 1),
				block("192.0.2.1/32", policy.TickForever, 0, segmentIDs))
			for id, n := range map[uint32]uint64{1: 10, segmentIDs: 11} {
				w, i, _ := first.hits.at(id)
				w.store(i, n)
			}
			tt.harm(t, first)
			check(t, first.Close())

			l := open(t, dir, entriesOfMany)
			if l.Reused() != tt.reused {
				t.Errorf("reused: %v, want %v", l.Reused(), tt.reused)
			}
			expectHits(t, l, "after the take-over", tt.want, 1, segmentIDs)
			if !tt.reused {
				return
			}
			// The running program counts into the segments that this process reads.
			p, err := ebpf.LoadPinnedProgram(filepath.Join(dir, "gen-1", "prog_hip0"), nil)
			check(t, err)
			defer p.Close()
			for _, from := range []string{"192.0.2.0", "192.0.2.1"} {
				_, err := p.Run(&ebpf.RunOptions{Data: udp(from, 1, 1)})
				check(t, err)
			}
			expectHits(t, l, "of the running program", []uint64{tt.want[0] + 1, tt.want[1] + 1}, 1, segmentIDs)
			for n := range 2 {
				if _, err := os.Stat(l.gen.segment(plainMapHits, n)); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestSampled(t *testing.T) {
	l := open(t, bpffs(t), 100)
	perCPU := make([]plainAttribution, ebpf.MustPossibleCPU())
	var want uint64
	for i := range perCPU {
		perCPU[i] = plainAttribution{Window: 9, Drops: 9, Sampled: uint64(64 * (i + 1))}
		want += perCPU[i].Sampled
	}
	if got, err := l.Sampled(); err != nil || got != 0 {
		t.Errorf("at first: %d, %v", got, err)
	}
	check(t, l.maps[plainMapAttribution].Put(uint32(0), perCPU))
	if got, err := l.Sampled(); err != nil || got != want {
		t.Errorf("Sampled() = %d, %v, want %d", got, err, want)
	}
}

// A filter for a million entries needs little memory while it has none.
func TestEmptyFilterIsSmall(t *testing.T) {
	testenv.Since(t, 6, 4, "the kernel to state what a map takes, not what it could")
	// Packet counters are per CPU. The buckets of essential packets take 136 KiB.
	limit := 2<<20 + 128<<10 + 100<<10*uint64(ebpf.MustPossibleCPU())
	l := open(t, bpffs(t), 1<<20)
	var total uint64
	for name, m := range l.maps {
		t.Logf("%-12s %8d bytes", name, memoryOf(t, m))
		total += memoryOf(t, m)
	}
	for n, s := range l.hits.all() {
		t.Logf("segment %d    %8d bytes", n, memoryOf(t, s.m))
		total += memoryOf(t, s.m)
	}
	for _, name := range indexNames() {
		m, err := ebpf.NewMap(l.specs[plain].Maps[name].InnerMap)
		check(t, err)
		t.Logf("of %-9s %8d bytes", name, memoryOf(t, m))
		total += memoryOf(t, m)
		check(t, m.Close())
	}
	t.Logf("in all       %8d bytes, %d CPUs", total, ebpf.MustPossibleCPU())
	if total > limit {
		t.Errorf("%d bytes, want at most %d", total, limit)
	}
}

func memoryOf(tb testing.TB, m *ebpf.Map) uint64 {
	tb.Helper()
	info, err := m.Info()
	check(tb, err)
	n, _ := info.Memlock() // not ok for 0, the size of an empty trie
	return n
}
