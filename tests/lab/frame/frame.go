// Package frame builds Ethernet frames byte by byte, with correct lengths and
// checksums, for tests that send them. It is written from the RFCs and shares
// no code with the packet filter.
//
//	frame.IP(src, dst).VLAN(frame.Dot1Q, 7).UDP(1234, 53, payload)
package frame

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
)

// EtherTypes.
const (
	IPv4   uint16 = 0x0800
	ARP    uint16 = 0x0806
	IPv6   uint16 = 0x86dd
	Dot1Q  uint16 = 0x8100 // IEEE 802.1Q customer tag
	Dot1AD uint16 = 0x88a8 // IEEE 802.1ad service tag
	Local  uint16 = 0x88b5 // IEEE 802 local experimental
)

// IP protocol numbers.
const (
	HopByHop           uint8 = 0
	ICMP               uint8 = 1
	IPinIP             uint8 = 4
	TCP                uint8 = 6
	UDP                uint8 = 17
	IPv6inIP           uint8 = 41
	Routing            uint8 = 43
	Fragment           uint8 = 44
	GRE                uint8 = 47
	ESP                uint8 = 50
	AH                 uint8 = 51
	ICMPv6             uint8 = 58
	NoNextHeader       uint8 = 59
	DestinationOptions uint8 = 60
	SCTP               uint8 = 132
	UDPLite            uint8 = 136
)

// Sizes in bytes.
const (
	EthernetSize = 14
	TagSize      = 4
	IPv4Size     = 20
	IPv6Size     = 40
)

// MAC is an Ethernet address.
type MAC [6]byte

// Packet describes what precedes the transport. Methods return a changed copy,
// so that one Packet can be the start of several frames.
type Packet struct {
	to, from   MAC
	tags       []tag
	carriers   []carrier
	hops       uint8
	src, dst   netip.Addr
	options    []byte // IPv4
	fragment   uint16 // IPv4: flags and offset
	extensions []extension
}

type tag struct{ etherType, id uint16 }

type extension struct {
	proto uint8
	bytes []byte // the first is set to the protocol of the next header
}

// IP starts a packet of the family of src and dst, which must be the same.
func IP(src, dst netip.Addr) Packet {
	if src.Is4() != dst.Is4() {
		panic(fmt.Sprintf("frame from %s to %s: two families", src, dst))
	}
	return Packet{to: MAC{2, 0, 0, 0, 0, 1}, from: MAC{2, 0, 0, 0, 0, 2}, src: src, dst: dst, hops: 64}
}

// Ethernet sets the Ethernet addresses.
func (p Packet) Ethernet(to, from MAC) Packet {
	p.to, p.from = to, from
	return p
}

// VLAN adds a tag after the existing ones.
func (p Packet) VLAN(etherType, id uint16) Packet {
	p.tags = append(slices.Clip(p.tags), tag{etherType, id})
	return p
}

// HopLimit sets the hop limit of IPv6, or the time to live of IPv4.
func (p Packet) HopLimit(hops uint8) Packet {
	p.hops = hops
	return p
}

// Options sets IPv4 options, padded to a multiple of four bytes, at most 40.
func (p Packet) Options(options ...byte) Packet {
	padded := (len(options) + 3) &^ 3
	if !p.src.Is4() || padded > 40 {
		panic(fmt.Sprintf("%d bytes of IPv4 options from %s", len(options), p.src))
	}
	p.options = make([]byte, padded)
	copy(p.options, options)
	return p
}

// Fragment makes the packet a fragment at offset, in bytes and a multiple of
// eight: by the header field for IPv4, by a fragment header for IPv6.
func (p Packet) Fragment(offset uint16, more bool) Packet {
	if offset%8 != 0 {
		panic(fmt.Sprintf("fragment offset %d: not a multiple of 8", offset))
	}
	if p.src.Is4() {
		p.fragment = offset / 8
		if more {
			p.fragment |= 0x2000
		}
		return p
	}
	field := offset
	if more {
		field |= 1
	}
	b := make([]byte, 8)
	binary.BigEndian.PutUint16(b[2:], field)
	binary.BigEndian.PutUint32(b[4:], 0xfeedbeef)
	return p.extend(Fragment, b)
}

