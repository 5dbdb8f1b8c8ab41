package program_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/cilium/ebpf/ringbuf"
	"github.com/google/go-cmp/cmp"

	"github.com/paraxial/paraxial/tests/inner"
	"github.com/paraxial/paraxial/tests/lab/frame"
	"github.com/paraxial/paraxial/track"
)

const trackCapacity = 1000

// accounting is a filter with accounting on.
type accounting struct {
	*filter
	table   *track.Table
	control []byte
	samples *ringbuf.Reader
}

var (
	levels = []track.Level{{IPv4: 32, IPv6: 64}, {IPv4: 24, IPv6: 48}}

	// One class for each thing that a detector can ask for.
	classes = []track.Class{
		{},
		{Bytes: true},
		{Proto: track.TCP},
		{Proto: track.TCP, Set: track.SYN, Clear: track.ACK},
		{Proto: track.TCP, Set: track.RST},
		{Proto: track.UDP},
		{Proto: track.ICMP},
		{Fragments: true},
		{Ports: []uint16{53, 443}},
		{Proto: track.TCP, Ports: []uint16{0, 443, 65535}, Bytes: true},
		{Level: 1},
		{Proto: track.UDP, Bytes: true, Level: 1},
	}
)

func (f *filter) account(levels []track.Level, classes []track.Class) *accounting {
	f.tb.Helper()
	a := &accounting{filter: f}
	var lines []byte
	a.control, lines, a.samples = inner.Tracking(f.tb, f.spec, f.maps)
	a.samples.SetDeadline(time.Unix(1, 0))
	table, err := track.New(a.control, lines, trackCapacity)
	if err != nil {
		f.tb.Fatal(err)
	}
	a.table = table
	if err := table.Configure(levels, classes); err != nil {
		f.tb.Fatal(err)
	}
	return a
}

func (a *accounting) track(level int, source string) {
	a.tb.Helper()
	if _, err := a.table.Track(level, netip.MustParsePrefix(source)); err != nil {
		a.tb.Fatal(err)
	}
}

// trackSource tracks the source of a family that is on a list, at both levels.
func (a *accounting) trackSource(address string) {
	a.tb.Helper()
	addr := netip.MustParseAddr(address)
	for level, l := range levels {
		bits := l.IPv6
		if addr.Is4() {
			bits = l.IPv4
		}
		a.track(level, netip.PrefixFrom(addr, bits).Masked().String())
	}
}

// counted holds the counters of tracked sources at each level.
type counted map[string][track.Detectors]uint32

func (a *accounting) counts() counted {
	c := counted{}
	a.table.Counts(func(_ uint32, level int, source netip.Prefix, counters *[track.Detectors]uint32) {
		if *counters != [track.Detectors]uint32{} {
			c[fmt.Sprintf("%s at %d", source, level)] = *counters
		}
	})
	return c
}

// add counts a frame of a tracked source as the reference does.
func (c counted) add(b []byte) { c.addLength(b, len(b)) }

// addLength counts a frame with another length than its own.
func (c counted) addLength(b []byte, length int) {
	etherType, l3, _ := unwrap(b)
	source, _ := readSource(etherType, l3)
	seen := look(b)
	for level, l := range levels {
		bits := map[bool]int{true: l.IPv4, false: l.IPv6}[source.Is4()]
		name := fmt.Sprintf("%s at %d", netip.PrefixFrom(source, bits).Masked(), level)
		counters := c[name]
		for i, class := range classes {
			if class.Level != level || !seen.wanted(class) {
				continue
			}
			if class.Bytes {
				counters[i] += uint32(length)
			} else {
				counters[i]++
			}
		}
		if counters != [track.Detectors]uint32{} {
			c[name] = counters
		}
	}
}

