package program_test

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/paraxial/paraxial/tests/lab/frame"
)

// event is a drop event. Time and slot are checked when it is decoded.
type event struct {
	Source       netip.Addr
	Proto        uint8
	Sport, Dport uint16
	Ports        bool
	Fragment     bool
	Reason       reason
	Length       uint32
}

const (
	eventSize     = 40
	eventPorts    = 1
	eventFragment = 2
)

// decodeEvent reads struct drop_event and checks what is the same for all.
func decodeEvent(tb testing.TB, b []byte) event {
	tb.Helper()
	if len(b) != eventSize {
		tb.Fatalf("event of %d bytes, want %d", len(b), eventSize)
	}
	if at, boot := binary.LittleEndian.Uint64(b), uint64(now(tb)); at > boot || boot-at > 10e9 {
		tb.Errorf("event at boot time %d ns, and it is %d", at, boot)
	}
	if slot := binary.LittleEndian.Uint32(b[8:]); slot != testSlot {
		tb.Errorf("event of slot %d, want %d", slot, testSlot)
	}
	e := event{
		Length: binary.LittleEndian.Uint32(b[12:]),
		Sport:  binary.BigEndian.Uint16(b[32:]),
		Dport:  binary.BigEndian.Uint16(b[34:]),
		Proto:  b[37],
		Reason: reason(b[38]),
	}
	flags := b[39]
	e.Ports, e.Fragment = flags&eventPorts != 0, flags&eventFragment != 0
	if unknown := flags &^ (eventPorts | eventFragment); unknown != 0 {
		tb.Errorf("event with unknown flags %#x", unknown)
	}
	switch b[36] {
	case 4:
		e.Source = netip.AddrFrom4([4]byte(b[16:]))
		if rest := [12]byte(b[20:]); rest != [12]byte{} {
			tb.Errorf("IPv4 event with %x behind the address", rest)
		}
	case 6:
		e.Source = netip.AddrFrom16([16]byte(b[16:]))
	default:
		tb.Errorf("event of IP version %d", b[36])
	}
	return e
}

