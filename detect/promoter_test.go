package detect

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/paraxial/paraxial/policy"
)

// traffic is the traffic that a promoter sees: sources with rates, and forged sources.
type traffic struct {
	p       *Promoter
	rng     *rand.Rand
	now     policy.Deadline
	sources []netip.Addr
	rates   []float64 // packets a second
	forged  float64   // packets a second, each from another source
	tracked map[netip.Prefix]policy.Deadline
}

func addr(n int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)})
}

func (t *traffic) total() float64 {
	total := t.forged
	for _, r := range t.rates {
		total += r
	}
	return total
}

// run samples the traffic as the packet program would.
func (t *traffic) run(d time.Duration) {
	interval, _ := t.p.Interval(t.total())
	sums := make([]float64, len(t.rates))
	sum := t.forged
	for n, r := range t.rates {
		sum += r
		sums[n] = sum
	}
	step := policy.Deadline(float64(time.Second) * float64(interval) / t.total())
	next := t.now + second/4
	for end := t.now + policy.Deadline(d); t.now < end; t.now += step {
		s := Sample{Weight: interval, Length: 60, Detectors: 1, Port: 443}
		if at := t.rng.Float64() * sum; at < t.forged {
			u := t.rng.Uint32()
			s.Source = netip.AddrFrom4([4]byte{byte(50 + t.rng.IntN(100)), byte(u >> 16), byte(u >> 8), byte(u)})
		} else {
			s.Source = t.sources[search(sums, at)]
		}
		t.p.Add(t.now, s)
		if t.now >= next {
			next += second / 4
			for _, p := range t.p.Changes(t.now, nil).Track {
				t.tracked[p] = t.now
			}
		}
	}
}

