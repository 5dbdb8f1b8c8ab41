package loader

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/paraxial/paraxial/policy"
	"github.com/paraxial/paraxial/track"
)

var (
	trackLevels  = []Level{{IPv4: 32, IPv6: 64}, {IPv4: 24, IPv6: 48}}
	trackClasses = []Class{{}, {Proto: track.UDP, Ports: []uint16{53}, Bytes: true}, {Level: 1}}
)

// The Go types that mirror types of the program have the same layout.
func TestTrackLayout(t *testing.T) {
	ours, theirs := reflect.TypeFor[track.Control](), reflect.TypeFor[plainTrackControl]()
	if ours.Size() != theirs.Size() {
		t.Errorf("%d bytes, but %d in C", ours.Size(), theirs.Size())
	}
	names := map[string]string{"NH": "Nh", "SingleIPv4": "SingleIpv4", "SingleIPv6": "SingleIpv6"}
	for f := range fields(ours) {
		name := f.Name
		if c, ok := names[name]; ok {
			name = c
		}
		c, ok := theirs.FieldByName(name)
		if !ok {
			t.Errorf("C has no %s", name)
		} else if c.Offset != f.Offset || c.Type.Size() != f.Type.Size() {
			t.Errorf("%s: %d bytes at %d, but %d at %d in C", f.Name, f.Type.Size(), f.Offset, c.Type.Size(), c.Offset)
		}
	}
	level := reflect.TypeFor[track.LevelMask]()
	c, _ := theirs.FieldByName("Levels")
	for i, f := range []string{"High", "Low", "Ipv4", "Detectors"} {
		if got, _ := c.Type.Elem().FieldByName(f); got.Offset != level.Field(i).Offset {
			t.Errorf("level %s: at %d, but at %d in C", f, level.Field(i).Offset, got.Offset)
		}
	}
}

// fields yields the named fields of a struct.
func fields(t reflect.Type) func(func(reflect.StructField) bool) {
	return func(yield func(reflect.StructField) bool) {
		for i := range t.NumField() {
			if f := t.Field(i); f.Name != "_" && !yield(f) {
				return
			}
		}
	}
}

func mustTrack(t *testing.T, tr *Tracker, level int, source string) {
	t.Helper()
	_, err := tr.Track(level, netip.MustParsePrefix(source))
	check(t, err)
}

func countsOf(tr *Tracker) map[string][3]uint32 {
	got := map[string][3]uint32{}
	tr.Counts(func(_ uint32, level int, source netip.Prefix, c *[track.Detectors]uint32) {
		got[source.String()] = [3]uint32(c[:3])
	})
	return got
}

func expectCounts(t *testing.T, when string, tr *Tracker, want map[string][3]uint32) {
	t.Helper()
	if diff := cmp.Diff(want, countsOf(tr)); diff != "" {
		t.Errorf("%s: counters (-want +got):\n%s", when, diff)
	}
	if tr.InUse() != len(want) {
		t.Errorf("%s: %d in use, want %d", when, tr.InUse(), len(want))
	}
}

func samplesOf(t *testing.T, tr *Tracker) (got []Sample) {
	t.Helper()
	check(t, tr.Samples(func(s Sample) { got = append(got, s) }))
	return got
}

