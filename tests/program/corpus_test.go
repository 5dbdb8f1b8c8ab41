package program_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/paraxial/paraxial/policy"
	"github.com/paraxial/paraxial/tests/lab/frame"
)

var equateAddr = cmpopts.EquateComparable(netip.Addr{})

// One source for each verdict of a list.
var (
	sourcesV4 = map[reason]string{notListed: "100.64.0.1", allowed: "192.0.2.1", blocked: "198.51.100.1",
		shadowed: "203.0.113.1", limited: "192.88.99.1", underLimit: "198.18.0.1"}
	sourcesV6 = map[reason]string{notListed: "2001:db8:f::1", allowed: "2001:db8:a::1", blocked: "2001:db8:b::1",
		shadowed: "2001:db8:5::1", limited: "2001:db8:c::1", underLimit: "2001:db8:d::1"}
)

// The entries' indices in hits.
const (
	hitBlocked  = 7
	hitShadowed = 8
	hitAllowed  = 9 // of a block that an allow overrides: never counted
	hitLimited  = 10
)

// listSources puts the sources on their lists, without an end.
func (f *filter) listSources() {
	f.tb.Helper()
	forever := uint32(policy.TickForever)
	for _, p := range []string{"198.51.100.0/24", "2001:db8:b::/48"} {
		f.block(p, verdict{Drop: forever, Hit: hitBlocked})
	}
	for _, p := range []string{"203.0.113.0/24", "2001:db8:5::/48"} {
		f.block(p, verdict{Shadow: forever, Hit: hitShadowed})
	}
	for _, p := range []string{"192.0.2.0/24", "2001:db8:a::/48"} {
		f.allow(p, policy.TickForever)
		f.block(p, verdict{Drop: forever, Hit: hitAllowed})
	}
	f.putLimit(bucketEmpty, bucket{TAT: neverFull, Hit: hitLimited}.with(step{forever, bucketEmpty}))
	for _, p := range []string{"192.88.99.0/24", "2001:db8:c::/48"} {
		f.block(p, verdict{Limit: forever, LimitID: bucketEmpty})
	}
	f.putLimit(bucketFree, bucket{Hit: hitLimited}.with(step{forever, bucketFree}))
	for _, p := range []string{"198.18.0.0/15", "2001:db8:d::/48"} {
		f.block(p, verdict{Limit: forever, LimitID: bucketFree})
	}
}

// hitsOf returns the increments of hits for one packet with the given reason.
func hitsOf(r reason) map[uint32]uint64 {
	switch r {
	case blocked:
		return map[uint32]uint64{hitBlocked: 1}
	case shadowed:
		return map[uint32]uint64{hitShadowed: 1}
	case limited:
		return map[uint32]uint64{hitLimited: 1}
	}
	return map[uint32]uint64{}
}

// start begins a packet from src to an address of its family.
func start(src string) frame.Packet {
	a := netip.MustParseAddr(src)
	if a.Is4() {
		return frame.IP(a, netip.MustParseAddr("192.0.2.200"))
	}
	return frame.IP(a, netip.MustParseAddr("2001:db8::200"))
}

// packet is a row of the corpus: the reason counted for a packet from a source on no list, and
// whether the source can be read, so that a list decides.
type packet struct {
	name   string
	build  func(p frame.Packet) []byte
	reason reason
	blind  bool // the reason does not depend on the source
}

func (p packet) want(source reason) reason {
	if p.blind || source == notListed {
		return p.reason
	}
	return source
}

