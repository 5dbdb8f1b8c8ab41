package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/paraxial/paraxial/config"
	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/events"
	"github.com/paraxial/paraxial/ladder"
	"github.com/paraxial/paraxial/ladder/journal"
	"github.com/paraxial/paraxial/policy"
)

// ruleAuthor is the author of entries that rules put.
const ruleAuthor = "rule"

// mostWaiting is the number of decisions that may wait to be carried out. Beyond it a source is
// counted anew.
const mostWaiting = 4096

// ruling counts the events of reporters by the rules. Counting waits neither for the disk nor for
// the kernel: the loop carries out the decisions.
type ruling struct {
	*Daemon
	journal *journal.Journal               // used by the loop alone
	known   atomic.Pointer[knownGuard]     // nil before there are rules
	wake    chan struct{}                  // there are decisions
	asked   atomic.Bool                    // there were events since the loop last read the guard
	tripped bool                           // the circuit breaker was open, as last logged; used by the loop alone
	told    map[policy.Key]time.Time       // when a ban without effect was last told; used by the loop alone
	futile  atomic.Pointer[[]events.Going] // the bans without effect

	mu      sync.Mutex
	at      policy.Deadline // of the event that is being counted
	counter *events.Counter
	waiting []events.Decision
	useless map[string]uint64 // bans without effect that were told, by rule
}

// knownGuard is a guard that was read for the rules.
type knownGuard struct {
	*policy.Guard // nil if it is incomplete
	at            time.Time
}

// isOld reports whether a guard must be read for the next event.
func (g *knownGuard) isOld() bool { return g == nil || g.Guard == nil || time.Since(g.at) >= knownFor }

func newRuling(d *Daemon, log *slog.Logger) *ruling {
	r := &ruling{
		Daemon: d, journal: journal.New(log, "rule"), wake: make(chan struct{}, 1),
		told: make(map[policy.Key]time.Time), useless: make(map[string]uint64),
	}
	r.counter = events.NewCounter(nil, events.Options{Ladder: ladder.New(0, 0)}, nil)
	return r
}

// configure puts the rules of cfg in force. They start with the live entries of the book and with
// what the ladder remembers. Rules that have not changed go on counting.
func (r *ruling) configure(cfg config.Config, now policy.Deadline, shared *ladder.Ladder) {
	live := r.live(now)
	r.mu.Lock()
	defer r.mu.Unlock()
	options := events.Options{Ladder: shared, Exempt: r.exempt}
	r.counter = events.NewCounter(cfg.Rules, options, r.counter)
	r.counter.Adopt(now, live)
	maps.DeleteFunc(r.useless, func(name string, _ uint64) bool { return !r.counter.Has(name) })
	r.waiting = slices.DeleteFunc(r.waiting, func(d events.Decision) bool { return !r.counter.Has(d.Rule) })
	for _, d := range r.waiting {
		if d.Kind == ladder.Made && d.Action != events.Alert {
			r.counter.Adopt(now, []events.Live{{
				Rule: d.Rule, Prefix: d.Prefix, Action: d.Action, Points: d.Evidence.Points, Until: d.Until,
			}})
		}
	}
}

// live returns the live entries of rules. It looks at every block, in parts, if there are some.
func (r *ruling) live(now policy.Deadline) (live []events.Live) {
	var refs []policy.EntryRef
	r.engine.Read(func(b *policy.Book) {
		for g := range b.Counts() {
			if _, ok := ruleOf(g.Origin); ok && refs == nil {
				refs = b.Refs(policy.Block)
			}
		}
	})
	for batch := range slices.Chunk(refs, entriesBatch) {
		r.engine.Read(func(b *policy.Book) {
			for _, ref := range batch {
				e, ok := b.Resolve(ref)
				name, rule := ruleOf(e.Origin)
				if ok && rule && e.Kind == policy.Block && e.Pending == nil && e.Live(now) {
					live = append(live, liveOf(name, e))
				}
			}
		})
	}
	return live
}

func liveOf(rule string, e policy.Entry) events.Live {
	l := events.Live{Rule: rule, Prefix: e.Prefix, Action: actionFrom(e.Action), Until: e.Deadline}
	if e.Evidence != nil {
		l.Points = int(e.Evidence.Count)
	}
	return l
}

