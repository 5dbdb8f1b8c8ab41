package detect

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/paraxial/paraxial/track"
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
	// The protocol. `icmp` is ICMPv6 too.
	Proto Proto
	// Of TCP: `syn` (SYN without ACK: a new connection), `ack` (ACK without SYN),
	// `fin` or `rst`. Without the key all.
	Flags Flag
	// Destination ports, of TCP or UDP. Without the key all.
	Ports []uint16
	// `true` counts IP fragments only, the first and the later ones.
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

// DetectorSet is a set of detectors: bit n stands for the nth of the configuration.
type DetectorSet uint16

// Classifier tells which detectors count a packet. It looks packets up in the
// compiled form that the packet program has of the same detectors.
type Classifier struct {
	compiled track.Compiled
}

// NewClassifier returns the classifier of detectors that CheckAll accepts.
func NewClassifier(list []Detector) *Classifier {
	_, classes := Compile(list)
	return &Classifier{track.Compile(classes)}
}

// Classify returns the detectors that count a packet.
func (c *Classifier) Classify(h Header) DetectorSet {
	kind := track.KindOf(h.Proto, h.Flags, h.Transport, h.Fragment)
	return DetectorSet(c.compiled.Wanted(kind, h.Port, h.Transport))
}
