package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/detect"
	"github.com/paraxial/paraxial/engine"
	"github.com/paraxial/paraxial/loader"
	"github.com/paraxial/paraxial/policy"
)

// detectorAuthor is the author of what detectors put.
const detectorAuthor = "detector"

// guardAge is how old what the guard knows may be when a detector asks. Reading
// it for every source of an attack would cost more than the attack.
const guardAge = 2 * time.Second

// enforcer carries out what detectors decide. It implements host.
type enforcer struct {
	d *Daemon

	mu       sync.Mutex
	guard    *policy.Guard
	read     time.Time // when guard was
	volatile map[policy.Key]bool

	complains complaints // used by act alone
}

// volatileMark begins the reason of an entry that is in force and not on disk.
const volatileMark = "volatile, not saved: "

// act implements host.
func (v *enforcer) act(ctx context.Context, _ policy.Deadline, decisions []detect.Decision) (failed []detect.Decision) {
	if len(decisions) == 0 {
		return nil
	}
	var planned plannedDecisions
	err := v.apply(ctx, func(b *policy.Book) ([]policy.Op, error) {
		planned = v.plan(b, decisions)
		return planned.ops, nil
	})
	if err != nil {
		if v.complains.due("act") {
			v.d.log.Error("decisions of detectors could not be carried out; they are tried again", "decisions", len(decisions), "error", err)
		}
		return decisions
	}
	for _, made := range carriedOut(decisions, planned.gone) {
		if made.Kind == detect.New {
			v.d.metrics.CountDecision(made.Detector, string(made.Action))
		}
	}
	v.d.announce(control.EventAdded, v.d.wireEntries(planned.put))
	v.d.announce(control.EventRemoved, planned.lifted)
	return planned.gone
}

// carriedOut returns the decisions that are not among failed.
func carriedOut(decisions, failed []detect.Decision) []detect.Decision {
	if len(failed) == 0 {
		return decisions
	}
	keys := make(map[policy.Key]bool, len(failed))
	for _, f := range failed {
		keys[keyOfDecision(f)] = true
	}
	var done []detect.Decision
	for _, d := range decisions {
		if !keys[keyOfDecision(d)] {
			done = append(done, d)
		}
	}
	return done
}

// plannedDecisions are decisions as changes of the book.
type plannedDecisions struct {
	ops    []policy.Op
	put    []policy.Entry
	lifted []control.Entry   // with their drops, which are gone afterwards
	gone   []detect.Decision // extensions of entries that are no longer in the book
}

// plan reads the entries that decisions change while no other change is under
// way: an operator's unblock in between must not be undone.
func (v *enforcer) plan(b *policy.Book, decisions []detect.Decision) (p plannedDecisions) {
	var lifted []policy.Entry
	for _, decision := range decisions {
		key := keyOfDecision(decision)
		old, known := b.Get(key)
		if decision.Kind == detect.Lifted {
			// A ban that an operator armed stays until its end.
			if known && old.Author == detectorAuthor {
				p.ops, lifted = append(p.ops, policy.RemoveOp(key)), append(lifted, old)
			}
			continue
		}
		if decision.Kind == detect.Extended && !known {
			p.gone = append(p.gone, decision)
			continue
		}
		e := v.entryOf(decision)
		if decision.Kind == detect.Extended {
			e = extended(old, e)
		}
		p.ops, p.put = append(p.ops, policy.PutOp(e)), append(p.put, e)
	}
	p.lifted = v.d.wireEntries(lifted)
	return p
}

// apply saves decisions and enforces them. Without a disk it only enforces them.
func (v *enforcer) apply(ctx context.Context, plan func(*policy.Book) ([]policy.Op, error)) error {
	var ops []policy.Op
	err := v.d.engine.Edit(ctx, func(b *policy.Book) (_ []policy.Op, err error) {
		ops, err = plan(b)
		return ops, err
	})
	if _, ok := errors.AsType[*engine.SaveError](err); !ok {
		return err
	}
	if v.complains.due("volatile") {
		v.d.log.Error("bans of detectors are volatile: they are in force, but not saved, and end with a restart", "entries", len(ops), "error", err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for i := range ops {
		if ops[i].IsPut() {
			ops[i].Put.Reason = volatileMark + ops[i].Put.Reason
			v.remember(ops[i].Put.Key())
		}
	}
	return v.d.engine.EditUnsaved(ctx, ops)
}

func (v *enforcer) remember(k policy.Key) {
	if v.volatile == nil {
		v.volatile = make(map[policy.Key]bool)
	}
	v.volatile[k] = true
}

// saveVolatile saves the entries that could not be saved at first.
func (v *enforcer) saveVolatile(ctx context.Context) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.volatile) == 0 {
		return nil
	}
	saved := 0
	err := v.d.engine.Edit(ctx, func(b *policy.Book) (ops []policy.Op, _ error) {
		for key := range v.volatile {
			if entry, ok := b.Get(key); ok {
				entry.Reason = strings.TrimPrefix(entry.Reason, volatileMark)
				ops = append(ops, policy.PutOp(entry))
			}
		}
		saved = len(ops)
		return ops, nil
	})
	if err != nil {
		return err
	}
	clear(v.volatile)
	v.d.log.Info("bans of detectors that were volatile are saved now", "entries", saved)
	return nil
}