// add counts an event. It waits for no disk.
func (r *ruling) add(e events.Event) events.Outcome {
	r.asked.Store(true)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at = r.engine.Now()
	o := r.counter.Add(r.at, e)
	if len(o.Decisions) == 0 {
		return o
	}
	if len(r.waiting)+len(o.Decisions) > mostWaiting {
		for _, d := range o.Decisions {
			r.counter.Remove(d.Rule, d.Prefix)
		}
		r.counter.Note(e.Rule, e.Reporter, events.NoRoom)
		o.Result, o.Action, o.Decisions = events.NoRoom, "", nil
		return o
	}
	r.waiting = append(r.waiting, o.Decisions...)
	o.Decisions = nil
	select {
	case r.wake <- struct{}{}:
	default:
	}
	return o
}

// exempt returns why a source is left alone, or "". It is called for every event, so it uses the
// guard that the loop has read.
func (r *ruling) exempt(p netip.Prefix) (result events.Result) {
	if _, proxy := r.cfg.Load().ProxyOf(p); proxy {
		return events.Proxy
	}
	now := r.at
	if _, proxy := r.tags.Proxy(p, now); proxy {
		return events.Proxy
	}
	r.engine.Read(func(b *policy.Book) {
		for e := range b.Covering(policy.Allow, p) {
			if e.Live(now) {
				result = events.Allowed
				return
			}
		}
	})
	if result != "" {
		return result
	}
	if guard := r.known.Load(); guard == nil || guard.Guard == nil || guard.Check(p) != nil {
		return events.OwnAddress
	}
	return ""
}

// knownFor is the age of the guard at which it is read again while there are events. That costs
// much more than an event, and before a decision is carried out a fresh guard is asked.
const knownFor = 30 * time.Second

// ready reads the protected addresses, if there are rules. Without them all events are refused.
func (r *ruling) ready(cfg config.Config) {
	if len(cfg.Rules) > 0 {
		r.readGuard()
	}
}

// readGuard reads the protected addresses.
func (r *ruling) readGuard() {
	guard, err := r.enforcer.fresh()
	if err != nil {
		guard = nil // no source may be held: a ban could cut off the operator
	}
	r.known.Store(&knownGuard{guard, time.Now()})
}

// run carries out decisions until ctx is done.
func (r *ruling) run(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	saved, unsaved := time.Time{}, false
	for {
		r.judging.Beat()
		select {
		case <-ctx.Done():
			r.journal.Flush()
			return
		case <-r.wake:
		case <-tick.C:
			r.look(time.Now())
		}
		if r.asked.Swap(false) && r.known.Load().isOld() {
			r.readGuard()
		}
		r.journal.Turn(r.engine.Now())
		unsaved = r.judge(ctx) || unsaved
		if unsaved && time.Since(saved) > saveEvery {
			if err := r.saveOffenders(); err != nil {
				r.log.Error("repeat offenders cannot be saved; a restart would forget them", "error", err)
			}
			unsaved, saved = false, time.Now()
		}
	}
}

// judge carries out the decisions that wait. It reports whether there were any.
func (r *ruling) judge(ctx context.Context) bool {
	r.mu.Lock()
	made := r.waiting
	r.waiting = nil
	r.mu.Unlock()
	if len(made) == 0 {
		return false
	}
	r.readGuard()
	var decisions []decision
	for n, d := range made {
		if d.Action == events.Alert {
			r.alert(d)
			r.note(d)
			continue
		}
		if reason, exempt := r.enforcer.exempt(d.Prefix); exempt {
			r.remove(d.Rule, d.Prefix)
			r.journal.Spared(d.Rule, d.Prefix, reason, evidenceText(d.Evidence))
			continue
		}
		decisions = append(decisions, decision{d.Kind, r.entryOf(d), n})
	}
	failed := make(map[int]bool)
	for _, n := range r.enforcer.carryOut(ctx, decisions) {
		failed[n] = true
		if made[n].Kind == ladder.Made {
			r.remove(made[n].Rule, made[n].Prefix)
		}
	}
	for _, d := range decisions {
		if !failed[d.index] {
			r.note(made[d.index])
		}
	}
	return true
}

