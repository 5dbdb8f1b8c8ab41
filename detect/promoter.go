package detect

import (
	"cmp"
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/paraxial/paraxial/policy"
)

// Sample is a packet that the packet program reports, about one in Weight.
type Sample struct {
	Source    netip.Addr
	Length    uint32 // of the whole frame, in bytes
	Weight    uint32 // number of packets that it stands for
	Detectors DetectorSet
	Port      uint16 // destination port; 0 if it has none
}

const (
	// minSamples is the number of samples a source needs to be tracked. A forged source
	// is rarely sampled twice.
	minSamples = 3
	// promoteAt is the share of a limit at which a source is tracked.
	promoteAt = 0.5
	// samplesPerSecond is a rate of samples that costs the daemon negligible CPU time.
	samplesPerSecond = 50_000
	// idleWindows is the number of windows without a packet after which a source is no
	// longer tracked.
	idleWindows = 2
	// maxInterval is the longest sampling interval. It keeps enough samples for people
	// to look at.
	maxInterval = 256
	// maxPorts is the number of ports that are kept of a source.
	maxPorts = 4
)

// Promoter chooses from samples the sources to track. Its memory does not depend on the
// number of sources. It is not safe for concurrent use.
type Promoter struct {
	capacity   int
	widths4    []width
	widths6    []width
	costs      []cost
	period     policy.Deadline // time span over which samples are added up
	idle       policy.Deadline // time without a packet after which a source is released
	candidates candidates
	splits     map[sourceKey]bool
	tracked    map[sourceKey]*tracked
	waiting    []promotion // candidates to be tracked at the next Changes
	refused    uint64
}

// width is a prefix length and the detectors that count sources of this length.
type width struct {
	bits int
	mask DetectorSet
}

// cost is what a packet adds to the score of a source. A source with a score of 1 is
// promoted.
type cost struct {
	perPacket, perByte float32
}

// tracked is the state of a tracked source.
type tracked struct {
	active policy.Deadline // when it was last reported as tracked, or chosen to be
	about  seen
}

// promotion is a candidate to be tracked.
type promotion struct {
	key   sourceKey
	share float64 // its estimated share of a limit
	about seen
}

// NewPromoter returns a promoter for a tracking table of capacity sources. The seed must
// be secret: with it, an attacker can choose sources that evict others.
func NewPromoter(list []Detector, capacity int, seed uint64) *Promoter {
	p := &Promoter{capacity: capacity, tracked: map[sourceKey]*tracked{}, period: policy.Deadline(period(list))}
	for n, d := range list {
		p.widths4 = addWidth(p.widths4, d.Per.IPv4, n)
		p.widths6 = addWidth(p.widths6, d.Per.IPv6, n)
		enough := float32(promoteAt * float64(d.Limit.PerSecond) * time.Duration(p.period).Seconds())
		c := cost{perPacket: 1 / enough}
		if d.Limit.Unit == policy.Bytes {
			c = cost{perByte: 1 / enough}
		}
		p.costs = append(p.costs, c)
		p.idle = max(p.idle, policy.Deadline(idleWindows*d.Window))
	}
	p.candidates = newCandidates(seed)
	return p
}

func addWidth(list []width, bits, detector int) []width {
	for n := range list {
		if list[n].bits == bits {
			list[n].mask |= 1 << detector
			return list
		}
	}
	return append(list, width{bits, 1 << detector})
}

// period returns the time span over which samples are added up: half the shortest
// window, so that there is time left to count exactly.
func period(list []Detector) time.Duration {
	shortest := MaxWindow
	for _, d := range list {
		shortest = min(shortest, d.Window)
	}
	return min(max(shortest/2, time.Second), 5*time.Second)
}

// Add adds a sample taken at boot time now.
func (p *Promoter) Add(now policy.Deadline, s Sample) {
	widths := p.widths6
	if s.Source.Is4() {
		widths = p.widths4
	}
	full := s.Source.BitLen()
	var single DetectorSet // detectors that count the address by itself
	for _, w := range widths {
		detectors := s.Detectors & w.mask
		if detectors == 0 {
			continue
		}
		if w.bits == full {
			single |= detectors
			continue
		}
		k := keyOf(s.Source, w.bits)
		p.add(now, k, s, detectors)
		if p.splits[k] {
			single |= detectors
		}
	}
	if single != 0 {
		p.add(now, keyOf(s.Source, full), s, single)
	}
}

// Split sets the sources whose addresses are also counted one by one: Analyzer.Splits.
func (p *Promoter) Split(sources []netip.Prefix) {
	clear(p.splits)
	for _, source := range sources {
		if p.splits == nil {
			p.splits = make(map[sourceKey]bool)
		}
		p.splits[keyOf(source.Addr(), source.Bits())] = true
	}
}

func (p *Promoter) add(now policy.Deadline, k sourceKey, s Sample, detectors DetectorSet) {
	if t := p.tracked[k]; t != nil {
		t.about.note(s)
		return
	}
	c := p.candidates.of(k, uint32(now/p.period))
	c.about.note(s)
	c.samples = min(c.samples+1, math.MaxUint16/2)
	c.score += p.score(s, detectors)
	if c.samples+c.oldSamples < minSamples || c.score+c.oldScore < 1 {
		return
	}
	p.waiting = append(p.waiting, promotion{k, promoteAt * float64(c.score+c.oldScore), c.about})
	c.samples, c.oldSamples = 0, 0
	if len(p.waiting) >= 2*p.capacity {
		p.rank()
	}
}

