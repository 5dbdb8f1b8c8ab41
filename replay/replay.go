// Package replay runs a capture through the detectors and returns what they would have
// decided, so that a detector can be tried on recorded traffic. Every source is counted,
// as if it were tracked. Decisions take effect: a source is not counted while it is
// blocked.
//
// Time is the time of the capture, so the same capture gives the same decisions.
package replay

import (
	"errors"
	"io"
	"net/netip"
	"slices"
	"time"

	"github.com/paraxial/paraxial/detect"
	"github.com/paraxial/paraxial/policy"
)

// Options are the settings of a replay.
type Options struct {
	Detectors     []detect.Detector
	MaxBans       int
	BansPerMinute int
	Exempt        func(netip.Prefix) (reason string, exempt bool)
	PartlyExempt  func(netip.Prefix) bool // of an exempt prefix, as in detect.Options
	// Local are the addresses of the captured host. Packets from them are outgoing, and
	// a filter would not have seen them.
	Local []netip.Prefix
}

// Summary counts the packets of a capture.
type Summary struct {
	Packets     uint64 // total
	Counted     uint64 // counted by detectors
	Dropped     uint64 // dropped by an entry
	NotIP       uint64
	Malformed   uint64
	CutShort    uint64 // too few bytes were captured
	Outgoing    uint64
	UnknownLink uint64 // of an unknown link type
	TooMany     uint64 // of sources for which there was no slot
	Sources     uint64 // number of sources; one that returns after a while counts again
	First, Last time.Time
}

// Decision is a decision with its time in the capture.
type Decision struct {
	detect.Decision
	Time time.Time
}

// Spared is a source that was left alone, with the time in the capture.
type Spared struct {
	detect.Spared
	Time time.Time
}

// Result is the result of a replay.
type Result struct {
	Summary   Summary
	Decisions []Decision
	Spared    []Spared
}

const (
	// tick is the time between two ticks of the daemon.
	tick = 250 * time.Millisecond
	// boot is the boot time at which captures begin.
	boot = policy.Deadline(time.Hour)
	// maxSources is the largest number of sources that are counted at the same time.
	maxSources = 1 << 19
)

// run is the state of a replay.
type run struct {
	options    Options
	result     *Result
	classifier *detect.Classifier
	analyzer   *detect.Analyzer
	tracker    *tracker
	filter     *filter
	widths     widths

	first time.Time
	now   policy.Deadline // of the last tick
	busy  bool            // packets came since then
}

// widths are the prefix lengths by which sources are counted, for each family.
type widths struct{ ipv4, ipv6 []width }

// width is a prefix length and the detectors that count sources of this length.
type width struct {
	bits int
	mask detect.DetectorSet
}

func widthsOf(list []detect.Detector) widths {
	var w widths
	for n, d := range list {
		w.ipv4 = addWidth(w.ipv4, d.Per.IPv4, n)
		w.ipv6 = addWidth(w.ipv6, d.Per.IPv6, n)
	}
	return w
}

func addWidth(list []width, bits, detector int) []width {
	at := slices.IndexFunc(list, func(w width) bool { return w.bits == bits })
	if at < 0 {
		at, list = len(list), append(list, width{bits: bits})
	}
	list[at].mask |= 1 << detector
	return list
}

// Run replays the capture in r. If it is cut short or damaged, the result is for the
// packets before that place, and the error has the place.
func Run(r io.Reader, o Options) (Result, error) {
	var result Result
	c, err := openCapture(r)
	if err != nil {
		return result, err
	}
	p := newRun(o, &result)
	for {
		packet, err := c.next()
		if err != nil {
			p.finish()
			if errors.Is(err, io.EOF) {
				err = p.check()
			}
			return result, err
		}
		p.packet(packet)
	}
}

func newRun(o Options, result *Result) *run {
	p := &run{
		options:    o,
		result:     result,
		classifier: detect.NewClassifier(o.Detectors),
		filter:     newFilter(o.Detectors),
		widths:     widthsOf(o.Detectors),
	}
	p.tracker = newTracker(o.Detectors)
	p.analyzer = detect.NewAnalyzer(o.Detectors, detect.Options{
		Tracked: maxSources, MaxBans: o.MaxBans, BansPerMinute: o.BansPerMinute,
		Exempt: o.Exempt, PartlyExempt: o.PartlyExempt, About: p.tracker.about,
	})
	return p
}

