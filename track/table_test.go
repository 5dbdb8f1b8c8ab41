package track

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"testing"
	"unsafe"
)

// memory returns the memory of a table, aligned like memory of the kernel.
func memory(capacity uint32) (control, lines []byte) {
	bytes := func(n int) []byte {
		words := make([]uint64, n/8)
		return unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), n)
	}
	return bytes(int(unsafe.Sizeof(Control{}))), bytes(int(Lines(capacity)) * LineSize)
}

func newTable(t *testing.T, capacity uint32, levels []Level, classes []Class) *Table {
	t.Helper()
	control, lines := memory(capacity)
	table, err := New(control, lines, capacity)
	check(t, err)
	check(t, table.Configure(levels, classes))
	return table
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// all are the levels of usual, and single addresses.
var all = append(usual[:2:2], Level{IPv4: 32, IPv6: 128})

var usual = []Level{{IPv4: 32, IPv6: 64}, {IPv4: 24, IPv6: 48}}

// random returns a source of a random family and level. It is in one of few networks, so
// that many sources are neighbours.
func random(r *rand.Rand) (level int, source netip.Prefix) {
	level = r.IntN(len(all))
	if r.IntN(2) == 0 {
		a := netip.AddrFrom4([4]byte{10, byte(r.IntN(4)), byte(r.Uint32()), byte(r.Uint32())})
		return level, netip.PrefixFrom(a, all[level].IPv4).Masked()
	}
	a := [16]byte{0: 0x20, 1: 1, 4: byte(r.IntN(4)), 5: byte(r.Uint32()), 6: byte(r.Uint32()), 7: byte(r.Uint32())}
	return level, netip.PrefixFrom(netip.AddrFrom16(a), all[level].IPv6).Masked()
}

type tracked struct {
	level  int
	source netip.Prefix
}

// The table has the same sources as a map, through growth and removal up to the last
// slot.
func TestTableAgreesWithMap(t *testing.T) {
	for _, capacity := range []uint32{1, 100, 1000, 20_000} {
		r := rand.New(rand.NewPCG(1, uint64(capacity)))
		table := newTable(t, capacity, usual, []Class{{}})
		want := map[tracked]uint32{}
		for range 10 * capacity {
			level, source := random(r)
			if r.IntN(4) == 0 {
				for s := range want {
					level, source = s.level, s.source
					break
				}
				check(t, table.Untrack(level, source))
				delete(want, tracked{level, source})
				continue
			}
			slot, err := table.Track(level, source)
			old, had := want[tracked{level, source}]
			switch {
			case errors.Is(err, ErrFull) && len(want) == int(capacity) && !had:
				continue
			case err != nil:
				t.Fatalf("capacity %d: track %s with %d tracked: %v", capacity, source, len(want), err)
			case had && slot != old:
				t.Fatalf("%s was in slot %d, and is in %d", source, old, slot)
			}
			want[tracked{level, source}] = slot
		}
		expect(t, table, want)
	}
}

func expect(t *testing.T, table *Table, want map[tracked]uint32) {
	t.Helper()
	got := map[tracked]uint32{}
	table.Counts(func(slot uint32, level int, source netip.Prefix, counters *[Detectors]uint32) {
		got[tracked{level, source}] = slot
		if *counters != [Detectors]uint32{} {
			t.Errorf("%s: counters %v, want none", source, counters)
		}
	})
	if len(got) != len(want) || table.Used() != len(want) {
		t.Errorf("%d sources, %d in use, want %d", len(got), table.Used(), len(want))
	}
	for s, slot := range want {
		if got[s] != slot {
			t.Errorf("%s: slot %d, want %d", s.source, got[s], slot)
		}
		if at := table.find(keyOf(s.level, s.source)); at == nil || load(at)&entrySlot != slot {
			t.Errorf("%s at level %d is not in the index", s.source, s.level)
		}
	}
}

// No group has two entries with the same tag, which the program relies on. If an entry is
// not in its first group, that group has the flag for it.
func TestIndexInvariants(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	table := newTable(t, 30_000, usual, []Class{{}})
	for table.Used() < 30_000 {
		level, source := random(r)
		_, err := table.Track(level, source)
		check(t, err)
	}
	mask := table.control.Groups
	spilled := 0
	for group := mask + 1; group < 2*(mask+1); group++ {
		tags := map[uint32]bool{}
		for _, e := range table.groupAt(group) {
			if e&entryUsed == 0 {
				continue
			}
			if tags[e&entryTag] {
				t.Errorf("group %d has two entries with tag %#x", group, e&entryTag)
			}
			tags[e&entryTag] = true
			p := table.control.place(table.keyIn(e&entrySlot), mask)
			if p.home == group {
				continue
			}
			spilled++
			if p.second != group || table.groupAt(p.home)[0]&entrySpilled == 0 {
				t.Errorf("an entry of group %d belongs into %d or %d, and the first lacks the flag",
					group, p.home, p.second)
			}
		}
	}
	t.Logf("%d groups; %d of %d sources not in their first group", mask+1, spilled, table.Used())
	if spilled == 0 || spilled > table.Used()/10 {
		t.Errorf("%d of %d sources are not in their first group, want a few percent", spilled, table.Used())
	}
}

// A slot is not reused at once, and its counters start at zero.
func TestSlotsAreReusedLate(t *testing.T) {
	table := newTable(t, 2*reuseAfter, usual, []Class{{}})
	a := netip.MustParsePrefix("192.0.2.1/32")
	first, err := table.Track(0, a)
	check(t, err)
	for range reuseAfter - 1 {
		slot, err := table.Track(0, a)
		check(t, err)
		table.slots[slot].counters[3] = 7
		check(t, table.Untrack(0, a))
		if next, err := table.Track(0, a); err != nil || next == slot {
			t.Fatalf("slot %d was released, and the next slot is %d: %v", slot, next, err)
		}
		check(t, table.Untrack(0, a))
	}
	for range 4 * reuseAfter {
		slot, err := table.Track(0, a)
		check(t, err)
		if table.slots[slot].counters != [Detectors]uint32{} {
			t.Fatalf("slot %d starts with %v", slot, table.slots[slot].counters)
		}
		table.slots[slot].counters[3] = 7
		check(t, table.Untrack(0, a))
	}
	_ = first
}

func TestRefused(t *testing.T) {
	for name, err := range map[string]error{
		"no level":             Check(nil, []Class{{}}),
		"three levels":         Check([]Level{usual[0], usual[1], usual[0]}, nil),
		"13 classes":           Check(usual, make([]Class, 13)),
		"no bits":              Check([]Level{{IPv4: 0, IPv6: 64}}, nil),
		"33 bits":              Check([]Level{{IPv4: 33, IPv6: 64}}, nil),
		"129 bits":             Check([]Level{{IPv4: 32, IPv6: 129}}, nil),
		"no such level":        Check(usual, []Class{{Level: 2}}),
		"no such protocol":     Check(usual, []Class{{Proto: 9}}),
		"flags of UDP":         Check(usual, []Class{{Proto: UDP, Set: SYN}}),
		"flags of no protocol": Check(usual, []Class{{Clear: SYN}}),
		"set and clear":        Check(usual, []Class{{Proto: TCP, Set: SYN, Clear: SYN}}),
		"no such flag":         Check(usual, []Class{{Proto: TCP, Set: 0x40}}),
		"ports of ICMP":        Check(usual, []Class{{Proto: ICMP, Ports: []uint16{1}}}),
	} {
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	table := newTable(t, 10, usual, []Class{{}})
	for level, source := range map[int]netip.Prefix{
		-1: netip.MustParsePrefix("192.0.2.1/32"), Single: netip.MustParsePrefix("192.0.2.0/24"),
		0: netip.MustParsePrefix("192.0.2.0/24"), 1: netip.MustParsePrefix("2001:db8::/64"),
		Single + 1: netip.MustParsePrefix("192.0.2.1/32"), 4: {},
	} {
		if _, err := table.Track(level, source); err == nil {
			t.Errorf("tracks %s at level %d", source, level)
		}
	}
	if _, err := table.Track(Single, netip.MustParsePrefix("::1/128")); err == nil {
		t.Error("tracks ::1 as a single address: its key may be that of an IPv4 address")
	}
	for _, capacity := range []uint32{0, MaxCapacity + 1} {
		if _, err := New(nil, nil, capacity); err == nil {
			t.Errorf("a table of %d was made", capacity)
		}
	}
}

func BenchmarkCounts(b *testing.B) {
	const n = 100_000
	control, lines := memory(n)
	table, err := New(control, lines, n)
	if err != nil {
		b.Fatal(err)
	}
	if err := table.Configure(usual, []Class{{}}); err != nil {
		b.Fatal(err)
	}
	r := rand.New(rand.NewPCG(3, 3))
	for table.Used() < n {
		level, source := random(r)
		if _, err := table.Track(level, source); err != nil {
			b.Fatal(err)
		}
	}
	var sum uint64
	for b.Loop() {
		table.Counts(func(_ uint32, _ int, _ netip.Prefix, counters *[Detectors]uint32) { sum += uint64(counters[0]) })
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/source")
}
