package replay

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/paraxial/paraxial/tests/lab/frame"
	"github.com/paraxial/paraxial/track"
)

// The captures of these tests have clients that load a page about once a second, with a
// SYN and data, and one source that floods for a part of the time. They are random with a
// fixed seed.

var (
	server    = netip.MustParseAddr("198.51.100.80")
	attacker  = netip.MustParseAddr("203.0.113.7")
	dayOne    = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	synFlag   = track.SYN
	ackFlag   = track.ACK
	shortData = make([]byte, 100)
)

// sent is a frame and when it was sent.
type sent struct {
	at    time.Duration
	frame []byte
}

// traffic returns frames ordered by time.
func traffic(length time.Duration, clients, floodRate int, floodFrom, floodTo time.Duration) []sent {
	rng := rand.New(rand.NewPCG(1, 2))
	var list []sent
	for c := range clients {
		addr := netip.AddrFrom4([4]byte{192, 0, 2, byte(c)})
		p := frame.IP(addr, server)
		pause := func() time.Duration { return time.Duration(rng.ExpFloat64() * float64(time.Second)) }
		for at := time.Duration(rng.Int64N(int64(time.Second))); at < length; at += pause() {
			port := uint16(1024 + rng.IntN(60000))
			list = append(list, sent{at, p.TCP(port, 443, synFlag, nil)})
			for n := range 5 {
				later := at + time.Duration(n+1)*20*time.Millisecond
				list = append(list, sent{later, p.TCP(port, 443, ackFlag, shortData)})
			}
		}
	}
	if floodRate > 0 {
		for at := floodFrom; at < floodTo; at += time.Second / time.Duration(floodRate) {
			port := uint16(1024 + rng.IntN(60000))
			list = append(list, sent{at, frame.IP(attacker, server).TCP(port, 443, synFlag, nil)})
		}
	}
	slices.SortStableFunc(list, func(a, b sent) int { return int(a.at - b.at) })
	return list
}

// pcap returns a capture of Ethernet frames.
func pcap(t *testing.T, list []sent) []byte {
	t.Helper()
	return pcapOf(t, layers.LinkTypeEthernet, list, func(f []byte) []byte { return f })
}

func pcapOf(t *testing.T, link layers.LinkType, list []sent, wrap func([]byte) []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := pcapgo.NewWriterNanos(&b)
	if err := w.WriteFileHeader(65535, link); err != nil {
		t.Fatal(err)
	}
	for _, s := range list {
		f := wrap(s.frame)
		if err := w.WritePacket(infoOf(s.at, f), f); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

func infoOf(at time.Duration, f []byte) gopacket.CaptureInfo {
	return gopacket.CaptureInfo{Timestamp: dayOne.Add(at), CaptureLength: len(f), Length: len(f)}
}

// pcapng returns a capture with the frames on two interfaces in turn, one of Ethernet and
// one of raw IP.
func pcapng(t *testing.T, list []sent) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := pcapgo.NewNgWriter(&b, layers.LinkTypeEthernet)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := w.AddInterface(pcapgo.NgInterface{LinkType: layers.LinkTypeRaw, SnapLength: 0, TimestampResolution: 9})
	if err != nil {
		t.Fatal(err)
	}
	for n, s := range list {
		f := s.frame
		info := infoOf(s.at, f)
		if n%2 == 1 {
			f = withoutEthernet(f)
			info = infoOf(s.at, f)
			info.InterfaceIndex = raw
		}
		if err := w.WritePacket(info, f); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func withoutEthernet(f []byte) []byte { return f[frame.EthernetSize:] }