func TestTracker(t *testing.T) {
	l := open(t, bpffs(t), 100)
	veth(t, "trk0")
	attach(t, l, "trk0", ModeNative, 0)
	apply(t, l, block("198.51.100.1/32", policy.TickForever, 0, 1), allow("198.51.100.2/32", policy.TickForever))
	tr := l.Tracker()
	if _, err := tr.Track(0, netip.MustParsePrefix("192.0.2.1/32")); err == nil {
		t.Error("a source was tracked without classes")
	}
	tr.SetSampling(1)
	packets := [][]byte{
		udp("192.0.2.1", 1, 53), udp("192.0.2.2", 1, 54), udp("2001:db8::1", 1, 53),
		udp("198.51.100.1", 1, 53), udp("198.51.100.2", 1, 53),
	}
	receive(t, l, "trk0", packets...)
	check(t, tr.SetClasses(trackLevels, trackClasses))
	for _, s := range []string{"192.0.2.1/32", "2001:db8::/64", "198.51.100.1/32", "198.51.100.2/32",
		"203.0.113.1/32"} {
		mustTrack(t, tr, 0, s)
	}
	mustTrack(t, tr, 1, "192.0.2.0/24")
	receive(t, l, "trk0", packets...)
	expectCounts(t, "after a packet each", tr, map[string][3]uint32{
		"192.0.2.1/32": {1, 42, 0}, "2001:db8::/64": {1, 62, 0}, "198.51.100.1/32": {}, "198.51.100.2/32": {},
		"203.0.113.1/32": {}, "192.0.2.0/24": {0, 0, 2},
	})
	want := []Sample{
		{
			Source: netip.MustParseAddr("192.0.2.1"), Length: 42, Weight: 1, Detectors: 7,
			Protocol: 17, DestPort: 53, HasPort: true,
		},
		{
			Source: netip.MustParseAddr("192.0.2.2"), Length: 42, Weight: 1, Detectors: 5,
			Protocol: 17, DestPort: 54, HasPort: true,
		},
		{
			Source: netip.MustParseAddr("2001:db8::1"), Length: 62, Weight: 1, Detectors: 7,
			Protocol: 17, DestPort: 53, HasPort: true,
		},
	}
	if diff := cmp.Diff(want, samplesOf(t, tr), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("samples (-want +got):\n%s", diff)
	}
	check(t, tr.Untrack(0, netip.MustParsePrefix("2001:db8::/64")))
	tr.SetSampling(0)
	receive(t, l, "trk0", packets...)
	if got := samplesOf(t, tr); len(got) > 0 {
		t.Errorf("samples without sampling: %+v", got)
	}
	expectCounts(t, "less one source", tr, map[string][3]uint32{
		"192.0.2.1/32": {2, 84, 0}, "198.51.100.1/32": {}, "198.51.100.2/32": {},
		"203.0.113.1/32": {}, "192.0.2.0/24": {0, 0, 4},
	})
}

// New classes start without tracked sources. The same classes, or refused ones, change
// nothing. Without classes the memory is freed.
func TestSetClasses(t *testing.T) {
	l := open(t, bpffs(t), 100)
	veth(t, "cls0")
	attach(t, l, "cls0", ModeNative, 0)
	tr := l.Tracker()
	check(t, tr.SetClasses(trackLevels, trackClasses))
	mustTrack(t, tr, 0, "192.0.2.1/32")
	tr.SetSampling(1)
	receive(t, l, "cls0", udp("192.0.2.1", 1, 1))
	check(t, tr.SetClasses(trackLevels, trackClasses))
	if err := tr.SetClasses(trackLevels, []Class{{Level: 7}}); err == nil {
		t.Error("a class at level 7 was accepted")
	}
	expectCounts(t, "after no change", tr, map[string][3]uint32{"192.0.2.1/32": {1, 0, 0}})
	check(t, tr.SetClasses(trackLevels[:1], []Class{{Bytes: true}}))
	expectCounts(t, "after a change", tr, map[string][3]uint32{})
	if got := samplesOf(t, tr); len(got) > 0 {
		t.Errorf("samples of the previous classes: %+v", got)
	}
	mustTrack(t, tr, 0, "192.0.2.1/32")
	receive(t, l, "cls0", udp("192.0.2.1", 1, 1))
	expectCounts(t, "by bytes", tr, map[string][3]uint32{"192.0.2.1/32": {42, 0, 0}})
	if got := samplesOf(t, tr); len(got) != 1 || got[0].Weight != 1 {
		t.Errorf("sampling was not kept: %+v", got)
	}
	check(t, tr.SetClasses(nil, nil))
	receive(t, l, "cls0", udp("192.0.2.1", 1, 1))
	expectCounts(t, "off", tr, map[string][3]uint32{})
	for _, name := range []string{plainMapTracked, plainMapSamples} {
		var id uint32
		if err := l.maps[name].Lookup(uint32(0), &id); !errors.Is(err, ebpf.ErrKeyNotExist) {
			t.Errorf("map %s still has %d: %v", name, id, err)
		}
	}
	check(t, tr.SetClasses(trackLevels, trackClasses))
	expectCounts(t, "on again", tr, map[string][3]uint32{})
}

// If classes cannot be replaced, accounting stops. Setting the previous classes again then
// returns an error too, and not that they are in force.
func TestClassesThatCannotBeSet(t *testing.T) {
	l, err := Open(Options{BPFFS: bpffs(t), MaxEntries: 1, TrackCapacity: 3})
	check(t, err)
	defer l.Close()
	tr := l.Tracker()
	check(t, tr.SetClasses(trackLevels, trackClasses))
	check(t, l.maps[plainMapTracked].Freeze())
	for _, classes := range [][]Class{trackClasses[:1], trackClasses} {
		if err := tr.SetClasses(trackLevels, classes); err == nil {
			t.Errorf("%d classes were set though the map cannot be written", len(classes))
		}
	}
}

