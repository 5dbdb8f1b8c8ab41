package replay

import (
	"encoding/binary"
	"net/netip"

	"github.com/gopacket/gopacket/layers"

	"github.com/paraxial/paraxial/detect"
)

// outcome is the result of parsing a frame.
type outcome int

const (
	counted   outcome = iota
	notIP             // neither IPv4 nor IPv6, or behind more VLAN tags or labels than the program skips
	malformed         // a header contradicts itself or the frame, or was cut short on the wire
	cutShort          // the capture has too few bytes of it
	outgoing          // sent by the captured host
)

// Ethernet and IP.
const (
	etherSize = 14
	etherIPv4 = 0x0800
	etherIPv6 = 0x86dd
	ipv4Size  = 20
	ipv6Size  = 40
	// maxExtensions and maxOffset bound the IPv6 extension headers that are walked.
	maxExtensions = 32     // MAX_IPV6_EXTENSIONS in bpf/parse.h
	maxOffset     = 0x7fff // MAX_TRANSPORT_OFFSET, of the transport in an Ethernet frame
	minHeader     = 8      // of extension headers and transports
	// tcpWithFlags is the size of a first fragment that has the flags of TCP: TCP_WITH_FLAGS.
	tcpWithFlags = 16
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

// cursor is a position in the captured bytes of a frame. It also has the length of the
// frame on the wire.
type cursor struct {
	data []byte
	wire int // bytes from here to the end of the frame on the wire
}

// take returns the next n bytes. If there are fewer, it returns nil and the reason.
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

// trim drops what is behind the next n bytes, which the sender can choose.
func (c *cursor) trim(n int) {
	c.wire = n
	c.data = c.data[:min(len(c.data), n)]
}

// supported reports whether frames of a link type can be parsed.
func supported(link layers.LinkType) bool {
	switch link {
	case layers.LinkTypeEthernet, layers.LinkTypeRaw, rawBSD, rawOpenBSD, layers.LinkTypeIPv4, layers.LinkTypeIPv6,
		layers.LinkTypeLinuxSLL, layers.LinkTypeLinuxSLL2, layers.LinkTypeNull, layers.LinkTypeLoop:
		return true
	}
	return false
}

// Numbers of raw IP on other systems.
const (
	rawBSD     layers.LinkType = 12
	rawOpenBSD layers.LinkType = 14
)

// parse reads the headers of a frame like the packet program: the same VLAN tags and
// other headers before IP, the same extension headers, and ports only if this packet has them.
func parse(link layers.LinkType, data []byte, wire int) (detect.Header, outcome) {
	c := cursor{data, wire}
	etherType, out := parseLink(&c, link)
	if out != counted {
		return detect.Header{}, out
	}
	var h detect.Header
	// Other link types get the length that the frame would have on Ethernet.
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

// parseLink returns the EtherType of the header after the link layer.
func parseLink(c *cursor, link layers.LinkType) (uint16, outcome) {
	switch link {
	case layers.LinkTypeEthernet:
		b, out := c.take(etherSize)
		if out != counted {
			return 0, out
		}
		return parseCarriers(c, binary.BigEndian.Uint16(b[12:]))
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

// sentByHost is the packet type of outgoing packets in Linux cooked captures.
const sentByHost = 4

// parseCooked reads a Linux cooked header of size bytes. The EtherType is at proto. The
// packet type is in two bytes at kind for SLL, which is 0, and in one byte for SLL2.
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
	return parseCarriers(c, binary.BigEndian.Uint16(b[proto:]))
}

// versionOf returns the EtherType by the version in the first four bits of raw IP.
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
	// Segmentation offload sets the length to 0 if it does not fit.
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
		h.Tiny = h.Proto == tcp && h.Fragment && total != 0 && total < size+tcpWithFlags
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
	payload := int(binary.BigEndian.Uint16(b[4:]))
	if b[0]>>4 != 6 || payload > c.wire {
		return detect.Header{}, malformed
	}
	// A jumbogram has no payload length, and ends with the frame.
	if payload > 0 {
		c.trim(payload)
	}
	h := detect.Header{Source: netip.AddrFrom16([16]byte(b[8:24])).Unmap(), Proto: b[6]}
	if first := walkExtensions(c, &h); first {
		parseTransport(c, &h)
	}
	return h, counted
}

// walkExtensions moves to the transport header. It reports false if there is none: in a
// later fragment, or if the capture is too short.
func walkExtensions(c *cursor, h *detect.Header) (first bool) {
	start, out, later := c.wire, counted, false
	far := func() bool { return etherSize+ipv6Size+start-c.wire > maxOffset }
	for n := 0; n < maxExtensions && out == counted && !later && !far() && isExtension(h.Proto); n++ {
		later, out = walkExtension(c, h)
	}
	if out == cutShort {
		return false
	}
	h.Hidden = isExtension(h.Proto) || far()
	if later {
		return false
	}
	room := c.wire
	if out == malformed {
		room = 0
	}
	h.Hidden = h.Hidden || h.Fragment && room < minHeader
	h.Tiny = h.Proto == tcp && h.Fragment && room < tcpWithFlags
	return out == counted && !h.Hidden
}

func isExtension(proto uint8) bool {
	switch proto {
	case hopByHop, routing, fragment, ah, destination:
		return true
	}
	return false
}

// walkExtension moves behind one extension header. It reports whether that is the header
// of a later fragment.
func walkExtension(c *cursor, h *detect.Header) (later bool, out outcome) {
	b, out := c.take(8)
	if out != counted {
		return false, out
	}
	rest := int(b[1]) * 8
	switch h.Proto {
	case fragment:
		field := binary.BigEndian.Uint16(b[2:])
		h.Fragment = h.Fragment || field&0xfff9 != 0
		later, rest = field&0xfff8 != 0, 0
	case ah:
		rest = (int(b[1])+2)*4 - 8
	}
	h.Proto = b[0]
	if later {
		return true, counted
	}
	_, out = c.take(max(rest, 0))
	return false, out
}

// parseTransport reads the destination port and the TCP flags, if they are there.
func parseTransport(c *cursor, h *detect.Header) {
	size := 4
	switch h.Proto {
	case tcp:
		if !h.Tiny {
			size = tcpWithFlags
		}
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
	if h.Proto == tcp && !h.Tiny {
		h.Flags = b[13]
	}
}
