package detect

import (
	"net/netip"
	"testing"

	"github.com/paraxial/paraxial/track"
)

func TestClassify(t *testing.T) {
	matches := []Match{
		{Proto: AnyProto},
		{Proto: TCP},
		{Proto: TCP, Flags: SYN, Ports: []uint16{80, 443}},
		{Proto: TCP, Flags: ACK},
		{Proto: TCP, Flags: RST},
		{Proto: TCP, Flags: FIN},
		{Proto: UDP},
		{Proto: UDP, Ports: []uint16{53}},
		{Proto: ICMP},
		{Proto: AnyProto, Fragment: true},
		{Proto: UDP, Fragment: true},
	}
	var list []Detector
	for _, m := range matches {
		list = append(list, Detector{Match: m})
	}
	c := NewClassifier(list)
	v4, v6 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	for _, tt := range []struct {
		name string
		h    Header
		want []int
	}{
		{"SYN", Header{Source: v4, Proto: 6, Transport: true, Port: 443, Flags: track.SYN}, []int{0, 1, 2}},
		{"SYN with more flags", Header{Source: v6, Proto: 6, Transport: true, Port: 80, Flags: track.SYN | 0xc0},
			[]int{0, 1, 2}},
		{"SYN to another port", Header{Source: v4, Proto: 6, Transport: true, Port: 22, Flags: track.SYN}, []int{0, 1}},
		{"SYN and ACK", Header{Source: v4, Proto: 6, Transport: true, Port: 443, Flags: track.SYN | track.ACK},
			[]int{0, 1}},
		{"ACK", Header{Source: v4, Proto: 6, Transport: true, Port: 443, Flags: track.ACK}, []int{0, 1, 3}},
		{"RST and ACK", Header{Source: v4, Proto: 6, Transport: true, Port: 443, Flags: track.RST | track.ACK},
			[]int{0, 1, 3, 4}},
		{"FIN and ACK", Header{Source: v4, Proto: 6, Transport: true, Port: 443, Flags: track.FIN | track.ACK},
			[]int{0, 1, 3, 5}},
		{"TCP cut short", Header{Source: v4, Proto: 6}, []int{0, 1}},
		{"no TCP header to look at", Header{Source: v4, Proto: 6, Port: 443, Flags: track.SYN}, []int{0, 1}},
		{"UDP", Header{Source: v4, Proto: 17, Transport: true, Port: 53}, []int{0, 6, 7}},
		{"UDP to another port", Header{Source: v6, Proto: 17, Transport: true, Port: 443}, []int{0, 6}},
		{"first fragment of UDP", Header{Source: v4, Proto: 17, Fragment: true, Transport: true, Port: 53},
			[]int{0, 6, 7, 9, 10}},
		{"later fragment of UDP", Header{Source: v4, Proto: 17, Fragment: true}, []int{0, 6, 9, 10}},
		{"later fragment of TCP", Header{Source: v4, Proto: 6, Fragment: true}, []int{0, 1, 9}},
		{"tiny fragment of TCP", Header{Source: v4, Proto: 6, Fragment: true, Tiny: true, Transport: true, Port: 443},
			[]int{0, 1, 2, 3, 4, 5, 9}},
		{"tiny fragment of TCP to another port",
			Header{Source: v4, Proto: 6, Fragment: true, Tiny: true, Transport: true, Port: 22},
			[]int{0, 1, 3, 4, 5, 9}},
		{"hidden transport", Header{Source: v6, Proto: 60, Hidden: true}, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}},
		{"ICMP", Header{Source: v4, Proto: 1}, []int{0, 8}},
		{"ICMPv6", Header{Source: v6, Proto: 58}, []int{0, 8}},
		{"ICMP's number in IPv6", Header{Source: v6, Proto: 1}, []int{0, 8}},
		{"ICMPv6's number in IPv4", Header{Source: v4, Proto: 58}, []int{0, 8}},
		{"GRE", Header{Source: v4, Proto: 47}, []int{0}},
	} {
		var want DetectorSet
		for _, n := range tt.want {
			want |= 1 << n
		}
		if got := c.Classify(tt.h); got != want {
			t.Errorf("%s: detectors %011b, want %011b", tt.name, got, want)
		}
	}
}
