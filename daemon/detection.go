package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/paraxial/paraxial/config"
	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/detect"
	"github.com/paraxial/paraxial/ladder"
	"github.com/paraxial/paraxial/ladder/journal"
	"github.com/paraxial/paraxial/loader"
	"github.com/paraxial/paraxial/metrics"
	"github.com/paraxial/paraxial/policy"
	"github.com/paraxial/paraxial/track"
	"github.com/paraxial/paraxial/warnings"
)

// saveEvery is the shortest time between two writes of the offenders during an attack.
const saveEvery = 5 * time.Second

// tickInterval is the time between two reads of the counters of tracked sources.
const tickInterval = 250 * time.Millisecond

// accounts is the part of loader.Tracker that detection needs. A slot is here the place
// of a tracked source in the table of the program.
type accounts interface {
	SetClasses([]loader.Level, []loader.Class) error
	SetSampling(n uint32)
	Samples(func(loader.Sample)) error
	Track(level int, source netip.Prefix) (slot uint32, err error)
	Untrack(level int, source netip.Prefix) error
	Counts(func(slot uint32, level int, source netip.Prefix, counters *[detect.MaxDetectors]uint32))
	LostSamples() uint64
	Capacity() int
}

// host is what detection needs of the rest of the daemon.
type host interface {
	// act carries out decisions and returns those that failed.
	act(ctx context.Context, now policy.Deadline, decisions []detect.Decision) (failed []detect.Decision)
	// drops returns how many packets live entries have dropped so far.
	drops(entries []detect.Entry) []detect.Drops
	// exempt reports whether a prefix must be left alone, and why.
	exempt(netip.Prefix) (reason string, exempt bool)
	// partlyExempt reports whether an exempt prefix is exempt only because of a part of it.
	partlyExempt(netip.Prefix) bool
	// accounted returns how many packets have passed by the verdict on their source.
	accounted() (packets uint64, err error)
}

// detection gives samples and counters to the detectors, and their decisions to host.
// It is off if no detectors are configured.
type detection struct {
	log      *slog.Logger
	accounts accounts
	host     host
	observe  func(time.Duration) // gets the duration of each tick, for the metrics
	shown    atomic.Pointer[metrics.Detection]

	mu        sync.Mutex // guards all fields below; held for a whole tick
	cfg       config.Config
	levels    []loader.Level
	analyzer  *detect.Analyzer // nil while off
	promoter  *detect.Promoter
	began     []policy.Deadline // when tracking began, by slot of the source
	counts    []detect.Counts
	active    []detect.Activity
	sampling  sampling
	observed  policy.Deadline // when drops were last read
	followed  policy.Deadline // when the tracked sources were last chosen
	splits    []netip.Prefix  // sources whose addresses are counted one by one
	complains warnings.Limiter
	journal   *journal.Journal
	noRoom    uint64 // sources without room, as last said
}

// configure puts the detectors of cfg in force. They start with the live entries given, and
// with what the ladder remembers.
func (d *detection) configure(
	cfg config.Config, now policy.Deadline, live []detect.Entry, shared *ladder.Ladder,
) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	levels, classes := detect.Compile(cfg.Detectors)
	if err := d.accounts.SetClasses(levels, classes); err != nil {
		return fmt.Errorf("put %d detectors in force: %w", len(cfg.Detectors), err)
	}
	d.cfg, d.levels = cfg, levels
	d.began = make([]policy.Deadline, d.accounts.Capacity())
	d.counts, d.active, d.splits = nil, nil, nil
	if len(cfg.Detectors) == 0 {
		d.accounts.SetSampling(0)
		d.analyzer, d.promoter = nil, nil
		return nil
	}
	d.promoter = detect.NewPromoter(cfg.Detectors, d.accounts.Capacity(), rand.Uint64())
	d.analyzer = detect.NewAnalyzer(cfg.Detectors, detect.Options{
		Tracked: d.accounts.Capacity(), Ladder: shared,
		Exempt: d.host.exempt, PartlyExempt: d.host.partlyExempt, About: d.promoter.About,
	})
	d.analyzer.Adopt(now, live)
	d.sampling = sampling{}
	d.sampling.interval, _ = d.promoter.Interval(0)
	d.accounts.SetSampling(d.sampling.interval)
	return nil
}

