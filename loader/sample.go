package loader

import (
	"fmt"
	"net/netip"
	"unsafe"
)

const (
	samplePort = 1 // SAMPLE_PORT of bpf/track_maps.h
	sampleSize = int(unsafe.Sizeof(plainPacketSample{}))

	// CLASS_FRAGMENT, CLASS_TCP and CLASS_TCP_FLAGS of bpf/track_maps.h.
	classFragment = 0x80
	classTCP      = 0x40
	classTCPFlags = 0x3f
)

// Sample is a random packet of those that pass.
type Sample struct {
	Source    netip.Addr
	Length    uint32 // of the whole frame, in bytes
	Weight    uint32 // how many packets it stands for
	Detectors uint16 // bit i: class i counts such a packet, at its level
	Protocol  uint8  // of the transport, after IPv6 extension headers
	DestPort  uint16 // if HasPort
	HasPort   bool   // TCP or UDP, and the packet has the header
	Flags     uint8  // TCP flags, if HasFlags
	HasFlags  bool   // TCP, and the packet has the header
	Fragment  bool
}

// decodeSample reads struct packet_sample. It uses no reflection, because there may be
// thousands at a time.
func decodeSample(b []byte) (Sample, error) {
	if len(b) != sampleSize {
		return Sample{}, fmt.Errorf("%d bytes long, want %d", len(b), sampleSize)
	}
	var raw plainPacketSample
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&raw)), sampleSize), b)
	s := Sample{
		Length: raw.Length, Weight: raw.Weight, Detectors: raw.Detectors, Protocol: raw.Proto,
		HasPort: raw.Flags&samplePort != 0, HasFlags: raw.Class&classTCP != 0, Fragment: raw.Class&classFragment != 0,
	}
	if s.HasPort {
		s.DestPort = fromNetwork(raw.Dport)
	}
	if s.HasFlags {
		s.Flags = raw.Class & classTCPFlags
	}
	switch raw.Version {
	case 4:
		s.Source = netip.AddrFrom4([4]byte(raw.Src[:4]))
	case 6:
		s.Source = netip.AddrFrom16(raw.Src)
	default:
		return Sample{}, fmt.Errorf("of IP version %d", raw.Version)
	}
	return s, nil
}
