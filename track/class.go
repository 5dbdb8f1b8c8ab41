package track

import "fmt"

// Proto is what a class asks of the transport protocol.
type Proto uint8

// The protocols that detectors tell apart.
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

// Class is which packets a detector counts, and what of them. The zero Class
// counts all packets, at level 0.
type Class struct {
	Proto     Proto
	Set       uint8    // TCP flags that are set
	Clear     uint8    // TCP flags that are not set
	Fragments bool     // fragments alone, the first among them
	Ports     []uint16 // TCP or UDP packets to one of these alone; of fragments, the first has the port
	Bytes     bool     // count the bytes of frames, not packets
	Level     int
}

// Level is what counts as one source: so many bits of the address.
type Level struct{ IPv4, IPv6 int }

// check tells what is wrong with a class.
func (c Class) check(levels int) error {
	switch {
	case c.Level < 0 || c.Level >= levels:
		return fmt.Errorf("level %d: there are %d", c.Level, levels)
	case c.Proto > ICMP:
		return fmt.Errorf("protocol %d is none that is told apart", c.Proto)
	case (c.Set|c.Clear)&^allFlags != 0:
		return fmt.Errorf("TCP flags %#x: there are %#x", c.Set|c.Clear, allFlags)
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