// remove tells the rules that an entry is not in force.
func (r *ruling) remove(rule string, p netip.Prefix) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counter.Remove(rule, p)
}

// note logs a decision that was carried out.
func (r *ruling) note(d events.Decision) {
	r.journal.Decision(journal.Decision{
		Name: d.Rule, Kind: d.Kind, Source: d.Prefix, Action: string(d.Action), For: d.For, Tripped: d.Tripped,
		Evidence: evidenceText(d.Evidence),
	})
}

// alert tells clients that watch of a source.
func (r *ruling) alert(d events.Decision) {
	e := r.wire.Entries([]policy.Entry{r.entryOf(d)})[0]
	r.broadcast.Send(control.Event{
		Type: control.EventAlert, Alert: &control.Alert{Source: e.Prefix, Evidence: e.Evidence},
	})
}

// removed tells the rules about entries that an operator removed. Their sources are counted anew.
func (r *ruling) removed(entries []control.Entry) {
	for _, e := range entries {
		if name, ok := ruleOf(e.Origin); ok {
			if p, err := netip.ParsePrefix(e.Prefix); err == nil {
				r.remove(name, p)
			}
		}
	}
}

// look tells of bans without effect, and of the circuit breaker.
func (r *ruling) look(now time.Time) {
	r.mu.Lock()
	going := r.counter.GoingOn()
	r.mu.Unlock()
	r.findFutile(going, now)
	r.tellBreaker()
}

// tellBreaker logs changes of the circuit breaker, which rules and detectors share.
func (r *ruling) tellBreaker() {
	open := r.ladder.Load().Calm(r.engine.Now()).Open
	if open == r.tripped {
		return
	}
	if r.tripped = open; open {
		r.log.Error("circuit breaker open: detectors and rules ban too many sources at once; "+
			"until it closes they only add shadow entries",
			"bans_per_minute", r.settings().Detection.Breaker.BansPerMinute)
	} else {
		r.log.Warn("circuit breaker closed: detectors and rules act again")
	}
}

func keyOfRule(rule string, p netip.Prefix) policy.Key {
	return policy.Key{Kind: policy.Block, Prefix: p, Origin: policy.OriginRule + rule}
}

// entryOf returns the entry that a decision puts.
func (r *ruling) entryOf(d events.Decision) policy.Entry {
	e := policy.Entry{
		Prefix: d.Prefix, Kind: policy.Block, Action: decidedAction(d.Action), Origin: policy.OriginRule + d.Rule,
		Reason: evidenceText(d.Evidence), Author: ruleAuthor, Created: time.Now().UTC().Truncate(time.Second),
		Deadline: d.Until, Evidence: r.evidence(d.Rule, d.Evidence),
	}
	if e.Action == policy.Limit {
		e.Rate = d.Rate
	}
	return e
}

// evidenceText returns the evidence in one line, for the reason of an entry. It has no text of a
// stranger.
func evidenceText(e events.Evidence) string {
	text := fmt.Sprintf("%d points in %s, limit %d", e.Points, policy.FormatTTL(e.Window), e.Limit)
	if e.Sources > 0 {
		text += fmt.Sprintf("; %d sources inside", e.Sources)
	}
	if e.Offence > 1 {
		text += fmt.Sprintf("; offence %d", e.Offence)
	}
	if e.Reporter != "" {
		text += "; told by " + e.Reporter
	}
	return text
}

// evidence returns an evidence as the book keeps it.
func (r *ruling) evidence(rule string, e events.Evidence) *policy.Evidence {
	v := &policy.Evidence{
		Window: e.Window, Count: uint64(e.Points), First: r.engine.Wall(e.First), Last: r.engine.Wall(e.Last),
		Offence: e.Offence, Sources: e.Sources,
		Rule: &policy.RuleEvidence{Rule: rule, Limit: e.Limit, Reporter: e.Reporter},
	}
	for _, s := range e.Seen {
		v.Rule.Seen = append(v.Rule.Seen, policy.Seen{
			Time: r.engine.Wall(s.At), Points: s.Points, User: policy.Visible(s.User), Path: policy.Visible(s.Path),
			Text: policy.Visible(s.Text), Where: policy.Visible(s.Where),
		})
	}
	return v
}
