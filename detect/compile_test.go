package detect

import (
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"

	"github.com/paraxial/paraxial/policy"
	"github.com/paraxial/paraxial/track"
)

// The numbers of the protocols in a match.
var protocols = map[Proto][]uint8{TCP: {6}, UDP: {17}, ICMP: {1, 58}}

// fits reports whether a packet fits a match, as docs/config.md describes it. It does
// not use the compiled form.
func (m Match) fits(h Header) bool {
	segments := map[Flag]bool{
		AnyFlag: true,
		SYN:     h.Flags&track.SYN != 0 && h.Flags&track.ACK == 0,
		ACK:     h.Flags&track.ACK != 0 && h.Flags&track.SYN == 0,
		FIN:     h.Flags&track.FIN != 0,
		RST:     h.Flags&track.RST != 0,
	}
	if h.Hidden {
		return true
	}
	return (m.Proto == AnyProto || slices.Contains(protocols[m.Proto], h.Proto)) &&
		(m.Flags == AnyFlag || h.Tiny || h.Transport && segments[m.Flags]) &&
		(len(m.Ports) == 0 || h.Transport && slices.Contains(m.Ports, h.Port)) &&
		(!m.Fragment || h.Fragment)
}

// everyMatch returns all matches that Check accepts, with some sets of ports.
func everyMatch() (list []Match) {
	for _, proto := range []Proto{AnyProto, TCP, UDP, ICMP} {
		for _, flags := range []Flag{AnyFlag, SYN, ACK, FIN, RST} {
			for _, ports := range [][]uint16{nil, {443}, {53, 443, 65535}} {
				for _, fragment := range []bool{false, true} {
					m := Match{Proto: proto, Flags: flags, Ports: ports, Fragment: fragment}
					if m.Check() == nil {
						list = append(list, m)
					}
				}
			}
		}
	}
	return list
}

// everyPacket returns packets of every kind: all protocols, both families, whole packets
// and fragments, all combinations of TCP flags, ports that are in a match and ports that
// are not, two lengths.
func everyPacket() (list []Header) {
	for _, source := range []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")} {
		for proto := range 256 {
			for _, fragment := range []bool{false, true} {
				h := Header{Source: source, Length: 60, Proto: uint8(proto), Fragment: fragment}
				list = append(list, h)
				h.Hidden = true
				list = append(list, h)
				h.Hidden, h.Tiny = false, fragment && proto == 6
				list = append(list, h)
				list = append(list, withTransport(h)...)
				h.Tiny = false
				h.Length = 1514
				list = append(list, h)
				list = append(list, withTransport(h)...)
			}
		}
	}
	return list
}

// withTransport returns the packets that have the transport header of h's protocol.
func withTransport(h Header) (list []Header) {
	flags := map[uint8]int{6: 256, 17: 1}[h.Proto]
	for f := range flags {
		for _, port := range []uint16{0, 53, 54, 442, 443, 65535} {
			h.Transport, h.Flags, h.Port = true, uint8(f), port
			list = append(list, h)
		}
	}
	return list
}

// program is the memory in which the packet program looks packets up.
type program struct {
	control track.Control
	lines   []uint64
}

