package daemon

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"

	"github.com/paraxial/paraxial/detect"
	"github.com/paraxial/paraxial/policy"
	"github.com/paraxial/paraxial/tests/lab/frame"
	"github.com/paraxial/paraxial/tests/lab/road"
	"github.com/paraxial/paraxial/track"
)

// kind is a kind of packets. They differ only in their sources, and one detector counts
// them.
type kind struct {
	detector detect.Detector
	frame    []byte
	bits     int        // of a source's prefix
	net      netip.Addr // first address of steady sources
	forgeNet netip.Addr // first address of forged sources
}

// volumeFrame is the length of the frames that are counted in bytes.
const volumeFrame = 1200

// kinds returns the kinds of a mix. The limit of each is recallLimit packets a second, so
// that sampling affects all of them equally.
func kinds(all bool) []kind {
	flood := detect.Default()
	flood.Name, flood.Action, flood.Window, flood.Widen = "flood", detect.Shadow, recallWindow, detect.Widen{}
	flood.Match.Proto, flood.Limit = detect.UDP, policy.Rate{PerSecond: recallLimit, Unit: policy.Packets}
	volume := flood
	volume.Name, volume.Match.Proto = "volume", detect.TCP
	volume.Per = detect.Per{IPv4: 24, IPv6: 48}
	volume.Limit = policy.Rate{PerSecond: recallLimit * volumeFrame, Unit: policy.Bytes}
	to4 := frame.IP(netip.IPv4Unspecified(), netip.MustParseAddr("192.0.2.1"))
	to6 := frame.IP(netip.IPv6Unspecified(), netip.MustParseAddr("2001:db8::1"))
	list := []kind{
		{flood, to4.UDP(1000, 53, nil), 32, netip.MustParseAddr("10.0.0.0"), netip.MustParseAddr("100.64.0.0")},
		{flood, to6.UDP(1000, 53, nil), 64, netip.MustParseAddr("fd00:1::"), netip.MustParseAddr("fd00:2::")},
		{volume, full(to4), 24, netip.MustParseAddr("20.0.0.0"), netip.MustParseAddr("64.0.0.0")},
		{volume, full(to6), 48, netip.MustParseAddr("fd01::"), netip.MustParseAddr("fd80::")},
	}
	if !all {
		return list[:1]
	}
	return list
}

// full returns a TCP frame of volumeFrame bytes.
func full(p frame.Packet) []byte {
	header := p.TCP(1000, 443, track.ACK, nil)
	return p.TCP(1000, 443, track.ACK, make([]byte, volumeFrame-len(header)))
}

// detectorsOf returns the detectors of kinds, each once.
func detectorsOf(list []kind) []detect.Detector {
	var detectors []detect.Detector
	for _, k := range list {
		if n := len(detectors); n == 0 || detectors[n-1].Name != k.detector.Name {
			detectors = append(detectors, k.detector)
		}
	}
	return detectors
}

// prefix returns the nth prefix of steady sources.
func (k kind) prefix(n int) netip.Prefix { return nth(k.net, k.bits, n) }

// forged returns the nth prefix of forged sources.
func (k kind) forged(n int) netip.Prefix { return nth(k.forgeNet, k.bits, n) }

// nth returns the nth prefix of a length, counted from first.
func nth(first netip.Addr, bits, n int) netip.Prefix {
	if first.Is4() {
		b := first.As4()
		binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])+uint32(n)<<(32-bits))
		return netip.PrefixFrom(netip.AddrFrom4(b), bits)
	}
	b := first.As16()
	binary.BigEndian.PutUint64(b[:], binary.BigEndian.Uint64(b[:])+uint64(n)<<(64-bits))
	return netip.PrefixFrom(netip.AddrFrom16(b), bits)
}

// inside draws a random address of a prefix.
func inside(rng *rand.Rand, p netip.Prefix) (s road.Source) {
	if p.Addr().Is4() {
		b := p.Addr().As4()
		host := rng.Uint32() & (1<<(32-p.Bits()) - 1)
		binary.BigEndian.PutUint32(s[:], binary.BigEndian.Uint32(b[:])|host)
		return s
	}
	s = p.Addr().As16()
	high := binary.BigEndian.Uint64(s[:8])
	if p.Bits() < 64 {
		high |= rng.Uint64() & (1<<(64-p.Bits()) - 1)
	}
	binary.BigEndian.PutUint64(s[:8], high)
	binary.BigEndian.PutUint64(s[8:], rng.Uint64())
	return s
}
