package frame

import "encoding/binary"

// TEB is the EtherType of an Ethernet frame in a tunnel.
const TEB uint16 = 0x6558

// Flags of GRE (RFC 2784, RFC 2890). The fields that they announce have four bytes each.
const (
	GREChecksum uint16 = 0x8000
	GREKey      uint16 = 0x2000
	GRESequence uint16 = 0x1000
)

// InGRE returns the payload of a GRE packet with an Ethernet frame's EtherType and payload, without its
// addresses.
func InGRE(flags uint16, ethernet []byte) []byte {
	return gre(flags, binary.BigEndian.Uint16(ethernet[12:]), ethernet[EthernetSize:])
}

// EthernetInGRE returns the payload of a GRE packet with a whole Ethernet frame.
func EthernetInGRE(flags uint16, ethernet []byte) []byte { return gre(flags, TEB, ethernet) }

func gre(flags, etherType uint16, payload []byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, flags)
	b = binary.BigEndian.AppendUint16(b, etherType)
	for _, field := range []uint16{GREChecksum, GREKey, GRESequence} {
		if flags&field != 0 {
			b = append(b, 0, 0, 0, 0)
		}
	}
	b = append(b, payload...)
	if flags&GREChecksum != 0 {
		binary.BigEndian.PutUint16(b[4:], checksum(0, b))
	}
	return b
}

// InVXLAN returns the payload of UDP with an Ethernet frame (RFC 7348).
func InVXLAN(vni uint32, ethernet []byte) []byte {
	b := binary.BigEndian.AppendUint32([]byte{8, 0, 0, 0}, vni<<8)
	return append(b, ethernet...)
}

// InGeneve returns the payload of UDP with an Ethernet frame behind options of a size that is a
// multiple of four, 252 at most (RFC 8926).
func InGeneve(vni uint32, options int, ethernet []byte) []byte {
	b := []byte{byte(options / 4), 0, byte(TEB >> 8), byte(TEB & 0xff)}
	b = binary.BigEndian.AppendUint32(b, vni<<8)
	for at := 0; at < options; {
		body := min(options-at-4, 124)
		b = append(b, 0xff, 0xff, 1, byte(body/4))
		b = append(b, make([]byte, body)...)
		at += 4 + body
	}
	return append(b, ethernet...)
}