func search(sums []float64, at float64) int {
	low, high := 0, len(sums)-1
	for low < high {
		if mid := (low + high) / 2; sums[mid] <= at {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low
}

// TestRecallOfPromotion has offenders among clients and a flood of forged sources, at rates that
// Interval does not report as exceeded.
func TestRecallOfPromotion(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	for _, tt := range []struct {
		offenders int
		share     float64
		forged    float64
	}{{1, 2, 0}, {1000, 1.5, 0}, {1, 1.5, 1e6}, {1000, 1.5, 1e6}, {100, 1.5, 5e6}, {100, 50, 5e6}} {
		t.Run(fmt.Sprintf("%d at %g, %.0f forged", tt.offenders, tt.share, tt.forged), func(t *testing.T) {
			const clients = 10_000
			p := NewPromoter([]Detector{detector()}, 32_768, seed)
			w := &traffic{
				p: p, rng: rand.New(rand.NewPCG(seed, 2)), now: start, forged: tt.forged,
				tracked: map[netip.Prefix]policy.Deadline{},
			}
			for n := range tt.offenders + clients {
				w.sources = append(w.sources, addr(n))
				rate := 200 * tt.share
				if n >= tt.offenders {
					rate = 5
				}
				w.rates = append(w.rates, rate)
			}
			if _, exceeded := p.Interval(w.total()); exceeded {
				t.Fatalf("%.0f packets a second are too many", w.total())
			}
			w.run(8 * time.Second)
			late, missed := 0, 0
			for n := range tt.offenders {
				at, ok := w.tracked[netip.PrefixFrom(addr(n), 32)]
				delete(w.tracked, netip.PrefixFrom(addr(n), 32))
				if !ok {
					missed++
				} else if at-start > 3*second {
					late++
				}
			}
			if missed > 0 || late > 1+tt.offenders/10 {
				t.Errorf("seed %d: of %d offenders %d were missed and %d late", seed, tt.offenders, missed, late)
			}
			forged := 0
			for p := range w.tracked {
				if p.Addr().As4()[0] != 10 {
					forged++
				}
			}
			// A few clients are tracked by chance, which does no harm.
			if forged > 0 || len(w.tracked) > clients/100 {
				t.Errorf("seed %d: %d forged sources and %d clients are tracked", seed, forged, len(w.tracked)-forged)
			}
		})
	}
}

func TestInterval(t *testing.T) {
	for _, tt := range []struct {
		limit    policy.Rate
		pps      float64
		interval uint32
		exceeded bool
	}{
		{packets(200), 0, 84, false},
		{packets(200), 4e6, 84, false},
		{packets(200), 5e6, 100, false},
		{packets(200), 9e6, 180, true},
		{packets(20), 1e6, 20, true},
		{packets(20), 1e5, 9, false},
		{packets(1), 1e3, 1, false},
		{packets(1e6), 1e6, 256, false},
		{policy.Rate{PerSecond: 1_250_000, Unit: policy.Bytes}, 1e6, 256, false},
		{policy.Rate{PerSecond: 12_500, Unit: policy.Bytes}, 1e3, 4, false},
	} {
		p := NewPromoter([]Detector{detector(func(d *Detector) { d.Limit = tt.limit })}, 100, 1)
		interval, exceeded := p.Interval(tt.pps)
		if interval != tt.interval || exceeded != tt.exceeded {
			t.Errorf("limit %s at %.0f/s: %d, %t; want %d, %t",
				tt.limit, tt.pps, interval, exceeded, tt.interval, tt.exceeded)
		}
	}
}

func TestOnceSeenIsNeverTracked(t *testing.T) {
	p := NewPromoter([]Detector{detector()}, 100, 1)
	for n := range 100_000 {
		// The weight of each sample is enough for the limit.
		p.Add(start+policy.Deadline(n)*second/10_000, Sample{Source: addr(n), Weight: 10_000, Detectors: 1})
	}
	if c := p.Changes(start+10*second, nil); len(c.Track) > 0 {
		t.Errorf("tracked %v", c.Track)
	}
}

func offend(p *Promoter, now policy.Deadline, a netip.Addr, weight uint32) {
	for range minSamples {
		p.Add(now, Sample{Source: a, Weight: weight, Length: 100, Detectors: 1, Port: 80})
	}
}

func TestFullTable(t *testing.T) {
	p := NewPromoter([]Detector{detector()}, 3, 1)
	for n := range 3 {
		offend(p, start, addr(n), 200)
	}
	c := p.Changes(start, nil)
	if len(c.Track) != 3 || len(c.Release) != 0 {
		t.Fatalf("changes %v", c)
	}
	shares := []float64{0.9, 0.1, 3}
	var active []Activity
	for n, p := range c.Track {
		active = append(active, Activity{Slot: uint32(n), Source: p, Seen: start + second, Share: shares[n]})
	}
	offend(p, start+second, addr(10), 800) // five times the limit
	offend(p, start+second, addr(11), 90)  // half of it
	got := p.Changes(start+second, active)
	want := Changes{Release: []netip.Prefix{active[1].Source}, Track: []netip.Prefix{netip.PrefixFrom(addr(10), 32)}}
	if !reflect.DeepEqual(got, want) || p.Refused() != 1 || p.Tracked() != 3 {
		t.Errorf("changes %v, want %v; %d refused, %d tracked", got, want, p.Refused(), p.Tracked())
	}
}

// TestPeriodsOverlap spreads the samples of a source over two periods.
func TestPeriodsOverlap(t *testing.T) {
	p := NewPromoter([]Detector{detector()}, 3, 1)
	edge := (start/p.period + 1) * p.period
	for _, at := range []policy.Deadline{edge - second, edge - 1, edge} {
		p.Add(at, Sample{Source: addr(1), Weight: 90, Detectors: 1})
	}
	if c := p.Changes(edge, nil); len(c.Track) != 1 {
		t.Errorf("tracked %v", c.Track)
	}
	// Samples of periods that do not follow each other are not added up.
	for n := range policy.Deadline(9) {
		p.Add(edge+n*2*p.period, Sample{Source: addr(2), Weight: 90, Detectors: 1})
	}
	if c := p.Changes(edge, nil); len(c.Track) != 0 {
		t.Errorf("tracked %v", c.Track)
	}
}

// TestFullSetForgetsTheOldest puts more sources into a set of the table than it has
// places.
func TestFullSetForgetsTheOldest(t *testing.T) {
	c := newCandidates(1)
	var same []sourceKey
	for n := 0; len(same) < ways+3; n++ {
		if k := keyOf(addr(n), 32); c.hash(k)%sets == 0 {
			same = append(same, k)
		}
	}
	for _, k := range same[:ways] {
		c.of(k, 1).samples++
	}
	c.of(same[2], 1).samples++ // seen twice
	c.of(same[0], 1)           // used again, without a sample
	for _, k := range same[ways:] {
		c.of(k, 1).samples++
	}
	have := map[sourceKey]bool{}
	for _, s := range c.table[:ways] {
		have[s.key] = true
	}
	for n, k := range same {
		if gone := n == 1 || n == 3 || n == 4; have[k] == gone {
			t.Errorf("source %d: in the table %t", n, have[k])
		}
	}
}

func TestIdleIsReleased(t *testing.T) {
	p := NewPromoter([]Detector{detector()}, 3, 1)
	offend(p, start, addr(1), 200)
	offend(p, start, addr(2), 200)
	p.Changes(start, nil)
	active := []Activity{
		{Source: netip.PrefixFrom(addr(1), 32), Seen: start},
		{Source: netip.PrefixFrom(addr(2), 32), Seen: start + 5*second},
	}
	if c := p.Changes(start+9*second, active); len(c.Release) != 0 {
		t.Errorf("released %v early", c.Release)
	}
	c := p.Changes(start+10*second, active)
	if len(c.Release) != 1 || c.Release[0] != active[0].Source || p.Tracked() != 1 {
		t.Errorf("released %v, %d are left", c.Release, p.Tracked())
	}
	// It can be tracked again.
	offend(p, start+11*second, addr(1), 200)
	if c := p.Changes(start+11*second, nil); len(c.Track) != 1 {
		t.Errorf("tracked %v", c.Track)
	}
	// A source that was chosen and never tracked is forgotten.
	p.Changes(start+60*second, nil)
	if p.Tracked() != 0 {
		t.Errorf("%d sources are still kept as tracked", p.Tracked())
	}
}

func TestAboutSources(t *testing.T) {
	p := NewPromoter([]Detector{detector()}, 3, 1)
	a := netip.MustParseAddr("2001:db8:1:2:3::4")
	for n, port := range []uint16{80, 443, 80, 22, 0, 25, 443, 8080} {
		p.Add(start, Sample{Source: a, Weight: 300, Length: 100, Detectors: 1, Port: port})
		if n == 4 {
			p.Changes(start, nil)
		}
	}
	got := p.About(netip.MustParsePrefix("2001:db8:1:2::/64"))
	if want := (About{Ports: []uint16{8080, 443, 25, 80}, Length: 100}); !reflect.DeepEqual(got, want) {
		t.Errorf("about %+v, want %+v", got, want)
	}
	if got := p.About(netip.MustParsePrefix("2001:db8::/64")); !reflect.DeepEqual(got, About{}) {
		t.Errorf("about an unknown source: %+v", got)
	}
}

func TestSourceKeys(t *testing.T) {
	for _, s := range []string{
		"192.0.2.1/32", "192.0.2.0/24", "0.0.0.0/8",
		"2001:db8::1/128", "2001:db8::/64", "2001:db8::/65", "2001:db8::/48", "2001::/16",
	} {
		p := netip.MustParsePrefix(s)
		if got := keyOf(p.Addr(), p.Bits()).prefix(); got != p {
			t.Errorf("%s comes back as %s", p, got)
		}
		last := p.Addr()
		if next := last.Next(); p.Contains(next) && keyOf(next, p.Bits()) != keyOf(last, p.Bits()) {
			t.Errorf("%s: host bits are in the key", p)
		}
	}
}

func BenchmarkAdd(b *testing.B) {
	p := NewPromoter([]Detector{detector()}, 32_768, 1)
	rng := rand.New(rand.NewPCG(1, 1))
	now := start
	b.ReportAllocs()
	for b.Loop() {
		now += second / 50_000
		u := rng.Uint32()
		source := netip.AddrFrom4([4]byte{byte(u), byte(u >> 8), byte(u >> 16), byte(u >> 24)})
		p.Add(now, Sample{Source: source, Weight: 83, Length: 60, Detectors: 1})
	}
}