// Each packet of the corpus from each source is counted at both levels if its source is on no list,
// only shadowed, or under its limit, and otherwise not at all.
func TestAccountsCorpus(t *testing.T) {
	eachBuild(t, func(t *testing.T, f *filter) {
		f.listSources()
		a := f.account(levels, classes)
		a.table.SetSampling(1)
		for _, corpus := range corpora {
			for _, address := range corpus.sources {
				a.trackSource(address)
			}
			for _, p := range append(corpus.packets, accountPackets...) {
				for source, address := range corpus.sources {
					b := p.build(start(address))
					want, wantSamples := a.counts(), []sampled(nil)
					if r := p.want(source); r == notListed || r == shadowed || r == underLimit {
						want.add(b)
						wantSamples = []sampled{sampleOf(b, 1)}
					}
					f.run(b)
					name := fmt.Sprintf("%s %s from a source that is %s", corpus.name, p.name, source)
					if diff := cmp.Diff(want, a.counts()); diff != "" {
						t.Errorf("%s: counters (-want +got):\n%s", name, diff)
					}
					if diff := cmp.Diff(wantSamples, a.takeSamples(), equateAddr); diff != "" {
						t.Errorf("%s: samples (-want +got):\n%s", name, diff)
					}
				}
			}
		}
	})
}

// accountPackets are packets that detectors tell apart and that the corpus does not contain.
var accountPackets = []packet{
	{name: "SYN and ACK", build: func(p frame.Packet) []byte { return p.TCP(1, 443, frame.SYN|frame.ACK, nil) }},
	{name: "RST", build: func(p frame.Packet) []byte { return p.TCP(1, 65535, frame.RST, nil) }},
	{name: "FIN to port 0", build: func(p frame.Packet) []byte { return p.TCP(1, 0, frame.FIN, nil) }},
	{name: "a port beside", build: func(p frame.Packet) []byte { return p.TCP(443, 442, frame.SYN, nil) }},
	{name: "UDP to 53", build: func(p frame.Packet) []byte { return p.UDP(1, 53, nil) }},
	{name: "fragment of a TCP SYN", build: func(p frame.Packet) []byte {
		return p.Fragment(0, true).TCP(1, 443, frame.SYN,
			nil)
	}},
	{name: "later fragment of TCP", build: func(p frame.Packet) []byte {
		return p.Fragment(64, false).TCP(1, 443,
			frame.SYN, nil)
	}},
	{name: "first fragment that ends before the flags", build: func(p frame.Packet) []byte {
		return p.Fragment(0, true).Raw(frame.TCP, []byte{0, 1, 1, 187, 0, 0, 0, 0})
	}},
	{name: "first fragment of ports alone", build: func(p frame.Packet) []byte {
		return p.Fragment(0, true).Raw(frame.TCP, []byte{0, 1, 1, 187})
	}},
	{name: "first fragment that ends before the flags, and padding", build: func(p frame.Packet) []byte {
		return append(p.Fragment(0, true).Raw(frame.TCP, []byte{0, 1, 1, 187, 0, 0, 0, 0}), make([]byte, 30)...)
	}},
	{name: "first fragment of 14 bytes, of which Linux keeps 8", build: func(p frame.Packet) []byte {
		return p.Fragment(0, true).Raw(frame.TCP, []byte{0, 1, 1, 187, 0, 0, 0, 0, 0, 0, 0, 0, 80, 16})
	}},
	{name: "first fragment of 16 bytes", build: func(p frame.Packet) []byte {
		return p.Fragment(0, true).Raw(frame.TCP, []byte{0, 1, 1, 187, 0, 0, 0, 0, 0, 0, 0, 0, 80, 16, 0, 0})
	}},
	{name: "behind eight tags", build: func(p frame.Packet) []byte {
		return patch(tagged(8)(p), 12, 0x88, 0xa8)
	}},
	{name: "TCP cut short", build: func(p frame.Packet) []byte {
		return p.Raw(frame.TCP, []byte{0, 1, 1, 187, 0, 0, 0, 0, 0, 0, 0, 0, 80, 2})
	}},
	{name: "UDP cut short", build: func(p frame.Packet) []byte { return p.Raw(frame.UDP, []byte{0, 1, 0}) }},
	{name: "behind two tags", build: func(p frame.Packet) []byte {
		return p.VLAN(frame.Dot1AD, 1).VLAN(frame.Dot1Q, 2).TCP(1, 443, frame.SYN, nil)
	}},
}

