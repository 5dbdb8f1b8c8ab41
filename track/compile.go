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
	kindHidden   Kind = 4 // see Packet.Hidden
	kindTiny     Kind = 5 // see Packet.Tiny
)

// Numbers of IP protocols.
const (
	protoICMP   = 1
	protoTCP    = 6
	protoUDP    = 17
	protoICMPv6 = 58
)

// Packet holds the facts of a packet that determine its kind.
type Packet struct {
	Proto    uint8 // number of the transport protocol, after IPv6 extension headers
	Flags    uint8 // of the TCP header
	Header   bool  // the TCP header is there, up to its flags
	Fragment bool
	// Tiny is true for a first fragment that ends before the flags of a TCP header
	// (RFC 1858). No host sends such a fragment of TCP, so it counts as TCP with any flags.
	Tiny bool
	// Hidden is true if the protocol is unknown, because there are more IPv6 extension
	// headers than the program walks, or the packet ends in the middle of them. It could be
	// any packet, so every class counts it.
	Hidden bool
}

// KindOf returns the kind of a packet, like seen_of() in bpf/track.h.
func KindOf(p Packet) Kind {
	k := p.transport()
	if p.Fragment {
		k |= kindFragment
	}
	return k
}

func (p Packet) transport() Kind {
	switch {
	case p.Hidden:
		return kindHidden
	case p.Proto == protoTCP && p.Tiny:
		return kindTiny
	case p.Proto == protoTCP && p.Header:
		return kindHeader | Kind(p.Flags&allFlags)
	case p.Proto == protoTCP:
		return kindTCP
	case p.Proto == protoUDP:
		return kindUDP
	case p.Proto == protoICMP, p.Proto == protoICMPv6:
		return kindICMP
	}
	return 0
}

// wants reports whether c counts packets of a kind, leaving ports aside.
func (c Class) wants(k Kind) bool {
	if k&^kindFragment == kindHidden {
		return true
	}
	if c.Fragments && k&kindFragment == 0 {
		return false
	}
	k &^= kindFragment
	if k == kindTiny {
		return c.Proto == AnyProto || c.Proto == TCP
	}
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
	// A hidden transport may have any port.
	if classes&c.byPort == 0 || k&^kindFragment == kindHidden {
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
