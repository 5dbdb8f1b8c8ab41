package program_test

import (
	"encoding/binary"
	"net/netip"

	"github.com/paraxial/paraxial/tests/lab/frame"
)

// This file implements once more, from the RFCs and without regard to speed, what the program must
// do with a frame. It shares only the specification with the C code.

// judge returns the reason for the verdict on frame b. list returns the verdict of the lists on a
// source.
func judge(b []byte, list func(netip.Addr) reason) reason {
	etherType, l3, ok := unwrap(b)
	switch {
	case !ok:
		return malformed
	case isTag(etherType):
		return vlanExcess
	case isMPLS(etherType):
		return mplsExcess
	case etherType != frame.IPv4 && etherType != frame.IPv6:
		return notIP
	}
	source, ok := readSource(etherType, l3)
	if !ok {
		return malformed
	}
	if r := list(source); r != notListed {
		return r
	}
	if contradicts(etherType, l3) {
		return malformed
	}
	return notListed
}

// unwrap takes off the Ethernet header, up to eight VLAN tags, and what carries IP behind them.
func unwrap(b []byte) (etherType uint16, rest []byte, ok bool) {
	if len(b) < 14 {
		return 0, nil, false
	}
	etherType, rest = binary.BigEndian.Uint16(b[12:]), b[14:]
	for tags := 0; tags < 8 && isTag(etherType); tags++ {
		if len(rest) < 4 {
			return 0, nil, false
		}
		etherType, rest = binary.BigEndian.Uint16(rest[2:]), rest[4:]
	}
	if etherType < 0x600 && len(rest) >= 8 && isSNAP([6]byte(rest)) {
		etherType, rest = binary.BigEndian.Uint16(rest[6:]), rest[8:]
		if isTag(etherType) {
			return 0, rest, true
		}
	}
	if etherType == 0x8864 {
		if etherType, rest, ok = unwrapPPPoE(rest); !ok {
			return 0, nil, false
		}
	}
	if isMPLS(etherType) {
		return unwrapMPLS(etherType, rest)
	}
	return etherType, rest, true
}

func isTag(etherType uint16) bool {
	return etherType == 0x8100 || etherType == 0x88a8 || etherType == 0x9100 || etherType == 0x9200
}

func isMPLS(etherType uint16) bool { return etherType == 0x8847 || etherType == 0x8848 }

// isSNAP tells whether LLC and SNAP are those of IP: RFC 1042, or IEEE 802.1H.
func isSNAP(b [6]byte) bool {
	return b == [6]byte{0xaa, 0xaa, 3, 0, 0, 0} || b == [6]byte{0xaa, 0xaa, 3, 0, 0, 0xf8}
}

// unwrapPPPoE returns the EtherType that a protocol of PPP corresponds to, or 0.
func unwrapPPPoE(b []byte) (etherType uint16, rest []byte, ok bool) {
	b = after(b, 6)
	if len(b) == 0 {
		return 0, nil, false
	}
	proto, size := uint16(b[0]), 1
	if b[0]%2 == 0 {
		if size = 2; len(b) < size {
			return 0, nil, false
		}
		proto = binary.BigEndian.Uint16(b)
	}
	types := map[uint16]uint16{0x21: frame.IPv4, 0x57: frame.IPv6, 0x281: 0x8847, 0x283: 0x8848}
	return types[proto], b[size:], true
}

// unwrapMPLS takes off up to 30 labels. If the last is not among them, the EtherType stays.
func unwrapMPLS(etherType uint16, b []byte) (uint16, []byte, bool) {
	for range 30 {
		if len(b) < 4 {
			return 0, nil, false
		}
		bottom := b[2]%2 == 1
		b = b[4:]
		if !bottom {
			continue
		}
		if len(b) == 0 {
			return 0, nil, false
		}
		return map[byte]uint16{4: frame.IPv4, 6: frame.IPv6}[b[0]/16], b, true
	}
	return etherType, b, true
}

func readSource(etherType uint16, l3 []byte) (netip.Addr, bool) {
	switch {
	case etherType == frame.IPv4 && len(l3) >= 20 && l3[0]/16 == 4:
		return netip.AddrFrom4([4]byte(l3[12:16])), true
	case etherType == frame.IPv6 && len(l3) >= 40 && l3[0]/16 == 6:
		return netip.AddrFrom16([16]byte(l3[8:24])), true
	}
	return netip.Addr{}, false
}

