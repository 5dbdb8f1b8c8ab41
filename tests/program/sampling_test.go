package program_test

import (
	"encoding/binary"
	"errors"
	"math"
	"net/netip"
	"os"
	"testing"

	"github.com/paraxial/paraxial/tests/lab/frame"
	"github.com/paraxial/paraxial/track"
)

// sampled is one sample, as in struct packet_sample.
type sampled struct {
	Source    netip.Addr
	Length    uint32
	Weight    uint32
	Detectors uint16
	Proto     uint8
	Port      int // -1 if there is none
	Flags     int // -1 if there are none
	Fragment  bool
	Kind      track.Kind
}

func (a *accounting) takeSamples() (taken []sampled) {
	a.tb.Helper()
	for {
		record, err := a.samples.Read()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return taken
		}
		if err != nil {
			a.tb.Fatal(err)
		}
		b := record.RawSample
		if len(b) != 32 {
			a.tb.Fatalf("sample of %d bytes, want 32", len(b))
		}
		s := sampled{
			Length: binary.LittleEndian.Uint32(b[16:]), Weight: binary.LittleEndian.Uint32(b[20:]),
			Detectors: binary.LittleEndian.Uint16(b[24:]), Proto: b[30], Port: -1, Flags: -1, Fragment: b[29]&0x80 != 0,
			Kind: track.Kind(b[29]),
		}
		if b[31] == 1 {
			s.Port = int(binary.BigEndian.Uint16(b[26:]))
		}
		if b[29]&0x40 != 0 {
			s.Flags = int(b[29] & 0x3f)
		}
		s.Source = netip.AddrFrom16([16]byte(b))
		if b[28] == 4 {
			s.Source = netip.AddrFrom4([4]byte(b))
		}
		taken = append(taken, s)
	}
}

// sampleOf returns the sample that a frame must produce.
func sampleOf(b []byte, weight uint32) sampled {
	etherType, l3, _ := unwrap(b)
	seen := look(b)
	s := sampled{Length: uint32(len(b)), Weight: weight, Proto: seen.proto, Port: -1, Flags: -1,
		Fragment: seen.fragment}
	s.Source, _ = readSource(etherType, l3)
	if seen.ports {
		s.Port = int(seen.port)
	}
	if seen.header && seen.proto == frame.TCP {
		s.Flags = int(seen.flags)
	}
	s.Kind = track.KindOf(track.Packet{
		Proto: seen.proto, Flags: seen.flags, Header: seen.header, Fragment: seen.fragment,
		Tiny: seen.tiny, Hidden: seen.hidden,
	})
	for i, class := range classes {
		if seen.wanted(class) {
			s.Detectors |= 1 << i
		}
	}
	return s
}

// A full ring loses samples and counts the loss; counters continue.
func TestLostSamplesAreCounted(t *testing.T) {
	eachBuild(t, func(t *testing.T, f *filter) {
		a := f.account(levels, classes)
		a.table.SetSampling(1)
		a.track(0, "10.0.0.1/32")
		const n = 1000
		for range n {
			f.run(start("10.0.0.1").Echo(nil))
		}
		samples := uint64(len(a.takeSamples()))
		if lost := track.Lost(a.control); lost == 0 || samples+lost != n {
			t.Errorf("%d samples and %d lost, want %d together", samples, lost, n)
		}
		if got := a.counts()["10.0.0.1/32 at 0"][0]; got != n {
			t.Errorf("%d packets, want %d", got, n)
		}
	})
}

// Of many packets one in n is sampled, with unpredictable gaps, distributed as if each packet was
// drawn independently.
func TestSamplingIsUnbiased(t *testing.T) {
	// With so many there are 200 samples or more.
	packets := func(n uint32) int { return min(5_000*int(n), 200_000) }
	eachBuild(t, func(t *testing.T, f *filter) {
		a := f.account(levels, classes)
		for _, n := range []uint32{2, 10, 97, 1000} {
			a.table.SetSampling(n)
			var gaps []float64
			since := 0
			b := start("10.0.0.1").UDP(1, 53, nil)
			for range packets(n) {
				f.run(b)
				since++
				for _, s := range a.takeOne() {
					if s.Weight != n {
						t.Fatalf("a sample stands for %d packets, want %d", s.Weight, n)
					}
					gaps = append(gaps, float64(since))
					since = 0
				}
			}
			checkGaps(t, n, packets(n), gaps)
		}
	})
}

// takeOne is takeSamples with a fast path for the usual case of no sample.
func (a *accounting) takeOne() []sampled {
	if a.samples.AvailableBytes() == 0 {
		return nil
	}
	return a.takeSamples()
}

// checkGaps allows the number of samples five standard deviations of the binomial distribution, and
// the gaps five of the geometric one.
func checkGaps(t *testing.T, n uint32, packets int, gaps []float64) {
	t.Helper()
	p := 1 / float64(n)
	want := float64(packets) * p
	if off := math.Abs(float64(len(gaps)) - want); off > 5*math.Sqrt(want*(1-p)) {
		t.Errorf("one in %d: %d samples of %d packets, want about %.0f", n, len(gaps), packets, want)
	}
	var sum, squares float64
	for _, g := range gaps {
		sum += g
		squares += g * g
	}
	mean := sum / float64(len(gaps))
	deviation, geometric := math.Sqrt(squares/float64(len(gaps))-mean*mean), math.Sqrt(1-p)/p
	// The standard deviation of the standard deviation of that many exponential gaps.
	if off := math.Abs(deviation/geometric - 1); off > 5*math.Sqrt(2/float64(len(gaps))) {
		t.Errorf("one in %d: gaps deviate by %.2f, want about %.2f", n, deviation, geometric)
	}
}
