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
		return vlanDepth
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

// unwrap removes the Ethernet header and up to two VLAN tags.
func unwrap(b []byte) (etherType uint16, rest []byte, ok bool) {
	if len(b) < 14 {
		return 0, nil, false
	}
	etherType, rest = binary.BigEndian.Uint16(b[12:]), b[14:]
	for tags := 0; tags < 2 && isTag(etherType); tags++ {
		if len(rest) < 4 {
			return 0, nil, false
		}
		etherType, rest = binary.BigEndian.Uint16(rest[2:]), rest[4:]
	}
	return etherType, rest, true
}

func isTag(etherType uint16) bool { return etherType == 0x8100 || etherType == 0x88a8 }

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
	var transport []byte
	var later bool
	if etherType == frame.IPv4 {
		e.Proto = l3[9]
		field := binary.BigEndian.Uint16(l3[6:])
		later, e.Fragment = field&0x1fff != 0, field&0x3fff != 0
		transport = after(l3, max(20, int(l3[0]%16)*4))
	} else {
		e.Proto, transport, e.Fragment, later = walk(l3[6], l3[40:])
	}
	if !later && len(transport) >= 4 && hasPorts(e.Proto) {
		e.Ports = true
		e.Sport, e.Dport = binary.BigEndian.Uint16(transport), binary.BigEndian.Uint16(transport[2:])
	}
	return e
}

// walk follows at most eight IPv6 extension headers (RFC 8200 4, RFC 4302 2).
func walk(proto uint8, b []byte) (transport uint8, rest []byte, fragment, later bool) {
	for range 8 {
		length := 0
		switch proto {
		case frame.HopByHop, frame.Routing, frame.DestinationOptions:
			if len(b) >= 8 {
				length = 8 + 8*int(b[1])
			}
		case frame.AH:
			if len(b) >= 8 {
				length = 4 * (int(b[1]) + 2)
			}
		case frame.Fragment:
			if len(b) >= 8 {
				length = 8
				field := binary.BigEndian.Uint16(b[2:])
				fragment = fragment || field&0xfff9 != 0
				later = field&0xfff8 != 0
			}
		}
		if length == 0 {
			return proto, b, fragment, later
		}
		proto, b = b[0], after(b, length)
		if later {
			return proto, b, fragment, later
		}
	}
	return proto, b, fragment, later
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