// A source that is tracked at one level, or in one family, is counted only there.
func TestCountsOnlyWhatIsTracked(t *testing.T) {
	eachBuild(t, func(t *testing.T, f *filter) {
		a := f.account(levels, classes)
		a.track(0, "10.0.0.1/32")
		a.track(1, "10.0.1.0/24")
		a.track(0, "a00:1::/64") // the same bytes as 10.0.0.1
		a.track(1, "2001:db8::/48")
		for _, src := range []string{
			"10.0.0.1", "10.0.0.1", "10.0.0.2", "10.0.1.7", "10.0.1.8", "10.0.2.1",
			"a00:1::9", "a00:1:0:1::", "2001:db8:0:1::1", "2001:db8::", "2001:db8:1::",
		} {
			f.run(start(src).Echo(nil))
		}
		want := map[string]uint32{"10.0.0.1/32 at 0": 2, "10.0.1.0/24 at 1": 2, "a00:1::/64 at 0": 1,
			"2001:db8::/48 at 1": 2}
		got := map[string]uint32{}
		for name, counters := range a.counts() {
			got[name] = counters[0] + counters[10] // all packets, at both levels
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("packets (-want +got):\n%s", diff)
		}
	})
}

// A single address is counted beside the source that contains it, by the detectors of that
// source, and only while both are tracked.
func TestCountsSingleAddresses(t *testing.T) {
	eachBuild(t, func(t *testing.T, f *filter) {
		a := f.account(levels, []track.Class{{}, {Level: 1}, {Proto: track.TCP}})
		sources := []string{"2001:db8::", "2001:db8::", "2001:db8::1", "2001:db8::2", "10.1.1.1", "10.1.1.1",
			"10.1.1.2"}
		send := func() {
			for _, src := range sources {
				f.run(start(src).Echo(nil))
			}
		}
		counts := func() map[string][3]uint32 {
			got := map[string][3]uint32{}
			for name, c := range a.counts() {
				got[name] = [3]uint32(c[:3])
			}
			return got
		}
		a.track(track.Single, "2001:db8::/128") // its bytes are those of the /64
		a.track(track.Single, "2001:db8::1/128")
		a.track(track.Single, "10.1.1.1/32")
		send()
		if got := counts(); len(got) > 0 {
			t.Errorf("counted without the sources that contain them: %v", got)
		}
		a.track(0, "2001:db8::/64")
		a.track(1, "10.1.1.0/24")
		send()
		want := map[string][3]uint32{
			"2001:db8::/64 at 0": {4}, "2001:db8::/128 at 2": {2}, "2001:db8::1/128 at 2": {1},
			"10.1.1.0/24 at 1": {0, 3}, "10.1.1.1/32 at 2": {0, 2},
		}
		// IPv6 is counted by the /48 of level 1, which is not tracked, for single addresses, too.
		want["2001:db8::/128 at 2"], want["2001:db8::1/128 at 2"] = [3]uint32{2, 2}, [3]uint32{1, 1}
		if diff := cmp.Diff(want, counts()); diff != "" {
			t.Errorf("packets (-want +got):\n%s", diff)
		}
		for _, p := range []string{"2001:db8::/128", "2001:db8::1/128", "10.1.1.1/32"} {
			if err := a.table.Untrack(track.Single, netip.MustParsePrefix(p)); err != nil {
				t.Fatal(err)
			}
		}
		f.run(start("2001:db8::1").Echo(nil))
		if diff := cmp.Diff(map[string][3]uint32{"2001:db8::/64 at 0": {5}, "10.1.1.0/24 at 1": {0, 3}},
			counts()); diff != "" {
			t.Errorf("packets after they are released (-want +got):\n%s", diff)
		}
	})
}

// The same bytes in the key are another source in another family or at another level.
func TestFamiliesAndLevelsAreApart(t *testing.T) {
	same := []track.Level{{IPv4: 32, IPv6: 128}, {IPv4: 32, IPv6: 128}}
	eachBuild(t, func(t *testing.T, f *filter) {
		for _, source := range []string{"10.0.0.1/32", "::a00:1:0:0/128"} {
			for level := range same {
				a := f.account(same, []track.Class{{}, {Level: 1}})
				a.track(level, source)
				f.run(start("10.0.0.1").Echo(nil))
				f.run(start("::a00:1:0:0").Echo(nil))
				var counters [track.Detectors]uint32
				counters[level] = 1
				if diff := cmp.Diff(counted{fmt.Sprintf("%s at %d", source, level): counters}, a.counts()); diff != "" {
					t.Errorf("counters (-want +got):\n%s", diff)
				}
			}
		}
	})
}