func TestEventsTellWhatWasDropped(t *testing.T) {
	const sport, dport = 0x1234, 0x5678
	type want struct {
		proto           uint8
		ports, fragment bool
	}
	v4, v6 := start(sourcesV4[blocked]), start(sourcesV6[blocked])
	for _, c := range []struct {
		name  string
		frame []byte
		want  want
	}{
		{"TCP", v4.TCP(sport, dport, frame.SYN, nil), want{frame.TCP, true, false}},
		{"UDP", v4.UDP(sport, dport, nil), want{frame.UDP, true, false}},
		{"SCTP", v4.WithPorts(frame.SCTP, sport, dport, 12), want{frame.SCTP, true, false}},
		{"UDP-Lite", v4.WithPorts(frame.UDPLite, sport, dport, 8), want{frame.UDPLite, true, false}},
		{"DCCP", v4.WithPorts(33, sport, dport, 16), want{33, true, false}},
		{"ICMP has none", v4.Echo(nil), want{frame.ICMP, false, false}},
		{"GRE has none", v4.WithPorts(frame.GRE, sport, dport, 8), want{frame.GRE, false, false}},
		{"ESP has none", v4.WithPorts(frame.ESP, sport, dport, 8), want{frame.ESP, false, false}},
		{"behind tags", v4.VLAN(frame.Dot1AD, 1).VLAN(frame.Dot1Q, 2).UDP(sport, dport, nil), want{frame.UDP, true, false}},
		{"behind options", v4.Options(make([]byte, 4)...).UDP(sport, dport, nil), want{frame.UDP, true, false}},
		{"behind all options", v4.Options(make([]byte, 40)...).UDP(sport, dport, nil), want{frame.UDP, true, false}},
		{"first fragment", v4.Fragment(0, true).UDP(sport, dport, nil), want{frame.UDP, true, true}},
		{"later fragment", v4.Fragment(8, true).UDP(sport, dport, nil), want{frame.UDP, false, true}},
		{"last fragment", v4.Fragment(8, false).UDP(sport, dport, nil), want{frame.UDP, false, true}},
		{"fragment at the last offset", v4.Fragment(0xfff8, false).UDP(sport, dport, nil), want{frame.UDP, false, true}},
		{"ports cut short", v4.Raw(frame.UDP, []byte{0x12, 0x34, 0x56}), want{frame.UDP, false, false}},
		{"IPv6 TCP", v6.TCP(sport, dport, frame.SYN, nil), want{frame.TCP, true, false}},
		{"IPv6 UDP", v6.UDP(sport, dport, nil), want{frame.UDP, true, false}},
		{"ICMPv6", v6.Echo(nil), want{frame.ICMPv6, false, false}},
		{"hop-by-hop", v6.Extension(frame.HopByHop, 8).UDP(sport, dport, nil), want{frame.UDP, true, false}},
		{"longest hop-by-hop", v6.Extension(frame.HopByHop, 2048).UDP(sport, dport, nil), want{frame.UDP, true, false}},
		{"routing", v6.Extension(frame.Routing, 24).UDP(sport, dport, nil), want{frame.UDP, true, false}},
		{"AH", v6.Extension(frame.AH, 24).UDP(sport, dport, nil), want{frame.UDP, true, false}},
		{"longest AH", v6.Extension(frame.AH, 1028).UDP(sport, dport, nil), want{frame.UDP, true, false}},
		{"no next header", v6.Raw(frame.NoNextHeader, nil), want{frame.NoNextHeader, false, false}},
		{"ESP", v6.WithPorts(frame.ESP, sport, dport, 16), want{frame.ESP, false, false}},
		{"IPv6 first fragment", v6.Fragment(0, true).UDP(sport, dport, nil), want{frame.UDP, true, true}},
		{"IPv6 atomic fragment", v6.Fragment(0, false).UDP(sport, dport, nil), want{frame.UDP, true, false}},
		{"IPv6 later fragment", v6.Fragment(8, true).UDP(sport, dport, nil), want{frame.UDP, false, true}},
		{"IPv6 fragment at the last offset", v6.Fragment(0xfff8, false).UDP(sport, dport, nil), want{frame.UDP, false, true}},
		{"later fragment that starts like a header", v6.Fragment(8, false).Raw(frame.DestinationOptions, make([]byte, 16)),
			want{frame.DestinationOptions, false, true}},
		{"chain", fullChain(v6).TCP(sport, dport, frame.SYN, nil), want{frame.TCP, true, true}},
		{"eight extension headers", extend(v6, frame.DestinationOptions, 8, 8).UDP(sport, dport, nil), want{frame.UDP, true, false}},
		{"nine are one too many", extend(v6, frame.DestinationOptions, 8, 9).UDP(sport, dport, nil), want{frame.DestinationOptions, false, false}},
	} {
		t.Run(c.name, func(t *testing.T) {
			eachBuild(t, func(t *testing.T, f *filter) {
				f.listSources()
				source, _ := frame.Source(c.frame)
				e := event{Source: source, Proto: c.want.proto, Ports: c.want.ports, Fragment: c.want.fragment,
					Reason: blocked, Length: uint32(len(c.frame))}
				if e.Ports {
					e.Sport, e.Dport = sport, dport
				}
				f.setCredit(1)
				if diff := cmp.Diff([]event{e}, f.observe(c.frame).Events, equateAddr); diff != "" {
					t.Errorf("events (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestEventsAreOfDropsAndShadows(t *testing.T) {
	eachBuild(t, func(t *testing.T, f *filter) {
		f.listSources()
		f.setCredit(100)
		for r, src := range sourcesV4 {
			var want []event
			packet := start(src).Echo(nil)
			if r == blocked || r == shadowed {
				want = []event{{Source: netip.MustParseAddr(src), Proto: frame.ICMP, Reason: r, Length: uint32(len(packet))}}
			}
			if diff := cmp.Diff(want, f.observe(packet).Events, equateAddr); diff != "" {
				t.Errorf("events of a source that is %s (-want +got):\n%s", r, diff)
			}
		}
		if got := f.credit(); got != 98 {
			t.Errorf("credit after two events: got %d, want 98", got)
		}
	})
}

func TestNoCreditNoEvent(t *testing.T) {
	packet := start(sourcesV4[blocked]).UDP(1, 2, nil)
	eachBuild(t, func(t *testing.T, f *filter) {
		f.listSources()
		for _, c := range []struct{ credit, events, left int64 }{{0, 0, 0}, {1, 1, 0}, {3, 3, 0}, {7, 5, 2}, {-4, 0, -4}} {
			f.setCredit(c.credit)
			for range 5 {
				if got := f.run(packet); got != drop {
					t.Fatalf("credit %d: got action %d, want a drop", c.credit, got)
				}
			}
			if got := len(f.takeEvents()); got != int(c.events) {
				t.Errorf("five drops with credit %d: got %d events, want %d", c.credit, got, c.events)
			}
			if got := f.credit(); got != c.left {
				t.Errorf("five drops with credit %d: %d left, want %d", c.credit, got, c.left)
			}
		}
	})
}

// A reader that is away loses events and nothing else: the ring fills, drops go on.
func TestFullRingDoesNotStopDrops(t *testing.T) {
	packet := start(sourcesV4[blocked]).UDP(1, 2, nil)
	eachBuild(t, func(t *testing.T, f *filter) {
		f.listSources()
		const n = 256 * 1024 / (eventSize + 8)
		f.setCredit(n + 100)
		for range n + 100 {
			if got := f.run(packet); got != drop {
				t.Fatalf("got action %d, want a drop", got)
			}
		}
		if got := len(f.takeEvents()); got < n-1 || got > n {
			t.Errorf("got %d events from a full ring, want about %d", got, n)
		}
	})
}