func TestTrackCapacity(t *testing.T) {
	dir := bpffs(t)
	if _, err := Open(Options{BPFFS: dir, MaxEntries: 1, TrackCapacity: track.MaxCapacity + 1}); err == nil {
		t.Error("a capacity above the maximum was accepted")
	}
	l, err := Open(Options{BPFFS: dir, MaxEntries: 1, TrackCapacity: 3})
	check(t, err)
	defer l.Close()
	tr := l.Tracker()
	check(t, tr.SetClasses(trackLevels, trackClasses))
	for _, s := range []string{"192.0.2.1/32", "192.0.2.2/32", "192.0.2.3/32"} {
		mustTrack(t, tr, 0, s)
	}
	if _, err := tr.Track(0, netip.MustParsePrefix("192.0.2.4/32")); !errors.Is(err, track.ErrFull) {
		t.Errorf("a fourth source: %v", err)
	}
	if got := [3]int{tr.Capacity(), tr.InUse(), l.Capacity()[plainMapTracked]}; got != [3]int{3, 3, 3} {
		t.Errorf("capacity and use %v, want 3", got)
	}
}

// The program of a killed process continues to count, although nobody reads it. The next process
// starts without tracked sources and with another capacity, over the same tries.
func TestTrackerAfterRestart(t *testing.T) {
	dir := bpffs(t)
	veth(t, "trr0")
	first := open(t, dir, 100)
	attach(t, first, "trr0", ModeNative, 0)
	check(t, first.Tracker().SetClasses(trackLevels, trackClasses))
	first.Tracker().SetSampling(1)
	mustTrack(t, first.Tracker(), 0, "192.0.2.1/32")
	check(t, first.pins.unlock()) // as when it is killed

	l, err := Open(Options{BPFFS: dir, MaxEntries: 100, TrackCapacity: 1000})
	check(t, err)
	defer l.Close()
	if !l.Reused() {
		t.Error("the maps were not taken over")
	}
	old, err := ebpf.LoadPinnedProgram(filepath.Join(dir, "gen-1", "prog_trr0"), nil)
	check(t, err)
	defer old.Close()
	for range sampleRing/sampleSize + 10 { // more than its ring holds
		_, err := old.Run(&ebpf.RunOptions{Data: udp("192.0.2.1", 1, 1)})
		check(t, err)
	}
	if first.Tracker().LostSamples() == 0 {
		t.Error("the ring did not fill")
	}
	tr := l.Tracker()
	check(t, tr.SetClasses(trackLevels, trackClasses))
	mustTrack(t, tr, 0, "192.0.2.1/32")
	attach(t, l, "trr0", ModeNative, 0)
	check(t, l.Commit())
	receive(t, l, "trr0", udp("192.0.2.1", 1, 1))
	expectCounts(t, "in the next process", tr, map[string][3]uint32{"192.0.2.1/32": {1, 0, 0}})
	if got := tr.LostSamples(); got != 0 {
		t.Errorf("%d samples of another process count as lost", got)
	}
}

func TestDecodeSampleRefuses(t *testing.T) {
	good := make([]byte, sampleSize)
	good[28] = 4
	binary.NativeEndian.PutUint32(good[16:], 60)
	if s, err := decodeSample(good); err != nil || s.Length != 60 || s.HasPort || s.HasFlags {
		t.Errorf("%+v, %v", s, err)
	}
	for name, b := range map[string][]byte{"short": good[:31], "of no version": make([]byte, sampleSize)} {
		if s, err := decodeSample(b); err == nil {
			t.Errorf("%s: decoded as %+v", name, s)
		}
	}
}

// Accounting needs almost no memory while it is off, and that of its capacity while it is on.
func TestTrackerMemory(t *testing.T) {
	l := open(t, bpffs(t), 100)
	var off uint64
	for _, name := range []string{plainMapTracking, plainMapTracked, plainMapSamples} {
		off += memoryOf(t, l.maps[name])
	}
	check(t, l.Tracker().SetClasses(trackLevels, trackClasses))
	on := memoryOf(t, l.tracker.on.lines) + memoryOf(t, l.tracker.on.ring)
	t.Logf("off %d bytes; on %d bytes more, for %d sources", off, on, l.Tracker().Capacity())
	if off > 16<<10 || on > 4<<20 {
		t.Errorf("off %d bytes and on %d, want at most 16 KiB and 4 MiB", off, on)
	}
}
