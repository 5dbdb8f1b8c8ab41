// Package replay runs a capture through the detectors and tells what they would
// have decided, so that one can be tried on yesterday's traffic. Every source
// is counted, as if it were tracked, and what is decided takes effect: sources
// that are blocked are not counted while they are.
//
// The clock is the capture's, so the same capture gives the same decisions.
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

// Options are what to replay with.
type Options struct {
	Detectors     []detect.Detector
	MaxBans       int
	BansPerMinute int
	Exempt        func(netip.Prefix) (reason string, exempt bool)
	// Local are the addresses of the host that was captured: packets from them
	// went out, and a filter would not have seen them.
	Local []netip.Prefix
}

// Summary is what was in a capture.
type Summary struct {
	Packets     uint64 // in all
	Counted     uint64 // of those, looked at by detectors
	Dropped     uint64 // would have been dropped
	NotIP       uint64
	Malformed   uint64
	CutShort    uint64 // too little was captured
	Outgoing    uint64
	UnknownLink uint64 // of interfaces of a kind that is not understood
	TooMany     uint64 // of sources beyond what is counted at once
	Sources     uint64 // counted again if they come back after a while
	First, Last time.Time
}

// Decision is a decision at the time of the capture.
type Decision struct {
	detect.Decision
	Time time.Time
}

// Spared is a source that was left alone, at the time of the capture.
type Spared struct {
	detect.Spared
	Time time.Time
}

// Result is all that came out of a capture.
type Result struct {
	Summary   Summary
	Decisions []Decision
	Spared    []Spared
}

const (
	// tick is how often the daemon would look.
	tick = 250 * time.Millisecond
	// boot is when captures begin, since boot.
	boot = policy.Deadline(time.Hour)
	// maxSources is how many sources are counted at once.
	maxSources = 1 << 19
)

// run is a replay under way.
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
	busy  bool            // packets since then
}

// widths are the lengths of prefixes that are counted, of a family, and which
// detectors count by each.
type widths struct{ ipv4, ipv6 []width }

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

// Run replays the capture in r. If it is cut short or damaged, the result is
// that of what comes before, and the error tells the place.
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
		Tracked: maxSources, MaxBans: o.MaxBans, BansPerMinute: o.BansPerMinute, Exempt: o.Exempt, About: p.tracker.about,
	})
	return p
}

// check says if nothing could be made of the whole capture.
func (p *run) check() error {
	if s := p.result.Summary; s.Packets > 0 && s.UnknownLink == s.Packets {
		return errors.New("no packet of a link type that is understood; want Ethernet, raw IP or Linux cooked (tcpdump -i any)")
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

// count is what the packet program does with a packet.
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
	for _, w := range widths {
		if mine := detectors & w.mask; mine != 0 && !p.tracker.count(h, w.bits, mine, now, s) {
			s.TooMany++
		}
	}
}

// at returns the boot time of a time of the capture. Packets may be a little out
// of order; time is not.
func (p *run) at(t time.Time) policy.Deadline {
	return max(boot+policy.Deadline(t.Sub(p.first)), p.now)
}

// advance lets time pass to t, tick by tick while there was something to count.
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
		// Nothing happens in a gap, however long it is.
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

// finish looks at what came since the last tick.
func (p *run) finish() {
	if p.busy {
		p.tick(p.now + policy.Deadline(tick))
	}
}

// time returns the time of the capture at a boot time.
func (p *run) time(d policy.Deadline) time.Time { return p.first.Add(time.Duration(d - boot)).UTC() }

// When returns the time of the capture at a deadline in a decision.
func (r *Result) When(d policy.Deadline) time.Time {
	return r.Summary.First.Add(time.Duration(d - boot)).UTC()
}