// check returns an error if no packet has a link type that can be parsed.
func (p *run) check() error {
	if s := p.result.Summary; s.Packets > 0 && s.UnknownLink == s.Packets {
		return errors.New("no packet has a known link type; " +
			"want Ethernet, raw IP or Linux cooked (tcpdump -i any)")
	}
	return nil
}

func (p *run) packet(packet packet) {
	s := &p.result.Summary
	p.advance(packet.time)
	s.Packets++
	if !supported(packet.link) {
		s.UnknownLink++
		return
	}
	h, out := parse(packet.link, packet.data, packet.wire)
	if out == counted && p.isLocal(h.Source) {
		out = outgoing
	}
	switch out {
	case notIP:
		s.NotIP++
	case malformed:
		s.Malformed++
	case cutShort:
		s.CutShort++
	case outgoing:
		s.Outgoing++
	default:
		p.count(h, p.at(packet.time))
	}
}

func (p *run) isLocal(a netip.Addr) bool {
	return slices.ContainsFunc(p.options.Local, func(l netip.Prefix) bool { return l.Contains(a) })
}

// count does with a packet what the packet program would do.
func (p *run) count(h detect.Header, now policy.Deadline) {
	s := &p.result.Summary
	p.busy = true
	if p.filter.drops(h, now) {
		s.Dropped++
		return
	}
	s.Counted++
	detectors := p.classifier.Classify(h)
	widths := p.widths.ipv6
	if h.Source.Is4() {
		widths = p.widths.ipv4
	}
	full := h.Source.BitLen()
	var single detect.DetectorSet // detectors that count the address by itself
	for _, w := range widths {
		mine := detectors & w.mask
		if w.bits == full {
			single |= mine
			continue
		}
		if source, err := h.Source.Prefix(w.bits); err == nil && p.analyzer.IsSplit(source) {
			single |= mine
		}
		p.countAs(h, w.bits, mine, now)
	}
	p.countAs(h, full, single, now)
}

// countAs counts a packet for the source of a length that contains its address.
func (p *run) countAs(h detect.Header, bits int, detectors detect.DetectorSet, now policy.Deadline) {
	if detectors != 0 && !p.tracker.count(h, bits, detectors, now, &p.result.Summary) {
		p.result.Summary.TooMany++
	}
}

// at returns the boot time for a time in the capture. Packets may be slightly out of
// order; the returned time never goes back before the last tick.
func (p *run) at(t time.Time) policy.Deadline {
	return max(boot+policy.Deadline(t.Sub(p.first)), p.now)
}

// advance advances time to t, tick by tick while there is something to count.
func (p *run) advance(t time.Time) {
	s := &p.result.Summary
	if s.Packets == 0 {
		p.first, s.First, s.Last = t, t, t
		p.now = boot
		p.analyzer.Tick(boot, nil)
	}
	if t.After(s.Last) {
		s.Last = t
	}
	for to := p.at(t); p.now+policy.Deadline(tick) <= to; {
		if p.busy || p.tracker.busy() {
			p.tick(p.now + policy.Deadline(tick))
			continue
		}
		// Nothing happens in a gap: one tick at its end is enough.
		p.tick(to - (to-p.now)%policy.Deadline(tick))
	}
}

func (p *run) tick(now policy.Deadline) {
	p.now, p.busy = now, false
	p.analyzer.Observe(now, p.filter.report(now))
	for _, d := range p.analyzer.Tick(now, p.tracker.counts) {
		d.Evidence.Ports = slices.Clone(d.Evidence.Ports)
		p.filter.apply(d)
		p.result.Decisions = append(p.result.Decisions, Decision{d, p.time(now)})
	}
	for _, s := range p.analyzer.Spared() {
		p.result.Spared = append(p.result.Spared, Spared{s, p.time(now)})
	}
	p.tracker.release(now)
}

// finish makes a last tick if packets came since the previous one.
func (p *run) finish() {
	if p.busy {
		p.tick(p.now + policy.Deadline(tick))
	}
}

// time returns the time in the capture for a boot time.
func (p *run) time(d policy.Deadline) time.Time { return p.first.Add(time.Duration(d - boot)).UTC() }

// When returns the time in the capture for a deadline in a decision.
func (r *Result) When(d policy.Deadline) time.Time {
	return r.Summary.First.Add(time.Duration(d - boot)).UTC()
}