// score returns what s adds to the score of its source, by the detector whose limit it
// is nearest to.
func (p *Promoter) score(s Sample, detectors DetectorSet) float32 {
	var most float32
	for rest := detectors; rest != 0; rest &= rest - 1 {
		n := trailingZeros(rest)
		if n >= len(p.costs) {
			break
		}
		most = max(most, p.costs[n].perPacket+p.costs[n].perByte*float32(s.Length))
	}
	return most * float32(max(s.Weight, 1))
}

// rank sorts the waiting candidates, the busiest first, and keeps as many as the
// capacity.
func (p *Promoter) rank() {
	slices.SortStableFunc(p.waiting, func(a, b promotion) int {
		return cmp.Or(cmp.Compare(b.share, a.share), a.key.compare(b.key))
	})
	p.waiting = p.waiting[:min(len(p.waiting), p.capacity)]
}

// Changes are the changes to make to the tracking table, releases first.
type Changes struct {
	Release []netip.Prefix
	Track   []netip.Prefix
}

// Changes returns the sources to track from now on and the sources to release. Active is
// what Analyzer.Activities returns of the tracked sources. When the table is full, the
// least active sources make room for busier ones.
func (p *Promoter) Changes(now policy.Deadline, active []Activity) Changes {
	var c Changes
	p.rank()
	stay := p.releaseIdle(now, active, &c)
	p.forgetLost(now)
	if p.crowded() {
		slices.SortStableFunc(stay, func(a, b Activity) int {
			return cmp.Or(cmp.Compare(a.Share, b.Share), a.Source.Compare(b.Source))
		})
	}
	for _, w := range p.waiting {
		if p.tracked[w.key] != nil {
			continue
		}
		if len(p.tracked) >= p.capacity {
			// The share of a candidate is an estimate: it must be twice as busy.
			if len(stay) == 0 || stay[0].Share*2 > w.share {
				p.refused++
				continue
			}
			c.Release = append(c.Release, stay[0].Source)
			delete(p.tracked, keyOf(stay[0].Source.Addr(), stay[0].Source.Bits()))
			stay = stay[1:]
		}
		p.tracked[w.key] = &tracked{active: now, about: w.about}
		c.Track = append(c.Track, w.key.prefix())
	}
	p.waiting = p.waiting[:0]
	return c
}

// releaseIdle releases the sources that were idle for too long, and returns the others.
func (p *Promoter) releaseIdle(now policy.Deadline, active []Activity, c *Changes) (stay []Activity) {
	for _, a := range active {
		k := keyOf(a.Source.Addr(), a.Source.Bits())
		if now-a.Seen >= p.idle {
			c.Release = append(c.Release, a.Source)
			delete(p.tracked, k)
			continue
		}
		if p.tracked[k] == nil { // by an earlier run
			p.tracked[k] = new(tracked)
		}
		p.tracked[k].active = now
		stay = append(stay, a)
	}
	return stay
}

// forgetLost forgets sources that were chosen to be tracked but are not.
func (p *Promoter) forgetLost(now policy.Deadline) {
	for k, t := range p.tracked {
		if now-t.active >= p.idle {
			delete(p.tracked, k)
		}
	}
}

// crowded reports whether there is too little room for all waiting candidates.
func (p *Promoter) crowded() bool { return len(p.tracked)+len(p.waiting) > p.capacity }

// Forget forgets a source that could not be tracked.
func (p *Promoter) Forget(source netip.Prefix) {
	delete(p.tracked, keyOf(source.Addr(), source.Bits()))
}

// About returns what samples have shown about a tracked source.
func (p *Promoter) About(source netip.Prefix) About {
	t := p.tracked[keyOf(source.Addr(), source.Bits())]
	if t == nil {
		return About{}
	}
	return t.about.about()
}

// Tracked returns the number of tracked sources.
func (p *Promoter) Tracked() int { return len(p.tracked) }

// Refused returns how often a source was not tracked because the table was full of
// busier sources.
func (p *Promoter) Refused() uint64 { return p.refused }

// typicalLength is the length of a full frame. With shorter frames a rate in bytes has
// more packets, and therefore more samples.
const typicalLength = 1500

// Recall returns the longest sampling interval at which a source with half the rate of
// any limit is sampled minSamples times in a period.
func (p *Promoter) Recall() uint32 {
	interval := float64(maxInterval)
	for _, c := range p.costs {
		packets := 1 / float64(c.perPacket+c.perByte*typicalLength)
		interval = min(interval, packets/minSamples)
	}
	return uint32(math.Ceil(interval))
}

// Interval returns the sampling interval, one packet in that many, for a rate of the
// packets that detectors look at. Exceeded is set if the rate is so high that the
// interval at which the daemon keeps up is too long. Sources at 1.5 times their limit
// may then be missed.
func (p *Promoter) Interval(packetsPerSecond float64) (interval uint32, exceeded bool) {
	recall := p.Recall()
	affordable := math.Ceil(packetsPerSecond / samplesPerSecond)
	interval = uint32(min(max(affordable, float64(recall)), math.MaxUint16))
	// A source at 1.5 times its limit has, in the two periods that are added up, six
	// times the samples of a source at half its limit in one period.
	return interval, interval > 2*recall
}
