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
	header   bool // the transport header is complete
	flags    uint8
	ports    bool
	port     uint16
}

// look examines a frame whose IP header is complete.
func look(b []byte) (v view) {
	etherType, l3, _ := unwrap(b)
	var transport []byte
	var later bool
	if etherType == frame.IPv4 {
		v.proto = l3[9]
		field := binary.BigEndian.Uint16(l3[6:])
		later, v.fragment = field&0x1fff != 0, field&0x3fff != 0
		transport = after(l3, max(20, int(l3[0]%16)*4))
	} else {
		v.proto, transport, v.fragment, later = walk(l3[6], l3[40:])
	}
	switch {
	case later:
	case v.proto == frame.TCP && len(transport) >= 16:
		v.header, v.ports, v.flags = true, true, transport[13]&0x3f
	case v.proto == frame.UDP && len(transport) >= 4:
		v.header, v.ports = true, true
	}
	if v.ports {
		v.port = binary.BigEndian.Uint16(transport[2:])
	}
	return v
}

// wanted reports whether a class asks for such a frame.
func (v view) wanted(c track.Class) bool {
	protos := map[track.Proto][]uint8{track.TCP: {frame.TCP}, track.UDP: {frame.UDP},
		track.ICMP: {frame.ICMP, frame.ICMPv6}}
	of := c.Proto == track.AnyProto
	for _, p := range protos[c.Proto] {
		of = of || v.proto == p
	}
	if !of || c.Fragments && !v.fragment {
		return false
	}
	if c.Set|c.Clear != 0 && (!v.header || v.flags&c.Set != c.Set || v.flags&c.Clear != 0) {
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
