package track

// Kind is a kind of packets in the eight bits by which the program tells packets
// apart: CLASS_FRAGMENT, and either CLASS_TCP with the flags of the TCP header or
// an enum packet_kind of bpf/track_maps.h.
type Kind uint8

const (
	kindFragment Kind = 0x80
	kindHeader   Kind = 0x40 // a TCP header, whose flags are in the bits below
	kindTCP      Kind = 1    // without its header: a later fragment, or cut short
	kindUDP      Kind = 2
	kindICMP     Kind = 3
)

// Numbers of IP protocols.
const (
	protoICMP   = 1
	protoTCP    = 6
	protoUDP    = 17
	protoICMPv6 = 58
)

// KindOf returns the kind of a packet by the number of its transport protocol, as
// seen_of() of bpf/track.h does. The flags are those of the TCP header; header tells
// whether the packet has one.
func KindOf(proto, flags uint8, header, fragment bool) Kind {
	var k Kind
	switch {
	case proto == protoTCP && header:
		k = kindHeader | Kind(flags&allFlags)
	case proto == protoTCP:
		k = kindTCP
	case proto == protoUDP:
		k = kindUDP
	case proto == protoICMP, proto == protoICMPv6:
		k = kindICMP
	}
	if fragment {
		k |= kindFragment
	}
	return k
}

// wants reports whether c counts packets of a kind, leaving ports aside.
func (c Class) wants(k Kind) bool {
	if c.Fragments && k&kindFragment == 0 {
		return false
	}
	k &^= kindFragment
	if k&kindHeader != 0 {
		flags := uint8(k)
		return (c.Proto == AnyProto || c.Proto == TCP) && c.Set&^flags == 0 && c.Clear&flags == 0
	}
	if c.Set|c.Clear != 0 {
		return false
	}
	switch c.Proto {
	case TCP:
		return k == kindTCP
	case UDP:
		return k == kindUDP
	case ICMP:
		return k == kindICMP
	}
	return k <= kindICMP
}

// Compiled is the form of classes in which the program looks packets up. In its
// sets of classes, bit n stands for class n.
type Compiled struct {
	kinds   [256]uint16       // classes that count a kind of packets
	byPort  uint16            // classes that count certain ports only
	byBytes uint16            // classes that count bytes
	ports   map[uint16]uint16 // classes that count a port
	levels  [Levels]uint16    // classes of a level
}

// Compile returns the compiled form of classes that Check accepts.
func Compile(classes []Class) Compiled {
	c := Compiled{ports: make(map[uint16]uint16)}
	for n, class := range classes {
		bit := uint16(1) << n
		c.levels[class.Level] |= bit
		if class.Bytes {
			c.byBytes |= bit
		}
		if len(class.Ports) > 0 {
			c.byPort |= bit
		}
		for _, p := range class.Ports {
			c.ports[p] |= bit
		}
		for k := range c.kinds {
			if class.wants(Kind(k)) {
				c.kinds[k] |= bit
			}
		}
	}
	return c
}

// Wanted returns the classes that count a packet, as detectors_of() of bpf/track.h
// does. The port is the destination port; known tells whether the packet has one.
func (c *Compiled) Wanted(k Kind, port uint16, known bool) uint16 {
	classes := c.kinds[k]
	if classes&c.byPort == 0 {
		return classes
	}
	var ports uint16
	if known {
		ports = c.ports[port]
	}
	return classes & (^c.byPort | ports)
}

// write puts the classes into the control and the table of ports.
func (c *Compiled) write(control *Control, ports []uint16) {
	control.Classes, control.ByBytes, control.ByPort = c.kinds, uint32(c.byBytes), uint32(c.byPort)
	for l := range control.Levels {
		control.Levels[l].Detectors = uint32(c.levels[l])
	}
	clear(ports)
	for port, classes := range c.ports {
		ports[port] = classes
	}
}
