package replay

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"

	"github.com/paraxial/paraxial/detect"
	"github.com/paraxial/paraxial/policy"
	"github.com/paraxial/paraxial/tests/lab/frame"
	"github.com/paraxial/paraxial/tests/testenv"
)

func synFlood() detect.Detector {
	d := detect.Default()
	d.Name, d.Match = "syn-flood", detect.Match{Proto: detect.TCP, Flags: detect.SYN}
	d.Limit, d.Action, d.For = policy.Rate{PerSecond: 200, Unit: policy.Packets}, detect.Block, time.Minute
	return d
}

func options(list ...detect.Detector) Options {
	return Options{Detectors: list, MaxBans: 1000}
}

func mustRun(t *testing.T, data []byte, o Options) Result {
	t.Helper()
	r, err := Run(bytes.NewReader(data), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func decided(r Result) string {
	var s string
	for _, d := range r.Decisions {
		after := d.Time.Sub(r.Summary.First).Round(time.Millisecond)
		s += fmt.Sprintf("%s %s %s %s;", after, d.word(), d.Prefix, d.Evidence)
	}
	return s
}

func TestFlood(t *testing.T) {
	list := traffic(30*time.Second, 50, 1000, 5*time.Second, 15*time.Second)
	first := list[0].at
	r := mustRun(t, pcap(t, list), options(synFlood()))
	if len(r.Decisions) != 1 {
		t.Fatalf("decisions: %s", decided(r))
	}
	d := r.Decisions[0]
	if d.Prefix.Addr() != attacker || d.Action != detect.Block ||
		d.Evidence.Limit.PerSecond != 200 || fmt.Sprint(d.Evidence.Ports) != "[443]" {
		t.Errorf("decision %+v", d)
	}
	if after := d.Time.Sub(dayOne) - 5*time.Second; after < time.Second || after > 1500*time.Millisecond {
		t.Errorf("decided %s after the flood began, want a second and two ticks at most", after)
	}
	s := r.Summary
	if s.Packets != uint64(len(list)) || s.Counted+s.Dropped != s.Packets || s.Dropped < 8500 || s.Dropped > 9000 {
		t.Errorf("summary %+v", s)
	}
	if !s.First.Equal(dayOne.Add(first)) {
		t.Errorf("it begins at %s", s.First)
	}
}

func TestQuietTraffic(t *testing.T) {
	r := mustRun(t, pcap(t, traffic(30*time.Second, 50, 140, 0, 30*time.Second)), options(synFlood()))
	if len(r.Decisions) != 0 {
		t.Errorf("decisions: %s", decided(r))
	}
}

func TestBanIsExtendedWhileTheFloodLasts(t *testing.T) {
	r := mustRun(t, pcap(t, traffic(200*time.Second, 5, 1000, 5*time.Second, 100*time.Second)), options(synFlood()))
	if len(r.Decisions) != 2 || r.Decisions[1].Kind != detect.Extended {
		t.Errorf("decisions: %s", decided(r))
	}
}

func TestLimitLetsTheLimitPass(t *testing.T) {
	d := synFlood()
	d.Action = detect.Limit
	r := mustRun(t, pcap(t, traffic(40*time.Second, 0, 2000, 0, 40*time.Second)), options(d))
	if len(r.Decisions) != 1 {
		t.Errorf("decisions: %s", decided(r))
	}
	// One second of the flood until the decision, then 200/s, and the burst.
	if c := r.Summary.Counted; c < 39*200+1000 || c > 40*200+2000 {
		t.Errorf("%d passed", c)
	}
}

// TestSameTwice checks that the same packets give the same output in every file format.
func TestSameTwice(t *testing.T) {
	list := traffic(30*time.Second, 50, 1000, 5*time.Second, 15*time.Second)
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	if _, err := z.Write(pcap(t, list)); err != nil {
		t.Fatal(err)
	}
	z.Close()
	cooked := func(f []byte) []byte {
		head := make([]byte, 16)
		copy(head[14:], f[12:14])
		return append(head, withoutEthernet(f)...)
	}
	cooked2 := func(f []byte) []byte {
		head := make([]byte, 20)
		copy(head, f[12:14])
		return append(head, withoutEthernet(f)...)
	}
	d := synFlood()
	bytesToo := synFlood()
	bytesToo.Name, bytesToo.Limit = "bytes", policy.Rate{PerSecond: 10_000, Unit: policy.Bytes}
	o := options(d, bytesToo)
	var want string
	for _, tt := range []struct {
		name string
		data []byte
	}{
		{"pcap", pcap(t, list)},
		{"pcap again", pcap(t, list)},
		{"pcap, gzipped", zipped.Bytes()},
		{"pcapng, of two link types", pcapng(t, list)},
		{"raw IP", pcapOf(t, layers.LinkTypeRaw, list, withoutEthernet)},
		{"IPv4", pcapOf(t, layers.LinkTypeIPv4, list, withoutEthernet)},
		{"Linux cooked", pcapOf(t, layers.LinkTypeLinuxSLL, list, cooked)},
		{"Linux cooked 2", pcapOf(t, layers.LinkTypeLinuxSLL2, list, cooked2)},
	} {
		r := mustRun(t, tt.data, o)
		var b bytes.Buffer
		if err := r.WriteJSON(&b); err != nil {
			t.Fatal(err)
		}
		if err := r.WriteTable(&b); err != nil {
			t.Fatal(err)
		}
		if want == "" {
			want = b.String()
		}
		if b.String() != want {
			t.Errorf("%s gives\n%s\nthe first gave\n%s", tt.name, b.String(), want)
		}
	}
	if strings.Count(want, `"kind": "new"`) != 2 {
		t.Errorf("not both detectors decided:\n%s", want)
	}
}

func TestCutShortFile(t *testing.T) {
	list := traffic(30*time.Second, 5, 1000, time.Second, 5*time.Second)
	whole := pcap(t, list)
	n := 3000
	at := 24
	for _, s := range list[:n] {
		at += 16 + len(s.frame)
	}
	ng := pcapng(t, list)
	cut := func(at int) string {
		return fmt.Sprintf("cut short at byte %d, after packet 3000, of 2026-03-01T12:00:0", at)
	}
	for _, tt := range []struct {
		name string
		data []byte
		want string
	}{
		{"inside a packet", whole[:at+30], cut(at + 30)},
		{"inside a packet's header", whole[:at+3], cut(at + 3)},
		{"between header and data", whole[:at+16], cut(at + 16)},
		{"pcapng", ng[:len(ng)/2-5], fmt.Sprintf("cut short at byte %d, after packet ", len(ng)/2-5)},
		{"damaged", append(append([]byte{}, whole[:at]...), bytes.Repeat([]byte{0xff}, 64)...),
			"damaged after packet 3000, of 2026-03-01T12:00:0"},
	} {
		r, err := Run(bytes.NewReader(tt.data), options(synFlood()))
		const rest = "the packets before it were replayed"
		if got := fmt.Sprint(err); !strings.HasPrefix(got, tt.want) || !strings.HasSuffix(got, rest) {
			t.Errorf("%s: error %v, want %q first", tt.name, err, tt.want)
		}
		if len(r.Decisions) != 1 {
			t.Errorf("%s: decisions: %s", tt.name, decided(r))
		}
	}
	if _, err := Run(bytes.NewReader(whole[:at]), options(synFlood())); err != nil {
		t.Errorf("a capture that ends after a packet: %v", err)
	}
}

// TestLastTick has a capture that ends before the first tick.
func TestLastTick(t *testing.T) {
	r := mustRun(t, pcap(t, traffic(time.Second, 0, 10_000, 0, 200*time.Millisecond)), options(synFlood()))
	if len(r.Decisions) != 1 {
		t.Errorf("decisions: %s", decided(r))
	}
}

func TestNotACapture(t *testing.T) {
	for name, data := range map[string]string{
		"empty": "", "text": "hello, this is no capture at all", "short": "\xd4\xc3\xb2\xa1", "gzip": "\x1f\x8b\x08",
	} {
		r, err := Run(strings.NewReader(data), options(synFlood()))
		if err == nil || r.Summary.Packets > 0 {
			t.Errorf("%s: %+v, %v", name, r.Summary, err)
		}
	}
	wireless := pcapOf(t, layers.LinkTypeIEEE802_11, traffic(time.Second, 2, 0, 0, 0), withoutEthernet)
	_, err := Run(bytes.NewReader(wireless), options(synFlood()))
	if err == nil || !strings.Contains(err.Error(), "link type") {
		t.Errorf("a capture of another link type: %v", err)
	}
	r := mustRun(t, pcap(t, nil), options(synFlood()))
	var b bytes.Buffer
	if err := r.WriteTable(&b); err != nil || !strings.Contains(b.String(), "no packets") {
		t.Errorf("an empty capture: %v\n%s", err, b.String())
	}
}

// TestOddPackets has malformed packets among others. They are counted as malformed, and
// nothing else happens.
func TestOddPackets(t *testing.T) {
	p := frame.IP(attacker, server)
	good := p.TCP(1, 443, synFlag, nil)
	change := func(at int, value byte) []byte {
		f := bytes.Clone(good)
		f[at] = value
		return f
	}
	odd := [][]byte{
		good[:10],                            // no whole Ethernet header
		good[:20],                            // no whole IP header
		change(14, 0x44),                     // a header of 16 bytes
		change(14, 0x65),                     // IPv6 in the frame of IPv4
		change(16, 0xff),                     // longer than the frame
		frame.IP(v6, v6).UDP(1, 2, nil)[:50], // IPv6 cut short on the wire
	}
	var list []sent
	for n, f := range odd {
		list = append(list, sent{time.Duration(n), f})
	}
	list = append(list,
		sent{10, frame.Of(frame.MAC{}, frame.MAC{}, frame.ARP, make([]byte, 28))},
		sent{11, nest(p, 9).UDP(1, 2, nil)},
		sent{12, good})
	s := mustRun(t, pcap(t, list), options(synFlood())).Summary
	if s.Malformed != uint64(len(odd)) || s.NotIP != 2 || s.Counted != 1 || s.Packets != uint64(len(list)) {
		t.Errorf("summary %+v", s)
	}
}

func TestLocalAndSpared(t *testing.T) {
	data := pcap(t, traffic(10*time.Second, 0, 1000, 0, 10*time.Second))
	o := options(synFlood())
	o.Local = []netip.Prefix{netip.PrefixFrom(attacker, 32)}
	if r := mustRun(t, data, o); len(r.Decisions) != 0 || r.Summary.Outgoing != r.Summary.Packets {
		t.Errorf("%+v, decisions: %s", r.Summary, decided(r))
	}
	o = options(synFlood())
	o.Exempt = func(netip.Prefix) (string, bool) { return "it is ours", true }
	r := mustRun(t, data, o)
	if len(r.Decisions) != 0 || len(r.Spared) != 1 || r.Spared[0].Reason != "it is ours" {
		t.Errorf("spared %+v, decisions: %s", r.Spared, decided(r))
	}
	outgoing := pcapOf(t, layers.LinkTypeLinuxSLL, traffic(time.Second, 5, 0, 0, 0), func(f []byte) []byte {
		return append([]byte{0, sentByHost, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0}, withoutEthernet(f)...)
	})
	if s := mustRun(t, outgoing, options(synFlood())).Summary; s.Outgoing != s.Packets {
		t.Errorf("of Linux cooked packets that went out: %+v", s)
	}
}

// TestGaps has a flood, 300 days without a packet, and another flood.
func TestGaps(t *testing.T) {
	list := traffic(10*time.Second, 5, 1000, 0, 5*time.Second)
	for _, s := range traffic(10*time.Second, 5, 1000, 0, 5*time.Second) {
		list = append(list, sent{s.at + 300*24*time.Hour, s.frame})
	}
	start := testenv.CPUTime(t)
	r := mustRun(t, pcap(t, list), options(synFlood()))
	if len(r.Decisions) != 2 {
		t.Errorf("decisions: %s", decided(r))
	}
	took := testenv.CPUTime(t) - start
	t.Logf("took %s of processor time", took)
	if took > 5*time.Second {
		t.Errorf("took %s of processor time, as if every tick of the gap had been gone through", took)
	}
}

// TestSlotsAreReleased has many sources, of which few send at the same time.
func TestSlotsAreReleased(t *testing.T) {
	var list []sent
	for n := range 20_000 {
		a := netip.AddrFrom4([4]byte{10, 1, byte(n >> 8), byte(n)})
		at := time.Duration(n) * 5 * time.Millisecond
		list = append(list, sent{at, frame.IP(a, server).TCP(1, 443, synFlag, nil)})
	}
	var result Result
	p := newRun(options(synFlood()), &result)
	c, err := openCapture(bytes.NewReader(pcap(t, list)))
	if err != nil {
		t.Fatal(err)
	}
	for range list {
		packet, err := c.next()
		if err != nil {
			t.Fatal(err)
		}
		p.packet(packet)
	}
	if n := len(p.tracker.counts); n > 2000 {
		t.Errorf("%d slots for 200 sources a second, and a window of 5 seconds", n)
	}
	if result.Summary.Sources != 20_000 || len(result.Decisions) != 0 {
		t.Errorf("summary %+v", result.Summary)
	}
}

// nest puts n tags of VLAN 0 in front of a packet.
func nest(p frame.Packet, n int) frame.Packet {
	for range n {
		p = p.VLAN(frame.Dot1Q, 0)
	}
	return p
}
