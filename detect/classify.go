package detect

import (
	"fmt"
	"net/netip"
	"slices"
)

// Proto is the protocol that a detector looks at.
type Proto string

// The protocols.
const (
	AnyProto Proto = "any"
	TCP      Proto = "tcp"
	UDP      Proto = "udp"
	ICMP     Proto = "icmp" // ICMPv6 too
)

// Flag is the kind of TCP segment that a detector looks at.
type Flag string

// The kinds of TCP segments.
const (
	AnyFlag Flag = ""
	SYN     Flag = "syn" // SYN without ACK: somebody opens a connection
	ACK     Flag = "ack" // ACK without SYN: part of a connection, or pretends to be
	FIN     Flag = "fin"
	RST     Flag = "rst"
)

// Match describes packets. What is empty fits all.
type Match struct {
	// The protocol. `icmp` includes ICMPv6.
	Proto Proto
	// TCP flags: `syn` (SYN without ACK: a new connection), `ack` (ACK without SYN),
	// `fin` or `rst`. Default: any.
	Flags Flag
	// Destination ports of TCP or UDP. Default: all.
	Ports []uint16
	// `true` counts only IP fragments, the first and the later ones.
	Fragment bool
}

// Check returns what is wrong with m, nil if nothing is.
func (m Match) Check() error {
	switch m.Proto {
	case AnyProto, TCP, UDP, ICMP:
	default:
		return fmt.Errorf("match.proto: got %q; want any, tcp, udp or icmp", string(m.Proto))
	}
	switch m.Flags {
	case AnyFlag, SYN, ACK, FIN, RST:
	default:
		return fmt.Errorf("match.flags: got %q; want syn, ack, fin or rst", string(m.Flags))
	}
	switch {
	case m.Flags != AnyFlag && m.Proto != TCP:
		return fmt.Errorf("match.flags: %s is a matter of TCP; add proto: tcp", m.Flags)
	case len(m.Ports) > 0 && m.Proto != TCP && m.Proto != UDP:
		return fmt.Errorf("match.port: protocol %s has no ports; add proto: tcp or proto: udp", m.Proto)
	case len(m.Ports) > MaxPorts:
		return fmt.Errorf("match.port: %d ports; at most %d", len(m.Ports), MaxPorts)
	case slices.Contains(m.Ports, 0):
		return fmt.Errorf("match.port: got 0; want a number from 1 to 65535")
	case m.Fragment && (m.Flags != AnyFlag || len(m.Ports) > 0):
		return fmt.Errorf("match.fragment: only first fragments have flags and ports; leave out flags and port")
	}
	return nil
}

// Bits of Header.Flags, as in the TCP header.
const (
	FlagFIN uint8 = 0x01
	FlagSYN uint8 = 0x02
	FlagRST uint8 = 0x04
	FlagACK uint8 = 0x10
)

// Numbers of IP protocols.
const (
	protoICMP   = 1
	protoTCP    = 6
	protoUDP    = 17
	protoICMPv6 = 58
)

// Header is what detectors look at of a packet.
type Header struct {
	Source    netip.Addr
	Length    uint32 // whole frame, bytes
	Proto     uint8  // of the transport, past IPv6 extension headers
	Fragment  bool
	Transport bool   // Port, and of TCP Flags, are known: not a later fragment, nor cut short
	Port      uint16 // destination
	Flags     uint8  // of TCP
}

// Classes has bit n set for what the nth detector counts.
type Classes uint16

// Classifier tells which detectors count a packet. It is the model that the
// packet program is held to.
type Classifier struct {
	matches []Match
}

// NewClassifier returns the classifier of the detectors.
func NewClassifier(list []Detector) *Classifier {
	c := new(Classifier)
	for _, d := range list {
		c.matches = append(c.matches, d.Match)
	}
	return c
}

// Classify returns the detectors that count a packet.
func (c *Classifier) Classify(h Header) Classes {
	var classes Classes
	for n := range c.matches {
		if c.matches[n].matches(h) {
			classes |= 1 << n
		}
	}
	return classes
}

func (m *Match) matches(h Header) bool {
	if m.Fragment && !h.Fragment || !m.Proto.matches(h) {
		return false
	}
	if m.Flags == AnyFlag && len(m.Ports) == 0 {
		return true
	}
	return h.Transport && m.Flags.matches(h.Flags) && (len(m.Ports) == 0 || slices.Contains(m.Ports, h.Port))
}

func (p Proto) matches(h Header) bool {
	switch p {
	case TCP:
		return h.Proto == protoTCP
	case UDP:
		return h.Proto == protoUDP
	case ICMP:
		// The other family's number is just an unknown protocol.
		return h.Proto == protoICMP && h.Source.Is4() || h.Proto == protoICMPv6 && h.Source.Is6()
	}
	return true
}

func (f Flag) matches(bits uint8) bool {
	switch f {
	case SYN:
		return bits&(FlagSYN|FlagACK) == FlagSYN
	case ACK:
		return bits&(FlagSYN|FlagACK) == FlagACK
	case FIN:
		return bits&FlagFIN != 0
	case RST:
		return bits&FlagRST != 0
	}
	return true
}
