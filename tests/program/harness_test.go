// Package program_test runs the packet program on handmade packets, in the kernel but on no
// interface, and compares everything that it changes.
package program_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"github.com/paraxial/paraxial/policy"
	"github.com/paraxial/paraxial/tests/inner"
	"github.com/paraxial/paraxial/tests/testenv"
	"github.com/paraxial/paraxial/track"
)

// Actions and reasons as numbered in bpf/types.h, repeated here so that a renumbering is noticed.
const (
	drop uint32 = 1
	pass uint32 = 2
)

type reason uint32

const (
	notListed reason = iota
	allowed
	blocked
	shadowed
	notIP
	vlanDepth
	malformed
	limited
	underLimit
	vlanExcess
	mplsExcess
	essential
	essentialLimited
	tunnelHidden
	reply
)

func (r reason) String() string {
	names := []string{"not_listed", "allowed", "blocked", "shadow", "not_ip", "vlan_depth", "malformed", "limited",
		"under_limit", "vlan_excess", "mpls_excess", "essential", "essential_limited", "tunnel_hidden", "reply"}
	if int(r) < len(names) {
		return names[r]
	}
	return fmt.Sprintf("reason(%d)", uint32(r))
}

func (r reason) action() uint32 {
	switch r {
	case blocked, limited, vlanExcess, mplsExcess, essentialLimited, tunnelHidden:
		return drop
	}
	return pass
}

// reported reports whether a packet with this reason gives an event.
func (r reason) reported() bool {
	return r == blocked || r == limited || r == shadowed || r == essentialLimited
}

// testSlot is the interface that the program runs for.
const testSlot = 5

// hitsRead is how many of a segment's drop counters are compared.
const hitsRead = 1024

// reasonsRead is how many of testSlot's counters are compared after every packet. Reading all 4096
// each time is too slow, so the others are compared at the end.
const reasonsRead = 16

// The counters' layout: slot << reasonBits | reason.
const (
	reasonBits  = 6
	counterKeys = 64 << reasonBits
)

type counter struct{ Packets, Bytes uint64 }

// verdict is the value of a block node, as in struct verdict.
type verdict struct{ Drop, Limit, Shadow, LimitID, Hit, Strict uint32 }

// outcome holds everything that one packet changes.
type outcome struct {
	Action   uint32
	Counters map[reason]counter // of testSlot; see checkOtherCounters
	Hits     map[uint32]uint64
	Events   []event
}

// filter is the loaded program with its own maps.
type filter struct {
	tb      testing.TB
	program *ebpf.Program
	spec    *ebpf.CollectionSpec
	maps    map[string]*ebpf.Map
	events  *ringbuf.Reader
	loaded  policy.Deadline // time of loading
	hits    []uint64
	limits  []uint64
	perCPU  []counter // of the last lookup
}

// eachBuild runs test with the program as plain XDP and as xdp.frags.
func eachBuild(t *testing.T, test func(t *testing.T, f *filter)) {
	for _, build := range []string{"plain", "frags"} {
		t.Run(build, func(t *testing.T) { test(t, load(t, build)) })
	}
}

func load(tb testing.TB, build string) *filter { return loadWith(tb, build, nil) }

// loadWith loads the program with constants other than the slot.
func loadWith(tb testing.TB, build string, constants map[string]any) *filter {
	tb.Helper()
	testenv.Root(tb)
	if build == "frags" {
		testenv.Since(tb, 5, 18, "xdp.frags")
	}
	if err := rlimit.RemoveMemlock(); err != nil {
		tb.Fatal(err)
	}
	arch := map[string]string{"amd64": "x86", "arm64": "arm64"}[runtime.GOARCH]
	spec, err := ebpf.LoadCollectionSpec(fmt.Sprintf("../../loader/%s_%s_bpfel.o", build, arch))
	if err != nil {
		tb.Fatal(err)
	}
	if err := spec.Variables["slot"].Set(uint32(testSlot)); err != nil {
		tb.Fatal(err)
	}
	for name, value := range constants {
		if err := spec.Variables[name].Set(value); err != nil {
			tb.Fatal(err)
		}
	}
	spec.Maps["tracked"].InnerMap.MaxEntries = track.Lines(trackCapacity)
	collection, err := ebpf.NewCollection(spec)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(collection.Close)
	events, err := ringbuf.NewReader(collection.Maps["events"])
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { events.Close() })
	events.SetDeadline(time.Unix(1, 0)) // in the past: read what is there, never wait
	hits := inner.HitSegment(tb, spec, collection.Maps["hits"])
	f := &filter{tb: tb, program: collection.Programs["paraxial"], spec: spec, maps: collection.Maps, events: events,
		loaded: now(tb), hits: hits[:hitsRead]}
	f.limits = inner.LimitSegment(tb, spec, collection.Maps["limits"])
	tb.Cleanup(f.checkOtherCounters)
	return f
}

// key returns the key of a trie node, as in struct lpm_v4 or lpm_v6.
func key(prefix netip.Prefix) []byte {
	b := binary.NativeEndian.AppendUint32(nil, uint32(prefix.Bits()))
	return append(b, prefix.Masked().Addr().AsSlice()...)
}

