package replay

import (
	"encoding/binary"
	"net/netip"

	"github.com/gopacket/gopacket/layers"

	"github.com/paraxial/paraxial/detect"
)

// outcome is what was made of a frame.
type outcome int

const (
	counted   outcome = iota
	notIP             // neither IPv4 nor IPv6, or behind more than two VLAN tags
	malformed         // contradicts itself or is cut short on the wire
	cutShort          // the capture has too little of it
	outgoing          // sent by the host that was captured
)

// Ethernet and IP.
const (
	etherSize = 14
	etherIPv4 = 0x0800
	etherIPv6 = 0x86dd
	dot1Q     = 0x8100
	dot1AD    = 0x88a8
	maxTags   = 2
	ipv4Size  = 20
	ipv6Size  = 40
	// maxExtensions is how many IPv6 extension headers are walked.
	maxExtensions = 8
)

// Protocols and IPv6 extension headers.
const (
	hopByHop    = 0
	tcp         = 6
	udp         = 17
	routing     = 43
	fragment    = 44
	ah          = 51
	destination = 60
)

// cursor goes through what the capture has of a frame, and knows how much of it
// there was on the wire.
type cursor struct {
	data []byte
	wire int // bytes from here to the frame's end
}

// take returns the next n bytes; nil and why if there are not as many.
func (c *cursor) take(n int) ([]byte, outcome) {
	switch {
	case c.wire < n:
		return nil, malformed
	case len(c.data) < n:
		return nil, cutShort
	}
	taken := c.data[:n]
	c.data, c.wire = c.data[n:], c.wire-n
	return taken, counted
}

// supported tells whether frames of a link type can be read.
func supported(link layers.LinkType) bool {
	switch link {
	case layers.LinkTypeEthernet, layers.LinkTypeRaw, rawBSD, rawOpenBSD, layers.LinkTypeIPv4, layers.LinkTypeIPv6,
		layers.LinkTypeLinuxSLL, layers.LinkTypeLinuxSLL2, layers.LinkTypeNull, layers.LinkTypeLoop:
		return true
	}
	return false
}

// Raw IP has other numbers on some systems.
const (
	rawBSD     layers.LinkType = 12
	rawOpenBSD layers.LinkType = 14
)

// parse reads the headers of a frame as the packet program does: the same tags,
// the same extension headers, ports only where they are in this very packet.
func parse(link layers.LinkType, data []byte, wire int) (detect.Header, outcome) {
	c := cursor{data, wire}
	etherType, out := parseLink(&c, link)
	if out != counted {
		return detect.Header{}, out
	}
	var h detect.Header
	// Without a link layer, the length is what it would be on Ethernet.
	length := uint32(wire)
	if link != layers.LinkTypeEthernet {
		length = uint32(c.wire + etherSize)
	}
	switch etherType {
	case etherIPv4:
		h, out = parseIPv4(&c)
	case etherIPv6:
		h, out = parseIPv6(&c)
	default:
		return h, notIP
	}
	h.Length = length
	return h, out
}

// parseLink returns the EtherType of what follows the link layer.
func parseLink(c *cursor, link layers.LinkType) (uint16, outcome) {
	switch link {
	case layers.LinkTypeEthernet:
		b, out := c.take(etherSize)
		if out != counted {
			return 0, out
		}
		return parseTags(c, binary.BigEndian.Uint16(b[12:]))
	case layers.LinkTypeLinuxSLL:
		return parseCooked(c, 16, 0, 14)
	case layers.LinkTypeLinuxSLL2:
		return parseCooked(c, 20, 10, 0)
	case layers.LinkTypeNull, layers.LinkTypeLoop:
		if _, out := c.take(4); out != counted {
			return 0, out
		}
	}
	return versionOf(c)
}

// sentByHost is the packet type of Linux cooked captures for what goes out.
const sentByHost = 4

