package replay

import (
	"bytes"
	"encoding/binary"
)

// The headers that may be in front of IP.
const (
	dot1Q      = 0x8100
	dot1AD     = 0x88a8
	qinq1      = 0x9100
	qinq2      = 0x9200
	pppoe      = 0x8864
	mpls       = 0x8847
	mplsMulti  = 0x8848
	minimum    = 0x0600 // of an EtherType; below, the field is a length
	pppoeSize  = 6      // without the protocol of PPP
	snapSize   = 8
	maxTags    = 8  // MAX_VLAN_TAGS in bpf/link.h
	maxLabels  = 30 // MAX_MPLS_LABELS
	noProtocol = 0  // neither IPv4 nor IPv6
)

// parseCarriers moves to the IP header, and returns its EtherType, or another one if there is no
// IP header. It mirrors bpf/link.h.
func parseCarriers(c *cursor, etherType uint16) (uint16, outcome) {
	for _, skip := range []func(*cursor, uint16) (uint16, outcome){parseTags, parseSNAP, parsePPPoE, parseLabels} {
		var out outcome
		if etherType, out = skip(c, etherType); out != counted {
			return 0, out
		}
	}
	return etherType, counted
}

func isTag(etherType uint16) bool {
	return etherType == dot1Q || etherType == dot1AD || etherType == qinq1 || etherType == qinq2
}

func parseTags(c *cursor, etherType uint16) (uint16, outcome) {
	for range maxTags {
		if !isTag(etherType) {
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

func parseSNAP(c *cursor, etherType uint16) (uint16, outcome) {
	if etherType >= minimum || c.wire < snapSize {
		return etherType, counted
	}
	b, out := c.take(snapSize)
	if out != counted {
		return 0, out
	}
	behind := binary.BigEndian.Uint16(b[6:])
	if !bytes.Equal(b[:5], []byte{0xaa, 0xaa, 3, 0, 0}) || b[5] != 0 && b[5] != 0xf8 || isTag(behind) {
		return noProtocol, counted
	}
	return behind, counted
}

func parsePPPoE(c *cursor, etherType uint16) (uint16, outcome) {
	if etherType != pppoe {
		return etherType, counted
	}
	b, out := c.take(pppoeSize + 1)
	if out != counted {
		return 0, out
	}
	proto := uint16(b[pppoeSize])
	if proto&1 == 0 {
		if b, out = c.take(1); out != counted {
			return 0, out
		}
		proto = proto<<8 | uint16(b[0])
	}
	switch proto {
	case 0x21:
		return etherIPv4, counted
	case 0x57:
		return etherIPv6, counted
	case 0x281:
		return mpls, counted
	case 0x283:
		return mplsMulti, counted
	}
	return noProtocol, counted
}

func parseLabels(c *cursor, etherType uint16) (uint16, outcome) {
	if etherType != mpls && etherType != mplsMulti {
		return etherType, counted
	}
	for range maxLabels {
		b, out := c.take(4)
		if out != counted {
			return 0, out
		}
		if bottom := b[2]&1 != 0; bottom {
			return behindLabels(c)
		}
	}
	return noProtocol, counted
}

// behindLabels returns the EtherType by the version of IP, because no label has it.
func behindLabels(c *cursor) (uint16, outcome) {
	switch {
	case c.wire == 0:
		return 0, malformed
	case len(c.data) == 0:
		return 0, cutShort
	}
	etherType, out := versionOf(c)
	if out == notIP {
		return noProtocol, counted
	}
	return etherType, out
}
