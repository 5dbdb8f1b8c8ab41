package detect

import (
	"cmp"
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/paraxial/paraxial/policy"
)

// Sample is one packet of Weight, about: what the packet program picks out.
type Sample struct {
	Source    netip.Addr
	Length    uint32 // whole frame, bytes
	Weight    uint32 // packets that it stands for
	Detectors DetectorSet
	Port      uint16 // destination; 0 if it has none
}

const (
	// minSamples is how often a source must have been sampled to be tracked: a
	// forged one is hardly ever seen twice.
	minSamples = 3
	// promoteAt is the part of a limit from which on a source is tracked.
	promoteAt = 0.5
	// samplesPerSecond is what a daemon takes in without noticing.
	samplesPerSecond = 50_000
	// idleWindows is after how many windows without a packet a source is let go.
	idleWindows = 2
	// maxInterval keeps enough samples for people to look at.
	maxInterval = 256
	// maxPorts is how many ports are remembered of a source.
	maxPorts = 4
)

// Promoter tells from samples which sources to track, in constant memory
// whatever the number of sources. It is not safe for concurrent use.
type Promoter struct {
	capacity   int
	widths4    []width
	widths6    []width
	costs      []cost
	period     policy.Deadline // for which samples count
	idle       policy.Deadline
	candidates candidates
	tracked    map[sourceKey]*tracked
	waiting    []promotion
	refused    uint64
}

// width is a length of prefixes, and the detectors that count by it.
type width struct {
	bits int
	mask DetectorSet
}

// cost is how much nearer to promotion a packet brings a source.
type cost struct {
	perPacket, perByte float32
}

// tracked is what samples have shown of a tracked source.
type tracked struct {
	active policy.Deadline // when it was last said to be tracked, or told to be
	about  seen
}

// promotion is a candidate that should be tracked.
type promotion struct {
	key   sourceKey
	share float64 // of a limit, about
	about seen
}

// NewPromoter returns a promoter for a tracking table of capacity sources. The
// seed must be a secret: whoever knows it can choose sources that push others
// out of memory.
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

// period returns for how long samples count: half the shortest window, so that
// there is time left to count exactly.
func period(list []Detector) time.Duration {
	shortest := MaxWindow
	for _, d := range list {
		shortest = min(shortest, d.Window)
	}
	return min(max(shortest/2, time.Second), 5*time.Second)
}

// Add takes in a sample drawn at boot time now.
func (p *Promoter) Add(now policy.Deadline, s Sample) {
	widths := p.widths6
	if s.Source.Is4() {
		widths = p.widths4
	}
	for _, w := range widths {
		if s.Detectors&w.mask != 0 {
			p.add(now, keyOf(s.Source, w.bits), s, s.Detectors&w.mask)
		}
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

// score returns how much nearer to promotion s brings its source, at 1, by the
// detector that it is nearest to.
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

// rank puts the busiest first, and keeps as many as could ever be tracked.
func (p *Promoter) rank() {
	slices.SortStableFunc(p.waiting, func(a, b promotion) int {
		return cmp.Or(cmp.Compare(b.share, a.share), a.key.compare(b.key))
	})
	p.waiting = p.waiting[:min(len(p.waiting), p.capacity)]
}

// Changes is what is to be done about the tracking table, releases first.
type Changes struct {
	Release []netip.Prefix
	Track   []netip.Prefix
}

// Changes returns which sources to track from now on and which no longer. Active
// is what Analyzer.Activities says of those tracked. When the table is full, the
// least active make room for sources that are busier.
func (p *Promoter) Changes(now policy.Deadline, active []Activity) Changes {
	var c Changes
	p.rank()
	stay := active[:0:0]
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
			// The share of a candidate is a guess: be sure that it is busier.
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

// forgetLost forgets sources that nobody tracks though told to.
func (p *Promoter) forgetLost(now policy.Deadline) {
	for k, t := range p.tracked {
		if now-t.active >= p.idle {
			delete(p.tracked, k)
		}
	}
}

// crowded tells whether not all that wait can be tracked beside the rest.
func (p *Promoter) crowded() bool { return len(p.tracked)+len(p.waiting) > p.capacity }

// Forget tells that a source is not tracked after all.
func (p *Promoter) Forget(source netip.Prefix) {
	delete(p.tracked, keyOf(source.Addr(), source.Bits()))
}

// About returns what samples have shown of a tracked source.
func (p *Promoter) About(source netip.Prefix) About {
	t := p.tracked[keyOf(source.Addr(), source.Bits())]
	if t == nil {
		return About{}
	}
	return t.about.about()
}

// Tracked returns how many sources are tracked.
func (p *Promoter) Tracked() int { return len(p.tracked) }

// Refused returns how often a source was not tracked because the table was full
// of busier ones.
func (p *Promoter) Refused() uint64 { return p.refused }

// typicalLength is that of a full frame: with shorter ones a rate in bytes has
// more packets, and so more samples.
const typicalLength = 1500

// Recall returns the longest sampling interval with which a source at half of
// any limit is sampled minSamples times in a period.
func (p *Promoter) Recall() uint32 {
	interval := float64(maxInterval)
	for _, c := range p.costs {
		packets := 1 / float64(c.perPacket+c.perByte*typicalLength)
		interval = min(interval, packets/minSamples)
	}
	return uint32(math.Ceil(interval))
}

// Interval returns the interval to sample at, one packet in that many, at a
// rate of packets that detectors look at; and whether that is so high that the
// interval, chosen for the daemon to keep up, is too long: sources at 1.5 times
// their limit may then be missed.
func (p *Promoter) Interval(packetsPerSecond float64) (interval uint32, exceeded bool) {
	recall := p.Recall()
	affordable := math.Ceil(packetsPerSecond / samplesPerSecond)
	interval = uint32(min(max(affordable, float64(recall)), math.MaxUint16))
	// At 1.5 times its limit a source has, in the two periods that count, six
	// times the samples that it has at half in one.
	return interval, interval > 2*recall
}