func family(prefix netip.Prefix) string {
	if prefix.Addr().Is4() {
		return "v4"
	}
	return "v6"
}

func (f *filter) put(table string, prefix netip.Prefix, value any) {
	f.tb.Helper()
	if err := f.maps[table+"_"+family(prefix)].Put(key(prefix), value); err != nil {
		f.tb.Fatalf("put %s into %s: %v", prefix, table, err)
	}
}

func (f *filter) block(prefix string, v verdict) {
	f.tb.Helper()
	f.put("block", netip.MustParsePrefix(prefix), v)
}

func (f *filter) allow(prefix string, until policy.Tick) {
	f.tb.Helper()
	f.put("allow", netip.MustParsePrefix(prefix), uint32(until))
}

func (f *filter) setCredit(n int64) {
	f.tb.Helper()
	if err := f.maps["event_credit"].Put(uint32(0), n); err != nil {
		f.tb.Fatal(err)
	}
}

func (f *filter) credit() int64 {
	f.tb.Helper()
	var n int64
	if err := f.maps["event_credit"].Lookup(uint32(0), &n); err != nil {
		f.tb.Fatal(err)
	}
	return n
}

// now returns the kernel's boot clock.
func now(tb testing.TB) policy.Deadline {
	tb.Helper()
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		tb.Fatal(err)
	}
	return policy.Deadline(ts.Nano())
}

// xdpContext is struct xdp_md.
type xdpContext struct {
	Data, DataEnd, DataMeta, IngressIfindex, RxQueueIndex, EgressIfindex uint32
}

// run gives the program one packet and returns the action.
func (f *filter) run(packet []byte) uint32 {
	f.tb.Helper()
	action, err := f.program.Run(&ebpf.RunOptions{Data: packet})
	if err != nil {
		f.tb.Fatalf("run the program on %d bytes: %v", len(packet), err)
	}
	return action
}

// observe gives the program one packet and returns everything that it changed.
func (f *filter) observe(packet []byte) outcome {
	f.tb.Helper()
	return f.change(func() uint32 { return f.run(packet) })
}

// observeSplit does the same with only the first linear bytes in the first buffer.
func (f *filter) observeSplit(packet []byte, linear int) outcome {
	f.tb.Helper()
	return f.change(func() uint32 {
		action, err := f.program.Run(&ebpf.RunOptions{Data: packet, Context: xdpContext{DataEnd: uint32(linear)}})
		if err != nil {
			f.tb.Fatalf("run the program on %d bytes, %d of them in the first buffer: %v", len(packet), linear, err)
		}
		return action
	})
}

func (f *filter) change(run func() uint32) outcome {
	f.tb.Helper()
	counters, hits := f.slotCounters(), f.readHits()
	o := outcome{Action: run(), Counters: map[reason]counter{}, Hits: map[uint32]uint64{}}
	for i, after := range f.slotCounters() {
		if d := (counter{after.Packets - counters[i].Packets, after.Bytes - counters[i].Bytes}); d != (counter{}) {
			o.Counters[reason(i)] = d
		}
	}
	for i, after := range f.readHits() {
		if d := after - hits[i]; d != 0 {
			o.Hits[uint32(i)] = d
		}
	}
	o.Events = f.takeEvents()
	return o
}

// slotCounters returns the counters of the reasons that exist or may soon exist.
func (f *filter) slotCounters() (counters [reasonsRead]counter) {
	f.tb.Helper()
	for r := range counters {
		counters[r] = f.readCounter(testSlot<<reasonBits | uint32(r))
	}
	return counters
}

func (f *filter) readCounter(key uint32) (sum counter) {
	f.tb.Helper()
	if err := f.maps["counters"].Lookup(key, &f.perCPU); err != nil {
		f.tb.Fatalf("read counter %d: %v", key, err)
	}
	for _, v := range f.perCPU {
		sum.Packets += v.Packets
		sum.Bytes += v.Bytes
	}
	return sum
}

// checkOtherCounters fails the test if the program ever counted for another interface, or for a
// reason that does not exist. A short run checks only the neighbouring interfaces.
func (f *filter) checkOtherCounters() {
	for key := range uint32(counterKeys) {
		slot, r := key>>reasonBits, key&(1<<reasonBits-1)
		if slot == testSlot && r < reasonsRead || testing.Short() && (slot < testSlot-1 || slot > testSlot+1) {
			continue
		}
		if c := f.readCounter(key); c != (counter{}) {
			f.tb.Errorf("counter of slot %d, %s: %+v; only slot %d was running", slot, reason(r), c, testSlot)
		}
	}
}

func (f *filter) readHits() []uint64 { return slices.Clone(f.hits) }

func (f *filter) takeEvents() []event {
	f.tb.Helper()
	var taken []event
	for f.events.AvailableBytes() > 0 {
		record, err := f.events.Read()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			continue // reported even if records are available
		}
		if err != nil {
			f.tb.Fatalf("read event: %v", err)
		}
		taken = append(taken, decodeEvent(f.tb, record.RawSample, f.loaded))
	}
	return taken
}