func compiled(t *testing.T, list []Detector) *program {
	t.Helper()
	p := &program{lines: make([]uint64, track.Lines(1)*track.LineSize/8)}
	control := unsafe.Slice((*byte)(unsafe.Pointer(&p.control)), unsafe.Sizeof(p.control))
	lines := unsafe.Slice((*byte)(unsafe.Pointer(&p.lines[0])), len(p.lines)*8)
	table, err := track.New(control, lines, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := table.Configure(Compile(list)); err != nil {
		t.Fatal(err)
	}
	return p
}

// looksUp does the same as detectors_of() of bpf/track.h, on the same memory.
func (p *program) looksUp(h Header) DetectorSet {
	kind := h.kind()
	detectors := uint32(p.control.Classes[kind])
	var ports uint16
	if h.Transport {
		const inWord = 4 // ports
		word := p.lines[p.control.Ports*track.LineSize/8+uint32(h.Port)/inWord]
		ports = (*[inWord]uint16)(unsafe.Pointer(&word))[h.Port%inWord]
	}
	if h.Hidden {
		return DetectorSet(detectors)
	}
	return DetectorSet(detectors & (^p.control.ByPort | uint32(ports)))
}

// TestMatchMeansTheSameEverywhere compares the classifier and the memory of the packet
// program with the description of a match, for all matches and packets.
func TestMatchMeansTheSameEverywhere(t *testing.T) {
	packets := everyPacket()
	for matches := range slices.Chunk(everyMatch(), MaxDetectors) {
		var list []Detector
		for _, m := range matches {
			list = append(list, Detector{Match: m})
		}
		classifier, program := NewClassifier(list), compiled(t, withPer(list))
		for _, h := range packets {
			classified, looked := classifier.Classify(h), program.looksUp(h)
			for n, m := range matches {
				want := m.fits(h)
				if got := classified>>n&1 == 1; got != want {
					t.Fatalf("match %+v, packet %+v: the classifier says %t, want %t", m, h, got, want)
				}
				if got := looked>>n&1 == 1; got != want {
					t.Fatalf("match %+v, packet %+v: the memory of the program says %t, want %t", m, h, got, want)
				}
			}
		}
	}
	t.Logf("%d matches, %d packets", len(everyMatch()), len(packets))
}

func withPer(list []Detector) []Detector {
	for n := range list {
		list[n].Per = Per{IPv4: 32, IPv6: 64}
	}
	return list
}

// TestEveryMatchKeyHasAnEffect changes one field of a match at a time. Each must change
// the compiled form.
func TestEveryMatchKeyHasAnEffect(t *testing.T) {
	// Values that the fields accept. Other fields get a value by their type.
	accepted := map[string]any{"Proto": UDP, "Flags": SYN}
	for n := range reflect.TypeFor[Match]().NumField() {
		field := reflect.TypeFor[Match]().Field(n)
		before := Match{Proto: TCP}
		after := before
		changed := reflect.ValueOf(&after).Elem().Field(n)
		if value, ok := accepted[field.Name]; ok {
			changed.Set(reflect.ValueOf(value))
		} else {
			setSomething(t, field.Name, changed)
		}
		if cmp.Equal(before.class(), after.class()) {
			t.Errorf("%s: %+v and %+v compile to the same class, %+v", field.Name, before, after, after.class())
		}
	}
}

func setSomething(t *testing.T, name string, v reflect.Value) {
	t.Helper()
	switch {
	case v.CanInt():
		v.SetInt(1)
	case v.CanUint():
		v.SetUint(1)
	case v.Kind() == reflect.Bool:
		v.SetBool(true)
	case v.Kind() == reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
	default:
		t.Fatalf("Match.%s: add a value of type %s to this test", name, v.Type())
	}
}

func TestCompileLevelsAndUnits(t *testing.T) {
	wide := Per{IPv4: 24, IPv6: 48}
	list := []Detector{
		detector(func(d *Detector) { d.Per = wide }),
		detector(func(d *Detector) { d.Limit.Unit = policy.Bytes }),
		detector(func(d *Detector) { d.Per, d.Match = wide, Match{Proto: TCP, Flags: ACK} }),
	}
	levels, classes := Compile(list)
	if diff := cmp.Diff([]track.Level{{IPv4: 24, IPv6: 48}, {IPv4: 32, IPv6: 64}}, levels); diff != "" {
		t.Errorf("levels (-want +got):\n%s", diff)
	}
	want := []track.Class{{}, {Bytes: true, Level: 1}, {Proto: track.TCP, Set: track.ACK, Clear: track.SYN}}
	if diff := cmp.Diff(want, classes); diff != "" {
		t.Errorf("classes (-want +got):\n%s", diff)
	}
}
