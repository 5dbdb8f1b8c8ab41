package program_test

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/paraxial/paraxial/tests/lab/frame"
)

// The ports of the tunnels that the program looks into in these tests.
var (
	vxlanPorts  = []uint16{4789, 8472}
	geneve      = uint16(6081)
	geneveExtra = []uint16{geneve, 60001, 60002, 6082} // as many as there can be
)

// deepest is the largest offset of an IP header that the program decides on.
const deepest = 1023

// judgeTunnels is judge for a program that looks into all tunnels. It also returns the frame whose
// source and transport are reported and counted: b, or one with the IP packet inside.
func judgeTunnels(b []byte, list func(netip.Addr) reason) (reason, []byte) {
	outer := judge(b, list)
	if !slices.Contains([]reason{notListed, allowed, shadowed, underLimit}, outer) {
		return outer, b
	}
	in, r, ok := open(b)
	switch {
	case !ok:
		return outer, b
	case r != notListed:
		return r, b
	}
	if r = judge(in, list); r == notListed && outer != allowed {
		r = outer
	}
	return r, in
}

// open returns the IP packet in a tunnel as an Ethernet frame, or the reason for a packet whose
// source inside cannot be read. ok is false if there is no tunnel with IP in it.
func open(b []byte) (in []byte, r reason, ok bool) {
	etherType, l3, _ := unwrap(b)
	p := walked(etherType, l3)
	switch {
	case p.later:
		return nil, 0, false
	case p.hidden:
		return nil, tunnelHidden, true
	}
	entered, found := enter(p)
	if !found {
		return nil, 0, false
	}
	start := len(b) - len(l3) + headersOf(etherType, l3, p) + entered.size
	ethernet := append(make([]byte, 12), byte(entered.etherType>>8), byte(entered.etherType))
	ethernet = append(ethernet, entered.payload...)
	if entered.etherType == frame.TEB {
		ethernet, start = entered.payload, start+frame.EthernetSize
		entered.whole = entered.whole && len(ethernet) >= frame.EthernetSize
	}
	var inner uint16
	var rest []byte
	if entered.whole && entered.etherType != 0 {
		inner, rest, entered.whole = unwrap(ethernet)
		start += len(ethernet) - frame.EthernetSize - len(rest)
	}
	switch end := len(b) - len(l3) + endOf(etherType, l3); {
	case p.fragment && (!entered.whole || start+frame.IPv6Size > end):
		return nil, tunnelHidden, true
	case !entered.whole:
		return nil, malformed, true
	case start > deepest:
		return nil, tunnelHidden, true
	case isTag(inner):
		return nil, vlanExcess, true
	case isMPLS(inner):
		return nil, mplsExcess, true
	case inner != frame.IPv4 && inner != frame.IPv6:
		return nil, 0, false
	}
	return append(binary.BigEndian.AppendUint16(make([]byte, 12), inner), rest...), notListed, true
}

// headersOf returns the size of the IP header and its extension headers.
func headersOf(etherType uint16, l3 []byte, p payload) int {
	if etherType == frame.IPv4 {
		return max(frame.IPv4Size, int(l3[0]%16)*4)
	}
	return endOf(etherType, l3) - p.room
}

// endOf returns the size of the packet, as its header says.
func endOf(etherType uint16, l3 []byte) int {
	if etherType == frame.IPv4 {
		return int(binary.BigEndian.Uint16(l3[2:]))
	}
	if n := int(binary.BigEndian.Uint16(l3[4:])); n > 0 {
		return frame.IPv6Size + n
	}
	return len(l3) // a jumbogram
}

// entered is what a tunnel carries behind its own header.
type entered struct {
	size      int // of the tunnel's header
	etherType uint16
	payload   []byte
	whole     bool // the header is there
}

// enter reads the header of a tunnel.
func enter(p payload) (e entered, ok bool) {
	b := p.transport
	switch {
	case p.proto == frame.IPinIP:
		return entered{0, frame.IPv4, b, true}, true
	case p.proto == frame.IPv6inIP:
		return entered{0, frame.IPv6, b, true}, true
	case p.proto == frame.GRE:
		return enterGRE(b), true
	case p.proto != frame.UDP || len(b) < 4:
		return e, false
	}
	port := binary.BigEndian.Uint16(b[2:])
	b = after(b, 8)
	switch {
	case slices.Contains(vxlanPorts, port):
		return enterVXLAN(b), true
	case slices.Contains(geneveExtra, port):
		if len(b) < 8 {
			return e, true
		}
		size := 8 + int(b[0]%64)*4
		return entered{8 + size, binary.BigEndian.Uint16(b[2:]), after(b, size), true}, true
	}
	return e, false
}

// enterGRE follows RFC 2784 and RFC 2890. Linux takes WCCP (0x883e) for IPv4, with or without a
// header of four bytes.
func enterGRE(b []byte) entered {
	if len(b) < 4 {
		return entered{}
	}
	flags, etherType := binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	size := 4
	if flags&0x4007 != 0 {
		return entered{size, 0, after(b, size), true}
	}
	for _, field := range []uint16{frame.GREChecksum, frame.GREKey, frame.GRESequence} {
		if flags&field != 0 {
			size += 4
		}
	}
	if etherType == wccp {
		if len(b) <= size {
			return entered{}
		}
		if b[size]/16 != 4 {
			size += 4
		}
		etherType = frame.IPv4
	}
	return entered{size, etherType, after(b, size), true}
}

const wccp = 0x883e

// enterVXLAN follows RFC 7348, and the draft of VXLAN-GPE if its flag is set.
func enterVXLAN(b []byte) entered {
	if len(b) < 8 {
		return entered{}
	}
	etherType := frame.TEB
	if b[0]&4 != 0 {
		etherType = map[byte]uint16{1: frame.IPv4, 2: frame.IPv6, 3: frame.TEB}[b[3]]
	}
	return entered{8 + 8, etherType, b[8:], true}
}
