package program_test

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/paraxial/paraxial/policy"
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

// decodeEvent decodes a struct drop_event that was written after since, and checks the fields that
// are the same in all events.
func decodeEvent(tb testing.TB, b []byte, since policy.Deadline) event {
	tb.Helper()
	if len(b) != eventSize {
		tb.Fatalf("event of %d bytes, want %d", len(b), eventSize)
	}
	if at, boot := policy.Deadline(binary.LittleEndian.Uint64(b)), now(tb); at < since || at > boot {
		tb.Errorf("event at boot time %d ns, want between %d and %d", at, since, boot)
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

// The ports of the frames below, and their source addresses.
const sport, dport = 0x1234, 0x5678

var blocked4, blocked6 = start(sourcesV4[blocked]), start(sourcesV6[blocked])

// told holds the fields of an event other than source and length.
type told struct {
	proto           uint8
	ports, fragment bool
}

var eventCases = []struct {
	name  string
	frame []byte
	want  told
}{
	{"TCP", blocked4.TCP(sport, dport, frame.SYN, nil), told{frame.TCP, true, false}},
	{"UDP", blocked4.UDP(sport, dport, nil), told{frame.UDP, true, false}},
	{"SCTP", blocked4.WithPorts(frame.SCTP, sport, dport, 12), told{frame.SCTP, true, false}},
	{"UDP-Lite", blocked4.WithPorts(frame.UDPLite, sport, dport, 8), told{frame.UDPLite, true, false}},
	{"DCCP", blocked4.WithPorts(33, sport, dport, 16), told{33, true, false}},
	{"ICMP has none", blocked4.Echo(nil), told{frame.ICMP, false, false}},
	{"GRE has none", blocked4.WithPorts(frame.GRE, sport, dport, 8), told{frame.GRE, false, false}},
	{"ESP has none", blocked4.WithPorts(frame.ESP, sport, dport, 8), told{frame.ESP, false, false}},
	{"behind tags", blocked4.VLAN(frame.Dot1AD, 1).VLAN(frame.Dot1Q, 2).UDP(sport, dport, nil),
		told{frame.UDP, true, false}},
	{"behind options", blocked4.Options(make([]byte, 4)...).UDP(sport, dport, nil), told{frame.UDP, true, false}},
	{"behind all options", blocked4.Options(make([]byte, 40)...).UDP(sport, dport, nil), told{frame.UDP, true, false}},
	{"first fragment", blocked4.Fragment(0, true).UDP(sport, dport, nil), told{frame.UDP, true, true}},
	{"later fragment", blocked4.Fragment(8, true).UDP(sport, dport, nil), told{frame.UDP, false, true}},
	{"last fragment", blocked4.Fragment(8, false).UDP(sport, dport, nil), told{frame.UDP, false, true}},
	{"fragment at the last offset", blocked4.Fragment(0xfff8, false).UDP(sport, dport, nil),
		told{frame.UDP, false, true}},
	{"ports cut short", blocked4.Raw(frame.UDP, []byte{0x12, 0x34, 0x56}), told{frame.UDP, false, false}},
	{"IPv6 TCP", blocked6.TCP(sport, dport, frame.SYN, nil), told{frame.TCP, true, false}},
	{"IPv6 UDP", blocked6.UDP(sport, dport, nil), told{frame.UDP, true, false}},
	{"ICMPv6", blocked6.Echo(nil), told{frame.ICMPv6, false, false}},
	{"hop-by-hop", blocked6.Extension(frame.HopByHop, 8).UDP(sport, dport, nil), told{frame.UDP, true, false}},
	{"longest hop-by-hop", blocked6.Extension(frame.HopByHop, 2048).UDP(sport, dport, nil),
		told{frame.UDP, true, false}},
	{"routing", blocked6.Extension(frame.Routing, 24).UDP(sport, dport, nil), told{frame.UDP, true, false}},
	{"AH", blocked6.Extension(frame.AH, 24).UDP(sport, dport, nil), told{frame.UDP, true, false}},
	{"longest AH", blocked6.Extension(frame.AH, 1028).UDP(sport, dport, nil), told{frame.UDP, true, false}},
	{"no next header", blocked6.Raw(frame.NoNextHeader, nil), told{frame.NoNextHeader, false, false}},
	{"ESP", blocked6.WithPorts(frame.ESP, sport, dport, 16), told{frame.ESP, false, false}},
	{"IPv6 first fragment", blocked6.Fragment(0, true).UDP(sport, dport, nil), told{frame.UDP, true, true}},
	{"IPv6 atomic fragment", blocked6.Fragment(0, false).UDP(sport, dport, nil), told{frame.UDP, true, false}},
	{"IPv6 later fragment", blocked6.Fragment(8, true).UDP(sport, dport, nil), told{frame.UDP, false, true}},
	{"IPv6 fragment at the last offset", blocked6.Fragment(0xfff8, false).UDP(sport, dport, nil),
		told{frame.UDP, false, true}},
	{"later fragment that starts like a header", blocked6.Fragment(8, false).Raw(frame.DestinationOptions,
		make([]byte, 16)),
		told{frame.DestinationOptions, false, true}},
	{"chain", fullChain(blocked6).TCP(sport, dport, frame.SYN, nil), told{frame.TCP, true, true}},
	{"as many extension headers as are walked",
		extend(blocked6, frame.DestinationOptions, 8, 32).UDP(sport, dport, nil),
		told{frame.UDP, true, false}},
	{"one too many", extend(blocked6, frame.DestinationOptions, 8, 33).UDP(sport, dport, nil),
		told{frame.DestinationOptions, false, false}},
}

func TestEventsTellWhatWasDropped(t *testing.T) {
	eachBuild(t, func(t *testing.T, f *filter) {
		f.listSources()
		for _, c := range eventCases {
			source, _ := frame.Source(c.frame)
			e := event{Source: source, Proto: c.want.proto, Ports: c.want.ports, Fragment: c.want.fragment,
				Reason: blocked, Length: uint32(len(c.frame))}
			if e.Ports {
				e.Sport, e.Dport = sport, dport
			}
			f.setCredit(1)
			want := wantOne(blocked, len(c.frame))
			want.Events = []event{e}
			check(t, c.name, want, f.observe(c.frame), c.frame)
		}
	})
}

func TestEventsAreOfDropsAndShadows(t *testing.T) {
	eachBuild(t, func(t *testing.T, f *filter) {
		f.listSources()
		f.setCredit(100)
		for r, src := range sourcesV4 {
			var want []event
			packet := start(src).Echo(nil)
			if r.reported() {
				want = []event{{Source: netip.MustParseAddr(src), Proto: frame.ICMP, Reason: r,
					Length: uint32(len(packet))}}
			}
			if diff := cmp.Diff(want, f.observe(packet).Events, equateAddr); diff != "" {
				t.Errorf("events of a source that is %s (-want +got):\n%s", r, diff)
			}
		}
		if got := f.credit(); got != 97 {
			t.Errorf("credit after three events: got %d, want 97", got)
		}
	})
}

func TestNoCreditNoEvent(t *testing.T) {
	packet := start(sourcesV4[blocked]).UDP(1, 2, nil)
	eachBuild(t, func(t *testing.T, f *filter) {
		f.listSources()
		for _, c := range []struct{ credit, events, left int64 }{{0, 0, 0}, {1, 1, 0}, {3, 3, 0}, {7, 5, 2},
			{-4, 0, -4}} {
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

// A reader that stops loses events and nothing else: the ring fills, drops continue.
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
