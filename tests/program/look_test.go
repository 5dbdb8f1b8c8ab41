package program_test

import (
	"encoding/binary"

	"github.com/paraxial/paraxial/tests/lab/frame"
	"github.com/paraxial/paraxial/track"
)

// view holds the properties of a frame that a detector can ask for, derived independently from the
// RFCs.
type view struct {
	proto    uint8
	fragment bool
	tiny     bool // a first fragment without the flags of TCP
	hidden   bool // any transport
	header   bool // of the transport is there
	flags    uint8
	ports    bool
	port     uint16
}

// look looks at a frame whose IP header is complete.
func look(b []byte) view {
	etherType, l3, _ := unwrap(b)
	p := walked(etherType, l3)
	v := view{proto: p.proto, fragment: p.fragment, hidden: p.hidden}
	v.tiny = p.tiny() && p.proto == frame.TCP
	switch transport := p.transport; {
	case p.later || p.hidden:
	case v.tiny:
		v.ports = len(transport) >= 4
	case v.proto == frame.TCP && len(transport) >= 16:
		v.header, v.ports, v.flags = true, true, transport[13]&0x3f
	case v.proto == frame.UDP && len(transport) >= 4:
		v.header, v.ports = true, true
	}
	if v.ports {
		v.port = binary.BigEndian.Uint16(p.transport[2:])
	}
	return v
}

// wanted reports whether a class asks for such a frame.
func (v view) wanted(c track.Class) bool {
	if v.hidden {
		return true
	}
	protos := map[track.Proto][]uint8{track.TCP: {frame.TCP}, track.UDP: {frame.UDP},
		track.ICMP: {frame.ICMP, frame.ICMPv6}}
	of := c.Proto == track.AnyProto
	for _, p := range protos[c.Proto] {
		of = of || v.proto == p
	}
	if !of || c.Fragments && !v.fragment {
		return false
	}
	if c.Set|c.Clear != 0 && !v.tiny && (!v.header || v.flags&c.Set != c.Set || v.flags&c.Clear != 0) {
		return false
	}
	if len(c.Ports) == 0 {
		return true
	}
	for _, p := range c.Ports {
		if v.ports && v.port == p {
			return true
		}
	}
	return false
}