// bothFamilies are packets that IPv4 and IPv6 can carry.
var bothFamilies = []packet{
	{name: "UDP", build: func(p frame.Packet) []byte { return p.UDP(1000, 53, []byte("query")) }},
	{name: "TCP SYN", build: func(p frame.Packet) []byte { return p.TCP(1000, 443, frame.SYN, nil) }},
	{name: "TCP data", build: func(p frame.Packet) []byte {
		return p.TCP(1000, 443, frame.ACK|frame.PSH,
			make([]byte, 1400))
	}},
	{name: "ICMP echo", build: func(p frame.Packet) []byte { return p.Echo(make([]byte, 56)) }},
	{name: "GRE", build: func(p frame.Packet) []byte { return p.Raw(frame.GRE, []byte{0, 0, 8, 0, 0x45, 0}) }},
	{name: "ESP", build: func(p frame.Packet) []byte { return p.Raw(frame.ESP, make([]byte, 32)) }},
	{name: "SCTP", build: func(p frame.Packet) []byte { return p.WithPorts(frame.SCTP, 1, 2, 12) }},
	{name: "IP-in-IP", build: func(p frame.Packet) []byte {
		return p.Raw(frame.IPinIP, start(sourcesV4[allowed]).UDP(1, 2, nil)[frame.EthernetSize:])
	}},
	{name: "IPv6-in-IP", build: func(p frame.Packet) []byte {
		return p.Raw(frame.IPv6inIP, start(sourcesV6[allowed]).UDP(1, 2, nil)[frame.EthernetSize:])
	}},
	{name: "unassigned protocol", build: func(p frame.Packet) []byte { return p.Raw(254, []byte{1}) }},
	{name: "no payload", build: func(p frame.Packet) []byte { return p.Raw(frame.UDP, nil) }},
	{name: "first fragment", build: func(p frame.Packet) []byte {
		return p.Fragment(0, true).UDP(1, 2,
			make([]byte, 64))
	}},
	{name: "middle fragment", build: func(p frame.Packet) []byte {
		return p.Fragment(1480, true).Raw(frame.UDP,
			make([]byte, 64))
	}},
	{name: "last fragment", build: func(p frame.Packet) []byte {
		return p.Fragment(0xfff8, false).Raw(frame.UDP,
			make([]byte, 8))
	}},
	{name: "802.1Q", build: func(p frame.Packet) []byte { return p.VLAN(frame.Dot1Q, 100).UDP(1, 2, nil) }},
	{name: "802.1Q priority tag", build: func(p frame.Packet) []byte {
		return p.VLAN(frame.Dot1Q, 7<<13).UDP(1, 2, nil)
	}},
	{name: "802.1ad", build: func(p frame.Packet) []byte { return p.VLAN(frame.Dot1AD, 100).UDP(1, 2, nil) }},
	{name: "QinQ", build: func(p frame.Packet) []byte {
		return p.VLAN(frame.Dot1AD, 1).VLAN(frame.Dot1Q, 2).UDP(1, 2,
			nil)
	}},
	{name: "802.1Q twice", build: func(p frame.Packet) []byte {
		return p.VLAN(frame.Dot1Q, 1).VLAN(frame.Dot1Q, 2).UDP(1,
			2, nil)
	}},
	{name: "802.1ad inside 802.1Q", build: func(p frame.Packet) []byte {
		return p.VLAN(frame.Dot1Q, 1).VLAN(frame.Dot1AD,
			2).UDP(1, 2, nil)
	}},
	{name: "three tags", build: func(p frame.Packet) []byte {
		return p.VLAN(frame.Dot1AD, 1).VLAN(frame.Dot1Q, 2).VLAN(frame.Dot1Q, 3).UDP(1, 2, nil)
	}},
	{name: "three priority tags", build: tagged(3)},
	{name: "eight priority tags", build: tagged(8)},
	{name: "eight nested tags", build: func(p frame.Packet) []byte {
		for id := range uint16(4) {
			p = p.VLAN(frame.Dot1AD, id+1).VLAN(frame.Dot1Q, id+2)
		}
		return p.TCP(1, 2, frame.SYN, nil)
	}},
	{name: "nine priority tags", reason: vlanExcess, blind: true, build: tagged(9)},
	{name: "thirty priority tags", reason: vlanExcess, blind: true, build: tagged(30)},
	{name: "nine tags and no IP", reason: vlanExcess, blind: true, build: func(p frame.Packet) []byte {
		return patch(tagged(9)(p), 12+9*frame.TagSize, 0x08, 0x06)
	}},
	{name: "eight tags and no IP", reason: notIP, blind: true, build: func(p frame.Packet) []byte {
		return patch(tagged(8)(p), 12+8*frame.TagSize, 0x08, 0x06)
	}},
	{name: "0x9100 inside tags", build: func(p frame.Packet) []byte {
		return patch(tagged(3)(p), 12+2*frame.TagSize, 0x91, 0x00)
	}},
	{name: "tag type 0x9100", build: func(p frame.Packet) []byte { return p.VLAN(frame.QinQ1, 1).UDP(1, 2, nil) }},
	{name: "tag type 0x9200", build: func(p frame.Packet) []byte { return p.VLAN(frame.QinQ2, 1).UDP(1, 2, nil) }},
	{name: "0x9100 and 0x8100", build: func(p frame.Packet) []byte {
		return p.VLAN(frame.QinQ1, 1).VLAN(frame.Dot1Q, 2).TCP(1, 443, frame.SYN, nil)
	}},
	{name: "nine tags of all types", reason: vlanExcess, blind: true, build: func(p frame.Packet) []byte {
		for i := range 9 {
			p = p.VLAN([]uint16{frame.QinQ1, frame.QinQ2, frame.Dot1AD, frame.Dot1Q}[i%4], 1)
		}
		return p.UDP(1, 2, nil)
	}},
	{name: "Ethernet padding", build: func(p frame.Packet) []byte {
		return append(p.UDP(1, 2, nil),
			make([]byte, 18)...)
	}},
	{name: "one byte missing", reason: malformed, build: func(p frame.Packet) []byte {
		b := p.UDP(1, 2, []byte("query"))
		return b[:len(b)-1]
	}},
	{name: "version 0", reason: malformed, blind: true, build: version(0)},
	{name: "version 5", reason: malformed, blind: true, build: version(5)},
	{name: "version 15", reason: malformed, blind: true, build: version(15)},
}

