package frame

import (
	"encoding/binary"
	"net/netip"
)

// TCP flags.
const (
	FIN uint8 = 1 << iota
	SYN
	RST
	PSH
	ACK
)

// UDP ends the packet with a UDP datagram (RFC 768).
func (p Packet) UDP(source, dest uint16, payload []byte) []byte {
	b := ports(source, dest, 8)
	binary.BigEndian.PutUint16(b[4:], uint16(len(b)+len(payload)))
	b = append(b, payload...)
	sum := p.transportSum(UDP, b)
	if sum == 0 {
		sum = 0xffff // zero would mean that there is no checksum
	}
	binary.BigEndian.PutUint16(b[6:], sum)
	return p.Raw(UDP, b)
}

// TCP ends the packet with a TCP segment without options (RFC 9293).
func (p Packet) TCP(source, dest uint16, flags uint8, payload []byte) []byte {
	b := ports(source, dest, 20)
	b[12], b[13] = 5<<4, flags
	binary.BigEndian.PutUint16(b[14:], 65535)
	b = append(b, payload...)
	binary.BigEndian.PutUint16(b[16:], p.transportSum(TCP, b))
	return p.Raw(TCP, b)
}

// Echo ends the packet with an ICMP or ICMPv6 echo request (RFC 792, RFC 4443).
func (p Packet) Echo(payload []byte) []byte {
	b := append(make([]byte, 8), payload...)
	if p.src.Is4() {
		b[0] = 8
		binary.BigEndian.PutUint16(b[2:], checksum(0, b))
		return p.Raw(ICMP, b)
	}
	b[0] = 128
	binary.BigEndian.PutUint16(b[2:], p.transportSum(ICMPv6, b))
	return p.Raw(ICMPv6, b)
}

// WithPorts ends the packet with a header in which only the ports are set, for protocols such as
// SCTP.
func (p Packet) WithPorts(proto uint8, source, dest uint16, size int) []byte {
	return p.Raw(proto, ports(source, dest, size))
}

func ports(source, dest uint16, size int) []byte {
	b := make([]byte, size)
	binary.BigEndian.PutUint16(b, source)
	binary.BigEndian.PutUint16(b[2:], dest)
	return b
}

// transportSum is the checksum with the pseudo header (RFC 768, RFC 8200 8.1).
func (p Packet) transportSum(proto uint8, b []byte) uint16 {
	sum := add(add(0, p.src.AsSlice()), p.dst.AsSlice())
	return checksum(sum+uint32(proto)+uint32(len(b)), b)
}

// checksum is the Internet checksum (RFC 1071) over b, with the initial value sum.
func checksum(sum uint32, b []byte) uint16 {
	sum = add(sum, b)
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

func add(sum uint32, b []byte) uint32 {
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	return sum
}

// Source returns the source address of an IP frame, behind any VLAN tags, and false if the frame is
// not IP or its base header is incomplete.
func Source(b []byte) (netip.Addr, bool) {
	offset := 12
	for {
		if len(b) < offset+2 {
			return netip.Addr{}, false
		}
		etherType := binary.BigEndian.Uint16(b[offset:])
		switch {
		case etherType == Dot1Q || etherType == Dot1AD:
			offset += TagSize
		case etherType == IPv4 && len(b) >= offset+2+IPv4Size:
			return netip.AddrFrom4([4]byte(b[offset+14:])), true
		case etherType == IPv6 && len(b) >= offset+2+IPv6Size:
			return netip.AddrFrom16([16]byte(b[offset+10:])), true
		default:
			return netip.Addr{}, false
		}
	}
}
