package frame

import (
	"encoding/binary"
	"slices"
)

// EtherTypes of what carries IP on Ethernet.
const (
	PPPoE         uint16 = 0x8864 // session
	MPLS          uint16 = 0x8847
	MPLSMulticast uint16 = 0x8848
	QinQ1         uint16 = 0x9100 // tags of earlier switches
	QinQ2         uint16 = 0x9200
)

// MPLSBottom is the bit of the last label.
const MPLSBottom = 0x100

// A carrier puts a header in front of a payload, and returns the EtherType of the header.
type carrier func(etherType uint16, payload []byte) (uint16, []byte)

func (p Packet) carry(c carrier) Packet {
	p.carriers = append(slices.Clip(p.carriers), c)
	return p
}

// SNAP makes the rest an IEEE 802.3 frame with LLC and SNAP (RFC 1042). oui is 0, or 0xf8 for that of
// IEEE 802.1H.
func (p Packet) SNAP(oui byte) Packet {
	return p.carry(func(etherType uint16, payload []byte) (uint16, []byte) {
		b := []byte{0xaa, 0xaa, 3, 0, 0, oui}
		b = append(binary.BigEndian.AppendUint16(b, etherType), payload...)
		return uint16(len(b)), b
	})
}

// PPPoE puts the rest into a session (RFC 2516). A compressed protocol number has one byte (RFC 1661).
func (p Packet) PPPoE(compressed bool) Packet {
	return p.carry(func(etherType uint16, payload []byte) (uint16, []byte) {
		proto := []byte{0, map[uint16]byte{IPv4: 0x21, IPv6: 0x57}[etherType]}
		switch {
		case etherType == MPLS || etherType == MPLSMulticast:
			proto = []byte{2, byte(0x81 + (etherType-MPLS)*2)} // RFC 3032
		case compressed:
			proto = proto[1:]
		}
		b := binary.BigEndian.AppendUint16([]byte{0x11, 0, 0, 1}, uint16(len(proto)+len(payload)))
		return PPPoE, slices.Concat(b, proto, payload)
	})
}

// Labels puts the rest behind n MPLS labels (RFC 3032).
func (p Packet) Labels(etherType uint16, n int) Packet {
	return p.carry(func(_ uint16, payload []byte) (uint16, []byte) {
		var b []byte
		for i := range n {
			label := uint32(100+i)<<12 | 64
			if i == n-1 {
				label |= MPLSBottom
			}
			b = binary.BigEndian.AppendUint32(b, label)
		}
		return etherType, append(b, payload...)
	})
}