var onlyIPv4 = []packet{
	{name: "ARP", reason: notIP, blind: true, build: func(frame.Packet) []byte { return etherType(frame.ARP) }},
	{name: "tagged ARP", reason: notIP, blind: true, build: func(p frame.Packet) []byte {
		return patch(p.VLAN(frame.Dot1Q, 1).UDP(1, 2, nil), 16, 0x08, 0x06)
	}},
	{name: "LLDP", reason: notIP, blind: true, build: func(frame.Packet) []byte { return etherType(0x88cc) }},
	{name: "802.3 length", reason: notIP, blind: true, build: func(frame.Packet) []byte { return etherType(46) }},
	{name: "EtherType alone", reason: malformed, blind: true, build: func(p frame.Packet) []byte {
		return p.UDP(1, 2,
			nil)[:14]
	}},
	{name: "options", build: func(p frame.Packet) []byte { return p.Options(7, 7, 4, 0, 0, 0, 0).UDP(1, 2, nil) }},
	{name: "all options", build: func(p frame.Packet) []byte { return p.Options(make([]byte, 40)...).UDP(1, 2, nil) }},
	{name: "AH", build: func(p frame.Packet) []byte { return p.Raw(frame.AH, make([]byte, 24)) }},
	{name: "version 6", reason: malformed, blind: true, build: version(6)},
	{name: "IHL 0", reason: malformed, build: base(0, 0x40)},
	{name: "IHL 4", reason: malformed, build: base(0, 0x44)},
	{name: "IHL beyond total length", reason: malformed, build: base(0, 0x4f)},
	{name: "total length 0", reason: malformed, build: base(2, 0, 0)},
	{name: "total length below header", reason: malformed, build: base(2, 0, 19)},
	{name: "total length of header", build: base(2, 0, 20)},
	{name: "total length of frame", build: base(2, 0, 28)},
	{name: "total length beyond frame", reason: malformed, build: base(2, 0, 29)},
	{name: "total length 65535", reason: malformed, build: base(2, 0xff, 0xff)},
	{name: "total length below options", reason: malformed, build: func(p frame.Packet) []byte {
		return patch(p.Options(1, 1, 1, 1).UDP(1, 2, nil), 16, 0, 23)
	}},
}