// tick reads samples and counters, decides, and acts. It reports whether there were
// decisions.
func (d *detection) tick(ctx context.Context, now policy.Deadline) (acted bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	defer d.show()
	d.journal.Turn(now)
	if d.analyzer == nil {
		return false
	}
	begin := time.Now()
	if err := d.accounts.Samples(func(s loader.Sample) { d.promoter.Add(now, sampleOf(s)) }); err != nil {
		d.complains.Log(d.log, "detection: samples", err)
	}
	d.observeDrops(now)
	decisions := d.analyzer.Tick(now, d.read())
	d.report()
	failed := d.host.act(ctx, now, decisions)
	for _, f := range failed {
		d.analyzer.Remove(f.Detector, f.Prefix)
	}
	for _, made := range succeeded(decisions, failed) {
		d.journal.Decision(journal.Decision{
			Name: made.Detector, Kind: made.Kind, Source: made.Prefix, Action: string(made.Action), For: made.For,
			Tripped: made.Tripped, Evidence: made.Evidence.String(),
		})
	}
	d.follow(now)
	d.adapt(now)
	d.observe(time.Since(begin))
	return len(decisions) > 0
}

// succeeded returns the decisions about entries of which no decision has failed.
func succeeded(made, failed []detect.Decision) []detect.Decision {
	if len(failed) == 0 {
		return made
	}
	keys := make(map[policy.Key]bool, len(failed))
	for _, f := range failed {
		keys[keyOfDecision(f)] = true
	}
	return slices.DeleteFunc(slices.Clone(made), func(m detect.Decision) bool { return keys[keyOfDecision(m)] })
}

// flush logs what the journal holds back.
func (d *detection) flush() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.journal.Flush()
}

// read copies the counters of all tracked sources.
func (d *detection) read() []detect.Counts {
	d.counts = d.counts[:0]
	d.accounts.Counts(func(slot uint32, _ int, source netip.Prefix, counters *[detect.MaxDetectors]uint32) {
		d.counts = append(d.counts, detect.Counts{Slot: slot, Source: source, Began: d.began[slot], Values: *counters})
	})
	return d.counts
}

// observeDrops tells the analyzer how many packets its entries have dropped, four times
// in the shortest window.
func (d *detection) observeDrops(now policy.Deadline) {
	shortest := detect.MaxWindow
	for _, detector := range d.cfg.Detectors {
		shortest = min(shortest, detector.Window)
	}
	if now-d.observed < policy.Deadline(shortest/4) {
		return
	}
	d.observed = now
	d.analyzer.Observe(now, d.host.drops(d.analyzer.Entries()))
}

const (
	// manyTracked is a number of tracked sources. If more are tracked, sources are chosen
	// once per followEvery instead of at every tick, because the choice takes longer.
	manyTracked = 10_000
	followEvery = policy.Deadline(time.Second)
)

// follow starts to track sources that the promoter chooses, and stops tracking others.
func (d *detection) follow(now policy.Deadline) {
	if d.promoter.Tracked() > manyTracked && now-d.followed < followEvery {
		return
	}
	d.followed = now
	d.active = d.analyzer.Activities(d.active[:0])
	if len(d.levels) > 1 {
		d.active = busiest(d.active)
	}
	d.followSplits(now)
	changes := d.promoter.Changes(now, d.active)
	for _, source := range changes.Release {
		d.untrack(source)
	}
	for _, source := range changes.Track {
		if err := d.track(source, now); err != nil {
			d.promoter.Forget(source)
			d.untrack(source)
			d.complains.Log(d.log, "detection: tracking", err)
		}
	}
}

// followSplits counts addresses one by one inside the sources that are split.
func (d *detection) followSplits(now policy.Deadline) {
	splits := d.analyzer.Splits()
	if slices.Equal(splits, d.splits) {
		return
	}
	d.splits = splits
	d.promoter.Split(splits)
	for _, a := range d.active { // some are tracked already, at a level of single addresses
		if err := d.trackSingle(a.Source, now); err != nil {
			d.complains.Log(d.log, "detection: tracking", err)
		}
	}
}