func keyOfDecision(d detect.Decision) policy.Key {
	return policy.Key{Kind: policy.Block, Prefix: d.Prefix, Origin: policy.OriginDetector + d.Detector}
}

func (v *enforcer) entryOf(dec detect.Decision) policy.Entry {
	at := func(t policy.Deadline) time.Time { return v.d.engine.Wall(t) }
	key := keyOfDecision(dec)
	e := policy.Entry{
		Prefix: key.Prefix, Kind: key.Kind, Action: decidedAction(dec.Action), Origin: key.Origin, Reason: dec.Evidence.String(),
		Author: detectorAuthor, Created: time.Now().UTC().Truncate(time.Second), Deadline: dec.Until,
		Evidence: &policy.Evidence{
			Detector: dec.Detector, Rate: dec.Evidence.Rate, Limit: dec.Evidence.Limit, Window: dec.Evidence.Window, Count: dec.Evidence.Count,
			First: at(dec.Evidence.First), Last: at(dec.Evidence.Last), Ports: dec.Evidence.Ports,
			Offence: dec.Evidence.Offence, Sources: dec.Evidence.Sources,
		},
	}
	if e.Action == policy.Limit {
		e.Rate = dec.Limit
	}
	return e
}

// extended is an entry that stays what it is, for longer. If somebody has armed
// it meanwhile it stays armed.
func extended(old, fresh policy.Entry) policy.Entry {
	fresh.Created = old.Created
	if old.Author != detectorAuthor {
		fresh.Action, fresh.Rate, fresh.Author, fresh.Forced = old.Action, old.Rate, old.Author, old.Forced
	}
	return fresh
}

func decidedAction(a detect.Action) policy.Action {
	switch a {
	case detect.Block:
		return policy.Drop
	case detect.Limit:
		return policy.Limit
	}
	return policy.Shadow
}

// actionFrom is decidedAction, back.
func actionFrom(a policy.Action) detect.Action {
	switch a {
	case policy.Drop:
		return detect.Block
	case policy.Limit:
		return detect.Limit
	}
	return detect.Shadow
}

// drops implements host.
func (v *enforcer) drops(entries []detect.Entry) []detect.Drops {
	drops := make([]detect.Drops, 0, len(entries))
	v.d.engine.Read(func(b *policy.Book) {
		for _, e := range entries {
			if id := b.HitID(e.Prefix); id != 0 {
				drops = append(drops, detect.Drops{Detector: e.Detector, Prefix: e.Prefix, Packets: v.d.drops.Hits(id)})
			}
		}
	})
	return drops
}

// exempt implements host.
func (v *enforcer) exempt(p netip.Prefix) (reason string, exempt bool) {
	if proxy, ok := v.d.settings().ProxyOf(p); ok {
		return fmt.Sprintf("part of proxies (%s): behind it are all who use it", proxy), true
	}
	now := v.d.engine.Now()
	v.d.engine.Read(func(b *policy.Book) {
		for e := range b.Covering(policy.Allow, p) {
			if e.Live(now) {
				reason, exempt = "allowed by "+e.Origin, true
				return
			}
		}
	})
	if exempt {
		return reason, true
	}
	if refusal := v.fresh().Check(p); refusal != nil {
		return refusal.Error(), true
	}
	return "", false
}

// partlyExempt implements host.
func (v *enforcer) partlyExempt(p netip.Prefix) bool {
	if v.d.settings().BehindProxy(p) || v.fresh().Protects(p) {
		return false
	}
	now, partly := v.d.engine.Now(), true
	v.d.engine.Read(func(b *policy.Book) {
		for e := range b.Covering(policy.Allow, p) {
			partly = partly && !e.Live(now)
		}
	})
	return partly
}

// fresh returns the guard, read lately. What it cannot find out it does not
// protect, which is logged.
func (v *enforcer) fresh() *policy.Guard {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.guard != nil && time.Since(v.read) < guardAge {
		return v.guard
	}
	guard, err := v.d.facts.guard(context.Background())
	if err != nil {
		v.d.log.Warn("guard is incomplete", "error", err)
	}
	v.guard, v.read = guard, time.Now()
	return guard
}

// accounted implements host.
func (v *enforcer) accounted() (packets uint64, err error) {
	all, err := v.d.loader.Counters()
	if err != nil {
		return 0, err
	}
	for _, reasons := range all {
		for reason, c := range reasons {
			if reason.Accounted() {
				packets += c.Packets
			}
		}
	}
	return packets, nil
}

// liveEntries returns what detectors of earlier runs have put.
func liveEntries(e *engine.Engine, now policy.Deadline) []detect.Entry {
	var live []detect.Entry
	e.Read(func(b *policy.Book) {
		for _, ref := range b.Refs(policy.Block) {
			entry, ok := b.Resolve(ref)
			name, automatic := detectorOf(entry.Origin)
			if ok && automatic && entry.Live(now) {
				live = append(live, detect.Entry{Detector: name, Prefix: entry.Prefix, Action: actionFrom(entry.Action), Until: entry.Deadline})
			}
		}
	})
	return live
}

var _ accounts = (*loader.Tracker)(nil)