// contradicts reports whether the lengths in a readable base header are contradictory.
func contradicts(etherType uint16, l3 []byte) bool {
	if etherType == frame.IPv6 {
		return 40+int(binary.BigEndian.Uint16(l3[4:])) > len(l3)
	}
	header, total := int(l3[0]%16)*4, int(binary.BigEndian.Uint16(l3[2:]))
	return header < 20 || header > total || total > len(l3)
}

// describe returns the event that a drop of b must produce.
func describe(b []byte, r reason) event {
	etherType, l3, _ := unwrap(b)
	e := event{Reason: r, Length: uint32(len(b))}
	e.Source, _ = readSource(etherType, l3)
	p := walked(etherType, l3)
	e.Proto, e.Fragment = p.proto, p.fragment
	if !p.later && len(p.transport) >= 4 && hasPorts(e.Proto) {
		e.Ports = true
		e.Sport, e.Dport = binary.BigEndian.Uint16(p.transport), binary.BigEndian.Uint16(p.transport[2:])
	}
	return e
}

// payload is what follows the IP header and its extension headers.
type payload struct {
	proto     uint8
	transport []byte // up to the end of the frame
	room      int    // bytes up to the end of the packet, as the IP header says
	fragment  bool
	later     bool // a fragment, and not the first
	hidden    bool // behind more headers than are walked, or behind the end of the packet
}

// tiny tells whether it is a first fragment without the flags of TCP: Linux
// assembles multiples of eight bytes, and the flags are in the second eight.
func (p payload) tiny() bool { return p.fragment && !p.later && p.room < 16 }

// walked returns the payload of a packet whose base header is complete.
func walked(etherType uint16, l3 []byte) payload {
	if etherType == frame.IPv6 {
		return walk(l3)
	}
	field, header := binary.BigEndian.Uint16(l3[6:]), max(20, int(l3[0]%16)*4)
	return payload{
		proto: l3[9], transport: after(l3, header), room: int(binary.BigEndian.Uint16(l3[2:])) - header,
		fragment: field&0x3fff != 0, later: field&0x1fff != 0,
	}
}

// maxWalked is the number of extension headers that the program walks.
const maxWalked = 32

// walk goes along the IPv6 extension headers (RFC 8200 4, RFC 4302 2). The frames of
// these tests are too short for the bound of the program on the offset.
func walk(l3 []byte) payload {
	p := payload{proto: l3[6], transport: l3[40:], room: int(binary.BigEndian.Uint16(l3[4:]))}
	if p.room == 0 {
		p.room = len(p.transport) // a jumbogram
	}
	for range maxWalked {
		length := p.extension()
		if length == 0 || p.later {
			break
		}
		if p.proto == frame.Fragment {
			field := binary.BigEndian.Uint16(p.transport[2:])
			p.fragment = p.fragment || field&0xfff9 != 0
			p.later = field&0xfff8 != 0
		}
		p.proto, p.transport, p.room = p.transport[0], after(p.transport, length), p.room-length
	}
	p.hidden = isExtension(p.proto) || p.fragment && !p.later && p.room < 8
	return p
}

// extension returns the length of the extension header that comes next, or 0 if there
// is none, or if it is not in the packet.
func (p payload) extension() int {
	if !isExtension(p.proto) || len(p.transport) < 8 || p.room < 8 {
		return 0
	}
	switch p.proto {
	case frame.AH:
		return 4 * (int(p.transport[1]) + 2)
	case frame.Fragment:
		return 8
	}
	return 8 + 8*int(p.transport[1])
}

func isExtension(proto uint8) bool {
	switch proto {
	case frame.HopByHop, frame.Routing, frame.DestinationOptions, frame.AH, frame.Fragment:
		return true
	}
	return false
}

func after(b []byte, n int) []byte {
	if n > len(b) {
		return nil
	}
	return b[n:]
}

func hasPorts(proto uint8) bool {
	switch proto {
	case frame.TCP, frame.UDP, frame.UDPLite, frame.SCTP, 33:
		return true
	}
	return false
}