var onlyIPv6 = []packet{
	{name: "hop-by-hop", build: func(p frame.Packet) []byte { return p.Extension(frame.HopByHop, 8).UDP(1, 2, nil) }},
	{name: "routing", build: func(p frame.Packet) []byte { return p.Extension(frame.Routing, 24).UDP(1, 2, nil) }},
	{name: "AH", build: func(p frame.Packet) []byte { return p.Extension(frame.AH, 24).UDP(1, 2, nil) }},
	{name: "destination options", build: func(p frame.Packet) []byte {
		return p.Extension(frame.DestinationOptions,
			16).UDP(1, 2, nil)
	}},
	{name: "destination options twice", build: func(p frame.Packet) []byte {
		return p.Extension(frame.DestinationOptions, 8).Extension(frame.Routing, 8).Extension(frame.DestinationOptions,
			8).UDP(1, 2, nil)
	}},
	{name: "full chain", build: func(p frame.Packet) []byte { return fullChain(p).TCP(1, 2, frame.SYN, nil) }},
	{name: "as many headers as are walked", build: chain(maxWalked)},
	{name: "one header more than is walked", build: chain(maxWalked + 1)},
	{name: "a hundred headers", build: chain(100)},
	{name: "chain in the next fragment", build: func(p frame.Packet) []byte {
		return patch(p.Fragment(0, true).Extension(frame.DestinationOptions, 16).UDP(1, 2, nil),
			frame.EthernetSize+frame.IPv6Size+9, 9)
	}},
	{name: "longest header", build: func(p frame.Packet) []byte {
		return p.Extension(frame.HopByHop, 2048).UDP(1, 2,
			nil)
	}},
	{name: "header beyond the frame", build: func(p frame.Packet) []byte {
		return patch(p.Extension(frame.HopByHop, 8).UDP(1, 2, nil), frame.EthernetSize+frame.IPv6Size+1, 255)
	}},
	{name: "no next header", build: func(p frame.Packet) []byte { return p.Raw(frame.NoNextHeader, nil) }},
	{name: "version 4", reason: malformed, blind: true, build: version(4)},
	{name: "payload length of frame", build: base(4, 0, 8)},
	{name: "payload length beyond frame", reason: malformed, build: base(4, 0, 9)},
	{name: "payload length 65535", reason: malformed, build: base(4, 0xff, 0xff)},
	{name: "payload length of a jumbogram", build: base(4, 0, 0)},
}

// tagged returns a function that builds a packet behind n tags of VLAN 0.
func tagged(n int) func(frame.Packet) []byte {
	return func(p frame.Packet) []byte { return priorityTags(p, n).UDP(1, 2, nil) }
}

func priorityTags(p frame.Packet, n int) frame.Packet {
	for i := range n {
		p = p.VLAN([]uint16{frame.Dot1Q, frame.Dot1AD}[i%2], 0)
	}
	return p
}

// chain returns a function that builds a packet behind n extension headers.
func chain(n int) func(frame.Packet) []byte {
	return func(p frame.Packet) []byte {
		return extend(p, frame.DestinationOptions, 8, n).TCP(1, 443, frame.SYN, nil)
	}
}

// patch returns b with bytes at offset replaced.
func patch(b []byte, offset int, bytes ...byte) []byte {
	copy(b[offset:], bytes)
	return b
}

// base builds a UDP packet with bytes of its IP header replaced.
func base(offset int, bytes ...byte) func(frame.Packet) []byte {
	return func(p frame.Packet) []byte { return patch(p.UDP(1, 2, nil), frame.EthernetSize+offset, bytes...) }
}

func version(v byte) func(frame.Packet) []byte {
	return func(p frame.Packet) []byte {
		b := p.UDP(1, 2, nil)
		b[frame.EthernetSize] = v<<4 | b[frame.EthernetSize]&0xf
		return b
	}
}