// parseCooked reads a header of size bytes with the packet type in the last
// byte of two at kind, or in the one at kind itself for SLL2, and the protocol.
func parseCooked(c *cursor, size, kind, proto int) (uint16, outcome) {
	b, out := c.take(size)
	if out != counted {
		return 0, out
	}
	packetType := b[kind]
	if kind == 0 {
		packetType = b[1]
	}
	if packetType == sentByHost {
		return 0, outgoing
	}
	return parseTags(c, binary.BigEndian.Uint16(b[proto:]))
}

func parseTags(c *cursor, etherType uint16) (uint16, outcome) {
	for range maxTags {
		if etherType != dot1Q && etherType != dot1AD {
			break
		}
		b, out := c.take(4)
		if out != counted {
			return 0, out
		}
		etherType = binary.BigEndian.Uint16(b[2:])
	}
	return etherType, counted
}

// versionOf looks at the first half byte of raw IP.
func versionOf(c *cursor) (uint16, outcome) {
	if len(c.data) == 0 {
		return 0, malformed
	}
	switch c.data[0] >> 4 {
	case 4:
		return etherIPv4, counted
	case 6:
		return etherIPv6, counted
	}
	return 0, notIP
}

func parseIPv4(c *cursor) (detect.Header, outcome) {
	room := c.wire
	b, out := c.take(ipv4Size)
	if out != counted {
		return detect.Header{}, out
	}
	size, total := int(b[0]&0xf)*4, int(binary.BigEndian.Uint16(b[2:]))
	// Segmentation offload leaves 0 where the length does not fit.
	if b[0]>>4 != 4 || size < ipv4Size || total != 0 && (total < size || total > room) {
		return detect.Header{}, malformed
	}
	field := binary.BigEndian.Uint16(b[6:])
	h := detect.Header{
		Source:   netip.AddrFrom4([4]byte(b[12:16])),
		Proto:    b[9],
		Fragment: field&0x3fff != 0,
	}
	if field&0x1fff == 0 {
		if _, out := c.take(size - ipv4Size); out == counted {
			parseTransport(c, &h)
		}
	}
	return h, counted
}

func parseIPv6(c *cursor) (detect.Header, outcome) {
	b, out := c.take(ipv6Size)
	if out != counted {
		return detect.Header{}, out
	}
	if b[0]>>4 != 6 || int(binary.BigEndian.Uint16(b[4:])) > c.wire {
		return detect.Header{}, malformed
	}
	h := detect.Header{Source: netip.AddrFrom16([16]byte(b[8:24])).Unmap(), Proto: b[6]}
	if first := walkExtensions(c, &h); first {
		parseTransport(c, &h)
	}
	return h, counted
}

// walkExtensions goes to the transport, and tells whether it is there: not in a
// later fragment, nor beyond what was captured.
func walkExtensions(c *cursor, h *detect.Header) (first bool) {
	for range maxExtensions {
		switch h.Proto {
		case hopByHop, routing, fragment, ah, destination:
		default:
			return true
		}
		b, out := c.take(8)
		if out != counted {
			return false
		}
		rest := int(b[1]) * 8
		switch h.Proto {
		case fragment:
			field := binary.BigEndian.Uint16(b[2:])
			h.Fragment = h.Fragment || field&0xfff9 != 0
			if field&0xfff8 != 0 {
				h.Proto = b[0]
				return false
			}
			rest = 0
		case ah:
			rest = (int(b[1])+2)*4 - 8
		}
		h.Proto = b[0]
		if _, out := c.take(max(rest, 0)); out != counted {
			return false
		}
	}
	return true
}

// parseTransport reads ports and flags where they are.
func parseTransport(c *cursor, h *detect.Header) {
	size := 4
	switch h.Proto {
	case tcp:
		size = 16 // as struct tcp_start of bpf/track.h
	case udp:
	default:
		return
	}
	b, out := c.take(size)
	if out != counted {
		return
	}
	h.Transport = true
	h.Port = binary.BigEndian.Uint16(b[2:])
	if h.Proto == tcp {
		h.Flags = b[13]
	}
}
