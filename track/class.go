package track

import "fmt"

// Proto is the transport protocol of the packets of a class.
type Proto uint8

// The protocols.
const (
	AnyProto Proto = iota
	TCP
	UDP
	ICMP // and ICMPv6
)

// TCP flags, as in the header.
const (
	FIN uint8 = 1 << iota
	SYN
	RST
	PSH
	ACK
	URG
)

const allFlags = FIN | SYN | RST | PSH | ACK | URG

// Class describes the packets that a detector counts, and what it counts. The zero Class
// counts all packets, at level 0.
type Class struct {
	Proto     Proto
	Set       uint8    // TCP flags that must be set
	Clear     uint8    // TCP flags that must be clear
	Fragments bool     // only fragments, the first one included
	Ports     []uint16 // only TCP or UDP packets to these ports; of fragments, only the first has a port
	Bytes     bool     // count bytes of frames instead of packets
	Level     int
}

// Level defines one source by a number of bits of the address.
type Level struct{ IPv4, IPv6 int }

// check returns an error if c is not valid.
func (c Class) check(levels int) error {
	switch {
	case c.Level < 0 || c.Level >= levels:
		return fmt.Errorf("level %d: want a level below %d", c.Level, levels)
	case c.Proto > ICMP:
		return fmt.Errorf("protocol %d: want one from %d to %d", c.Proto, AnyProto, ICMP)
	case (c.Set|c.Clear)&^allFlags != 0:
		return fmt.Errorf("TCP flags %#x: want flags in %#x", c.Set|c.Clear, allFlags)
	case c.Set&c.Clear != 0:
		return fmt.Errorf("TCP flags %#x cannot be both set and clear", c.Set&c.Clear)
	case c.Set|c.Clear != 0 && c.Proto != TCP:
		return fmt.Errorf("TCP flags need the protocol TCP")
	case len(c.Ports) > 0 && c.Proto == ICMP:
		return fmt.Errorf("ICMP has no ports")
	}
	return nil
}

func (l Level) check() error {
	if l.IPv4 < 1 || l.IPv4 > 32 || l.IPv6 < 1 || l.IPv6 > 128 {
		return fmt.Errorf("sources of /%d and /%d: want 1 to 32 bits of IPv4 and 1 to 128 of IPv6", l.IPv4, l.IPv6)
	}
	return nil
}