// trackSingle counts an address inside the sources that contain it and are split.
func (d *detection) trackSingle(source netip.Prefix, now policy.Deadline) error {
	if !source.IsSingleIP() || !d.analyzer.InSplit(source.Addr()) {
		return nil
	}
	slot, err := d.accounts.Track(track.Single, source)
	if err != nil {
		return err
	}
	d.began[slot] = now
	return nil
}

// busiest merges the activities of a source that is tracked at both levels into one, with
// the later time and the larger share.
func busiest(active []detect.Activity) []detect.Activity {
	at := make(map[netip.Prefix]int, len(active))
	one := active[:0]
	for _, a := range active {
		i, known := at[a.Source]
		if !known {
			at[a.Source] = len(one)
			one = append(one, a)
			continue
		}
		one[i].Seen, one[i].Share = max(one[i].Seen, a.Seen), max(one[i].Share, a.Share)
	}
	return one
}

// track counts a source at every level that has prefixes of its length.
func (d *detection) track(source netip.Prefix, now policy.Deadline) error {
	for level, l := range d.levels {
		if bitsOf(l, source) != source.Bits() {
			continue
		}
		slot, err := d.accounts.Track(level, source)
		if err != nil {
			return err
		}
		d.began[slot] = now
	}
	return d.trackSingle(source, now)
}

// untrack is the inverse of track.
func (d *detection) untrack(source netip.Prefix) {
	for level, l := range d.levels {
		if bitsOf(l, source) != source.Bits() {
			continue
		}
		if err := d.accounts.Untrack(level, source); err != nil {
			d.complains.Log(d.log, "detection: tracking", err)
		}
	}
	if !source.IsSingleIP() {
		return
	}
	if err := d.accounts.Untrack(track.Single, source); err != nil {
		d.complains.Log(d.log, "detection: tracking", err)
	}
}

// bitsOf returns the prefix length of a level for the family of p.
func bitsOf(l loader.Level, p netip.Prefix) int {
	if p.Addr().Is4() {
		return l.IPv4
	}
	return l.IPv6
}

// removed tells the analyzer about entries that an operator removed. It judges their
// sources again.
func (d *detection) removed(entries []control.Entry) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.analyzer == nil {
		return
	}
	for _, e := range entries {
		name, automatic := detectorOf(e.Origin)
		if p, err := netip.ParsePrefix(e.Prefix); automatic && err == nil {
			d.analyzer.Remove(name, p)
		}
	}
}

// show copies the values for the metrics, so that a scrape does not wait for a tick. A
// tick waits for the changes that it makes.
func (d *detection) show() {
	s := metrics.Detection{}
	if d.analyzer != nil {
		s = metrics.Detection{
			Enabled: true, Tracked: d.promoter.Tracked(), Lost: d.accounts.LostSamples(),
			Exceeded: d.sampling.exceeded, NoRoom: d.noRoom,
		}
	}
	d.shown.Store(&s)
}

// snapshot returns the values that show copied last.
func (d *detection) snapshot() metrics.Detection {
	if s := d.shown.Load(); s != nil {
		return *s
	}
	return metrics.Detection{}
}

// detect runs a tick of the detectors every tickInterval until ctx is done, and saves
// offenders after decisions.
func (d *Daemon) detect(ctx context.Context) {
	tick := time.NewTicker(tickInterval)
	defer tick.Stop()
	d.detecting.Beat()
	unsaved, saved := false, time.Time{}
	for {
		select {
		case <-ctx.Done():
			d.detection.flush()
			return
		case <-tick.C:
			unsaved = d.detection.tick(ctx, d.engine.Now()) || unsaved
			d.detecting.Beat()
		}
		if unsaved && time.Since(saved) > saveEvery {
			if err := d.saveOffenders(); err != nil {
				d.log.Error("repeat offenders cannot be saved; a restart would forget them", "error", err)
			}
			unsaved, saved = false, time.Now()
		}
	}
}