// With accounting off, or without memory, nothing is counted or sampled.
func TestAccountingOff(t *testing.T) {
	eachBuild(t, func(t *testing.T, f *filter) {
		a := f.account(levels, classes)
		a.table.SetSampling(1)
		a.track(0, "10.0.0.1/32")
		a.table.Stop()
		b := start("10.0.0.1").UDP(1, 53, nil)
		check(t, "off", wantOne(notListed, len(b)), f.observe(b), b)
		if got, samples := a.counts(), a.takeSamples(); len(got) > 0 || len(samples) > 0 {
			t.Errorf("counted %v and sampled %v", got, samples)
		}
	})
}

// A full table: most of the sources share groups of the index.
func TestCountsFullTable(t *testing.T) {
	eachBuild(t, func(t *testing.T, f *filter) {
		a := f.account(levels[:1], []track.Class{{}})
		addr := func(i int) string {
			if i%2 == 0 {
				return fmt.Sprintf("10.0.%d.%d", i>>8, i&255)
			}
			return fmt.Sprintf("2001:db8:0:%x::1", i)
		}
		for i := range trackCapacity {
			source := netip.MustParseAddr(addr(i))
			a.track(0, netip.PrefixFrom(source, map[bool]int{true: 32, false: 64}[source.Is4()]).Masked().String())
		}
		for i := range 2 * trackCapacity {
			f.run(start(addr(i)).Echo(nil))
		}
		got := a.counts()
		for name, counters := range got {
			if counters[0] != 1 {
				t.Errorf("%s: %d packets, want 1", name, counters[0])
			}
		}
		if len(got) != trackCapacity {
			t.Errorf("%d sources were counted, want %d", len(got), trackCapacity)
		}
	})
}

// For random packets the counters and samples are those of the reference.
func TestAccountsAgreeWithReference(t *testing.T) {
	seed := seedOf(t)
	eachBuild(t, func(t *testing.T, f *filter) {
		f.listSources()
		a := f.account(levels, classes)
		a.table.SetSampling(1)
		isTracked := map[netip.Addr]bool{}
		for _, corpus := range corpora {
			for _, address := range corpus.sources {
				a.trackSource(address)
				isTracked[netip.MustParseAddr(address)] = true
			}
		}
		m := newMutator(seed)
		want := counted{}
		total := 0
		for i := range randomCases() / 2 {
			b := m.frame()
			r := judge(b, listed)
			var samples []sampled
			if r == notListed || r == shadowed || r == underLimit {
				samples = []sampled{sampleOf(b, 1)}
				if isTracked[samples[0].Source] {
					total++
					want.add(b)
				} else if isNear(samples[0].Source) {
					// In a tracked network, but not a tracked source: too much to model here.
					continue
				}
			}
			f.run(b)
			if diff := cmp.Diff(samples, a.takeSamples(), equateAddr); diff != "" {
				t.Fatalf("seed %d, case %d: samples (-want +got):\n%sfor %x", seed, i, diff, b)
			}
		}
		if diff := cmp.Diff(want, a.counts()); diff != "" {
			t.Errorf("seed %d: counters (-want +got):\n%s", seed, diff)
		}
		if total < randomCases()/100 {
			t.Errorf("only %d frames were of tracked sources: the mutations test too little", total)
		}
	})
}

// isNear reports whether a source is in a tracked /24, /64 or /48.
func isNear(source netip.Addr) bool {
	for _, corpus := range corpora {
		for _, address := range corpus.sources {
			a := netip.MustParseAddr(address)
			bits := map[bool]int{true: 24, false: 48}[a.Is4()]
			if netip.PrefixFrom(a, bits).Contains(source) {
				return true
			}
		}
	}
	return false
}
