package track

// Kind is the kind of a packet, in the eight bits that the program uses: CLASS_FRAGMENT,
// and either CLASS_TCP with the flags of the TCP header or an enum packet_kind. See
// bpf/track_maps.h.
type Kind uint8

const (
	kindFragment Kind = 0x80
	kindHeader   Kind = 0x40 // with a TCP header; the lower bits are its flags
	kindTCP      Kind = 1    // without the header: a later fragment, or cut short
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

// KindOf returns the kind of a packet, like seen_of() in bpf/track.h. Proto is the number
// of the transport protocol, flags are the flags of the TCP header, and header reports
// whether the packet has that header.
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

// Compiled is the form of classes in which the program looks packets up. Bit n of a set
// of classes stands for class n.
type Compiled struct {
	kinds   [256]uint16       // classes that count a kind of packets
	byPort  uint16            // classes that count only some ports
	byBytes uint16            // classes that count bytes
	ports   map[uint16]uint16 // classes that count a port
	levels  [Levels]uint16    // classes of a level
}

// Compile returns the compiled form of classes. Check must accept them.
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

// Wanted returns the classes that count a packet, like detectors_of() in bpf/track.h.
// Known reports whether the packet has a destination port.
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