// etherType returns a frame of another protocol whose payload looks like a packet of a blocked
// source.
func etherType(t uint16) []byte {
	b := start(sourcesV4[blocked]).UDP(1, 2, nil)
	binary.BigEndian.PutUint16(b[12:], t)
	return b
}

func extend(p frame.Packet, proto uint8, size, times int) frame.Packet {
	for range times {
		p = p.Extension(proto, size)
	}
	return p
}

// fullChain adds every extension header in the order of RFC 8200.
func fullChain(p frame.Packet) frame.Packet {
	return p.Extension(frame.HopByHop, 16).Extension(frame.DestinationOptions, 8).Extension(frame.Routing, 24).
		Fragment(0, true).Extension(frame.AH, 28).Extension(frame.DestinationOptions, 24)
}

// corpora are the rows for each family with the sources they are sent from.
var corpora = []struct {
	name    string
	sources map[reason]string
	packets []packet
}{
	{"IPv4", sourcesV4, slices.Concat(bothFamilies, onlyIPv4, carried(), essentialCorpus(essentialV4))},
	{"IPv6", sourcesV6, slices.Concat(bothFamilies, onlyIPv6, carried(), essentialCorpus(essentialV6))},
}

func wantOne(r reason, length int) outcome {
	return outcome{
		Action:   r.action(),
		Counters: map[reason]counter{r: {1, uint64(length)}},
		Hits:     hitsOf(r),
	}
}

func check(t *testing.T, name string, want, got outcome, packet []byte) {
	t.Helper()
	if diff := cmp.Diff(want, got, equateAddr); diff != "" {
		t.Errorf("%s (-want +got):\n%spacket: %x", name, diff, packet[:min(len(packet), 200)])
	}
}

func TestCorpus(t *testing.T) {
	eachBuild(t, func(t *testing.T, f *filter) {
		f.listSources()
		for _, corpus := range corpora {
			for _, p := range corpus.packets {
				for source, address := range corpus.sources {
					b := p.build(start(address))
					name := fmt.Sprintf("%s %s from a source that is %s", corpus.name, p.name, source)
					check(t, name, wantOne(p.want(source), len(b)), f.observe(b), b)
				}
			}
		}
	})
}

// A packet is truncated at every byte: its source decides as soon as the base header is complete.
func TestTruncatedAtEveryByte(t *testing.T) {
	const least = frame.EthernetSize // the kernel runs no shorter frame
	eachBuild(t, func(t *testing.T, f *filter) {
		f.listSources()
		for source := range sourcesV4 {
			v4, v6 := start(sourcesV4[source]), start(sourcesV6[source])
			for _, c := range []struct {
				name     string
				frame    []byte
				readable int // bytes up to the end of the base header
			}{
				{"IPv4", v4.UDP(1, 2, nil), 14 + 20},
				{"IPv4 with tags and options",
					v4.VLAN(frame.Dot1AD, 1).VLAN(frame.Dot1Q, 2).Options(1, 1, 1, 1).TCP(1, 2, 0, nil), 14 + 8 + 20},
				{"IPv6", v6.UDP(1, 2, nil), 14 + 40},
				{"IPv4 with eight tags", tagged(8)(v4), 14 + 32 + 20},
				{"IPv6 with eight tags", tagged(8)(v6), 14 + 32 + 40},
				{"IPv6 with a tag and a chain", fullChain(v6.VLAN(frame.Dot1Q, 1)).TCP(1, 2, 0, nil), 14 + 4 + 40},
			} {
				for n := least; n <= len(c.frame); n++ {
					want := source
					if n < c.readable || source == notListed && n < len(c.frame) {
						want = malformed
					}
					name := fmt.Sprintf("%d of %d bytes of %s from a source that is %s", n, len(c.frame), c.name,
						source)
					check(t, name, wantOne(want, n), f.observe(c.frame[:n]), c.frame[:n])
				}
			}
		}
	})
}