// Extension adds an IPv6 extension header of size bytes after the existing ones: a multiple of
// eight, or of four for AH. Options consist of padding only; Linux accepts at most seven bytes of
// it as a receiver.
func (p Packet) Extension(proto uint8, size int) Packet {
	b := make([]byte, size)
	switch proto {
	case AH: // RFC 4302: in 4-byte units, less two
		b[1] = byte(size/4 - 2)
	case HopByHop, DestinationOptions: // RFC 8200: in 8-byte units, less one
		b[1] = byte(size/8 - 1)
		padding(b[2:])
	default:
		b[1] = byte(size/8 - 1)
	}
	return p.extend(proto, b)
}

// padding fills b with PadN options, or one Pad1 where a single byte is left.
func padding(b []byte) {
	for len(b) > 1 {
		n := min(len(b), 257)
		b[0], b[1] = 1, byte(n-2)
		b = b[n:]
	}
}

func (p Packet) extend(proto uint8, b []byte) Packet {
	if p.src.Is4() {
		panic(fmt.Sprintf("extension header %d from %s: not IPv6", proto, p.src))
	}
	p.extensions = append(slices.Clip(p.extensions), extension{proto, b})
	return p
}

// Raw ends the packet with a payload of any protocol.
func (p Packet) Raw(proto uint8, payload []byte) []byte {
	if p.src.Is4() {
		return p.link(IPv4, p.appendIPv4(nil, proto, payload))
	}
	return p.link(IPv6, p.appendIPv6(nil, proto, payload))
}

func (p Packet) link(etherType uint16, ip []byte) []byte {
	for _, c := range slices.Backward(p.carriers) {
		etherType, ip = c(etherType, ip)
	}
	b := make([]byte, 0, 128+len(ip))
	b = append(b, p.to[:]...)
	b = append(b, p.from[:]...)
	for _, t := range p.tags {
		b = binary.BigEndian.AppendUint16(b, t.etherType)
		b = binary.BigEndian.AppendUint16(b, t.id)
	}
	return append(binary.BigEndian.AppendUint16(b, etherType), ip...)
}

// appendIPv4 follows RFC 791.
func (p Packet) appendIPv4(b []byte, proto uint8, payload []byte) []byte {
	size := IPv4Size + len(p.options)
	h := make([]byte, size)
	h[0] = 4<<4 | byte(size/4)
	binary.BigEndian.PutUint16(h[2:], uint16(size+len(payload)))
	binary.BigEndian.PutUint16(h[6:], p.fragment)
	h[8], h[9] = p.hops, proto
	copy(h[12:], p.src.AsSlice())
	copy(h[16:], p.dst.AsSlice())
	copy(h[20:], p.options)
	binary.BigEndian.PutUint16(h[10:], checksum(0, h))
	return append(append(b, h...), payload...)
}

// appendIPv6 follows RFC 8200.
func (p Packet) appendIPv6(b []byte, proto uint8, payload []byte) []byte {
	var chain []byte
	next := proto
	for i, e := range slices.Backward(p.extensions) {
		header := slices.Clone(e.bytes)
		header[0] = next
		chain = append(header, chain...)
		next = p.extensions[i].proto
	}
	h := make([]byte, IPv6Size)
	h[0] = 6 << 4
	binary.BigEndian.PutUint16(h[4:], uint16(len(chain)+len(payload)))
	h[6], h[7] = next, p.hops
	copy(h[8:], p.src.AsSlice())
	copy(h[24:], p.dst.AsSlice())
	return append(append(append(b, h...), chain...), payload...)
}

// Of returns a frame that is not IP.
func Of(to, from MAC, etherType uint16, payload []byte) []byte {
	b := make([]byte, 0, EthernetSize+len(payload))
	b = append(append(b, to[:]...), from[:]...)
	b = binary.BigEndian.AppendUint16(b, etherType)
	return append(b, payload...)
}
