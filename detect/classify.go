package detect

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/paraxial/paraxial/track"
)

// Proto is the protocol of the packets that a detector counts.
type Proto string

// The protocols.
const (
	AnyProto Proto = "any"
	TCP      Proto = "tcp"
	UDP      Proto = "udp"
	ICMP     Proto = "icmp" // and ICMPv6
)

// Flag is the kind of TCP segments that a detector counts.
type Flag string

// The kinds of TCP segments.
const (
	AnyFlag Flag = ""
	SYN     Flag = "syn" // SYN without ACK: opens a connection
	ACK     Flag = "ack" // ACK without SYN: belongs to a connection, or claims to
	FIN     Flag = "fin"
	RST     Flag = "rst"
)

// Match describes packets. An empty field matches all of them.
type Match struct {
	// The protocol. `icmp` includes ICMPv6.
	Proto Proto
	// The TCP flags: `syn` (SYN without ACK: a new connection), `ack` (ACK without
	// SYN), `fin` or `rst`. Without this key all segments count.
	Flags Flag
	// Destination ports of TCP or UDP. Without this key all ports count.
	Ports []uint16
	// `true` counts only IP fragments, the first one and later ones.
	Fragment bool
}

// Check returns an error if m is not valid.
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
		return fmt.Errorf("match.flags: only TCP has the flag %s; add proto: tcp", m.Flags)
	case len(m.Ports) > 0 && m.Proto != TCP && m.Proto != UDP:
		return fmt.Errorf("match.port: protocol %s has no ports; add proto: tcp or proto: udp", m.Proto)
	case len(m.Ports) > MaxPorts:
		return fmt.Errorf("match.port: %d ports; at most %d", len(m.Ports), MaxPorts)
	case slices.Contains(m.Ports, 0):
		return fmt.Errorf("match.port: got 0; want a number from 1 to 65535")
	case m.Fragment && (m.Flags != AnyFlag || len(m.Ports) > 0):
		return fmt.Errorf("match.fragment: later fragments have no flags or ports; leave out flags and port")
	}
	return nil
}

// Header holds the fields of a packet that detectors use.
type Header struct {
	Source    netip.Addr
	Length    uint32 // of the whole frame, in bytes
	Proto     uint8  // number of the transport protocol, after IPv6 extension headers
	Fragment  bool
	Transport bool   // Port and, for TCP, Flags are known: no later fragment, and not cut short
	Tiny      bool   // see track.Packet; of TCP only Port is known, if Transport is true
	Hidden    bool   // see track.Packet
	Port      uint16 // destination port
	Flags     uint8  // TCP flags
}

// DetectorSet is a set of detectors. Bit n stands for number n of the configuration.
type DetectorSet uint16

// Classifier determines which detectors count a packet. It uses the same compiled
// form of the detectors as the packet program.
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
	return DetectorSet(c.compiled.Wanted(h.kind(), h.Port, h.Transport))
}

func (h Header) kind() track.Kind {
	return track.KindOf(track.Packet{
		Proto: h.Proto, Flags: h.Flags, Header: h.Transport, Fragment: h.Fragment, Tiny: h.Tiny, Hidden: h.Hidden,
	})
}
