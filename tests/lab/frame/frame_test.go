package frame_test

import (
	"encoding/hex"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/paraxial/paraxial/tests/lab/frame"
)

// The expected frames and checksums are written by hand. The lab's own test shows that the kernel
// accepts the frames built here.
func TestFramesByteForByte(t *testing.T) {
	a := netip.MustParseAddr
	v4 := frame.IP(a("192.0.2.1"), a("198.51.100.2"))
	v6 := frame.IP(a("2001:db8::1"), a("2001:db8::2"))
	const macs = "020000000001" + "020000000002"
	const addrs6 = "20010db8000000000000000000000001" + "20010db8000000000000000000000002"
	for _, c := range []struct {
		name  string
		frame []byte
		want  string
	}{
		{"IPv4, UDP", v4.UDP(1, 2, []byte{0xab}),
			macs + "0800" + "4500001d0000000040118e99" + "c0000201c6336402" + "00010002000968a1" + "ab"},
		{"two tags, IPv4 options, fragment", v4.VLAN(frame.Dot1AD, 5).VLAN(frame.Dot1Q, 0xfff).Options(7).Fragment(8,
			true).Raw(99, nil),
			macs + "88a80005" + "81000fff" + "0800" + "46000018" + "00002001" + "4063664b" + "c0000201c6336402" +
				"07000000"},
		{"IPv6, chain of headers", v6.Extension(frame.HopByHop, 8).Extension(frame.AH, 12).Fragment(16,
			false).Raw(frame.NoNextHeader, nil),
			macs + "86dd" + "60000000001c0040" + addrs6 + "3300010400000000" + "2c0100000000000000000000" +
				"3b000010feedbeef"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, hex.EncodeToString(c.frame)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestSource(t *testing.T) {
	for _, src := range []string{"192.0.2.1", "2001:db8::1"} {
		a := netip.MustParseAddr(src)
		b := frame.IP(a, a).VLAN(frame.Dot1Q, 1).VLAN(frame.Dot1Q, 2).VLAN(frame.Dot1AD, 3).Raw(frame.ESP, nil)
		if got, ok := frame.Source(b); !ok || got != a {
			t.Errorf("source of a frame from %s: got %s, %t", a, got, ok)
		}
		for n := range b {
			if got, ok := frame.Source(b[:n]); ok {
				t.Errorf("source of %d bytes of a frame from %s: got %s", n, a, got)
			}
		}
	}
	if got, ok := frame.Source(frame.Of(frame.MAC{}, frame.MAC{}, frame.ARP, make([]byte, 28))); ok {
		t.Errorf("source of ARP: got %s", got)
	}
}
