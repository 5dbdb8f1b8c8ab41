package loader

import (
	"context"
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/paraxial/paraxial/policy"
)

// udp returns a frame with a UDP header after the IP header of frameFrom.
func udp(from string, source, dest uint16) []byte {
	frame := frameFrom(netip.MustParseAddr(from))
	const protoUDP = 17
	if frame[14]>>4 == 4 {
		frame[14+3] += 8
		frame[14+9] = protoUDP
	} else {
		frame[14+5] += 8
		frame[14+6] = protoUDP
	}
	h := make([]byte, 8)
	binary.BigEndian.PutUint16(h, source)
	binary.BigEndian.PutUint16(h[2:], dest)
	return append(frame, h...)
}

// receive runs the live program of iface, as a packet would.
func receive(t *testing.T, l *Loader, iface string, frames ...[]byte) {
	t.Helper()
	for _, f := range frames {
		_, err := l.attached[iface].program.Run(&ebpf.RunOptions{Data: f})
		check(t, err)
	}
}

func TestEvents(t *testing.T) {
	l := open(t, bpffs(t), 100)
	veth(t, "eve0")
	attach(t, l, "eve0", ModeNative, 5)
	apply(t, l, block("192.0.2.1/32", policy.TickForever, 0, 1), block("2001:db8::/32", 0, policy.TickForever, 2))
	fragment := udp("192.0.2.1", 7, 8)
	binary.BigEndian.PutUint16(fragment[14+6:], 100)

	before := bootNow(t)
	receive(t, l, "eve0", udp("192.0.2.1", 1, 1)) // no credit yet
	l.SetEventCredit(3)
	receive(t, l, "eve0", udp("192.0.2.1", 1000, 53), udp("2001:db8::9", 2000, 443), fragment,
		udp("192.0.2.1", 1, 1), udp("203.0.113.1", 1, 1))

	want := []DropEvent{
		{
			Slot: 5, Source: netip.MustParseAddr("192.0.2.1"), Protocol: 17,
			SourcePort: 1000, DestPort: 53, HasPorts: true, Length: 42, Reason: Blocked,
		},
		{
			Slot: 5, Source: netip.MustParseAddr("2001:db8::9"), Protocol: 17,
			SourcePort: 2000, DestPort: 443, HasPorts: true, Length: 62, Reason: Shadow,
		},
		{Slot: 5, Source: netip.MustParseAddr("192.0.2.1"), Protocol: 17, Fragment: true, Length: 42, Reason: Blocked},
	}
	got := readEvents(t, l, len(want))
	but := cmpopts.IgnoreFields(DropEvent{}, "Boot")
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}), but); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	sorted := slices.IsSortedFunc(got, func(a, b DropEvent) int { return int(a.Boot - b.Boot) })
	if after := bootNow(t); !sorted || got[0].Boot < before || got[2].Boot > after {
		t.Errorf("times %d, %d, %d: want them within [%d, %d]", got[0].Boot, got[1].Boot, got[2].Boot, before, after)
	}
	if left := l.credit.load(0); left != 0 {
		t.Errorf("credit %d left, want 0", left)
	}
}

// readEvents reads n events. Then it gives new credit and reads once more, to check that there
// are no others.
func readEvents(t *testing.T, l *Loader, n int) []DropEvent {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var got []DropEvent
	err := l.Events(ctx, func(e DropEvent) {
		if e.DestPort == 9999 {
			cancel()
			return
		}
		if got = append(got, e); len(got) == n {
			l.SetEventCredit(1)
			receive(t, l, "eve0", udp("192.0.2.1", 1, 9999))
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Events returned %v", err)
	}
	if len(got) != n {
		t.Fatalf("%d events, want %d: %+v", len(got), n, got)
	}
	return got
}

func TestDecodeEventShort(t *testing.T) {
	if e, err := decodeEvent(make([]byte, 39)); err == nil {
		t.Errorf("decoded %+v from a record that is cut short", e)
	}
}

func TestCounters(t *testing.T) {
	l := open(t, bpffs(t), 100)
	veth(t, "cnt0")
	veth(t, "cnt1")
	attach(t, l, "cnt0", ModeNative, 0)
	attach(t, l, "cnt1", ModeNative, MaxSlots-1)
	apply(t, l, block("192.0.2.1/32", policy.TickForever, 0, 1), block("192.0.2.2/32", 0, policy.TickForever, 100))
	arp := make([]byte, 60)
	arp[12], arp[13] = 0x08, 0x06
	short := udp("203.0.113.1", 1, 1)[:20]
	receive(t, l, "cnt0", udp("192.0.2.1", 1, 1), udp("192.0.2.1", 1, 1), udp("192.0.2.2", 1, 1), arp)
	receive(t, l, "cnt1", udp("203.0.113.1", 1, 1), short)

	want := map[uint32]map[Reason]Counter{
		0:            {Blocked: {2, 84}, Shadow: {1, 42}, NotIP: {1, 60}},
		MaxSlots - 1: {NotListed: {1, 42}, Malformed: {1, 20}},
	}
	got, err := l.Counters()
	check(t, err)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("counters (-want +got):\n%s", diff)
	}
	if l.Hits(1) != 2 || l.Hits(100) != 1 || l.Hits(101) != 0 || l.HitCapacity() != 201 {
		t.Errorf("hits %d, %d, %d of capacity %d; want 2, 1, 0 of 201", l.Hits(1), l.Hits(100), l.Hits(101),
			l.HitCapacity())
	}
	l.ClearHits(1)
	l.ClearHits(101)
	check(t, l.ClearSlot(MaxSlots-1))
	delete(want, MaxSlots-1)
	got, err = l.Counters()
	check(t, err)
	if diff := cmp.Diff(want, got); diff != "" || l.Hits(1) != 0 || l.Hits(100) != 1 {
		t.Errorf("after clearing: hits %d, %d; counters (-want +got):\n%s", l.Hits(1), l.Hits(100), diff)
	}
}

func TestCountersSumCPUs(t *testing.T) {
	l := open(t, bpffs(t), 100)
	perCPU := make([]plainCounter, ebpf.MustPossibleCPU())
	var want Counter
	for i := range perCPU {
		perCPU[i] = plainCounter{Packets: uint64(i + 1), Bytes: uint64(100 * (i + 1))}
		want.Packets += perCPU[i].Packets
		want.Bytes += perCPU[i].Bytes
	}
	check(t, l.maps[plainMapCounters].Put(uint32(3<<reasonBits|plainReasonREASON_ALLOWED), perCPU))
	got, err := l.Counters()
	check(t, err)
	if diff := cmp.Diff(map[uint32]map[Reason]Counter{3: {Allowed: want}}, got); diff != "" {
		t.Errorf("counters (-want +got):\n%s", diff)
	}
}
