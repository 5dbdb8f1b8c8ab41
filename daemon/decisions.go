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
	"github.com/paraxial/paraxial/loader"
	"github.com/paraxial/paraxial/policy"
)

// detectorAuthor is the author of what detectors put.
const detectorAuthor = "detector"

// guardAge is how old what the guard knows may be when a detector asks. Reading
// it for every source of an attack would cost more than the attack.
const guardAge = 2 * time.Second

// verdicts carries out what detectors decide. It implements surroundings.
type verdicts struct {
	d *Daemon

	mu       sync.Mutex
	guard    *policy.Guard
	read     time.Time // when guard was
	volatile map[policy.Key]bool
}

// volatileMark begins the reason of an entry that is in force and not on disk.
const volatileMark = "volatile, not saved: "

// act implements surroundings.
func (v *verdicts) act(ctx context.Context, now policy.Deadline, decisions []detect.Decision) (failed []detect.Decision) {
	if len(decisions) == 0 {
		return nil
	}
	var ops []policy.Op
	var put, lifted []policy.Entry
	v.d.engine.read(func(b *policy.Book) {
		for _, decision := range decisions {
			key := keyOfDecision(decision)
			old, known := b.Get(key)
			if decision.Kind == detect.Lifted {
				if known {
					ops, lifted = append(ops, policy.RemoveOp(key)), append(lifted, old)
				}
				continue
			}
			e := v.entryOf(decision)
			if known && decision.Kind == detect.Extended {
				e = extended(old, e)
			}
			ops, put = append(ops, policy.PutOp(e)), append(put, e)
		}
	})
	gone := v.d.wireEntries(lifted) // while there are counters
	if err := v.apply(ctx, ops); err != nil {
		v.d.log.Error("decisions of detectors could not be carried out; they are tried again", "decisions", len(decisions), "error", err)
		return decisions
	}
	v.tell(decisions)
	v.d.announce(control.EventAdded, v.d.wireEntries(put))
	v.d.announce(control.EventRemoved, gone)
	return nil
}

// apply saves decisions, or enforces them all the same.
func (v *verdicts) apply(ctx context.Context, ops []policy.Op) error {
	err := v.d.engine.apply(ctx, ops)
	if _, ok := errors.AsType[*saveError](err); !ok {
		return err
	}
	v.d.log.Error("bans of detectors are volatile: they are in force, but not saved, and end with a restart", "entries", len(ops), "error", err)
	v.mu.Lock()
	defer v.mu.Unlock()
	for i := range ops {
		if ops[i].IsPut() {
			ops[i].Put.Reason = volatileMark + ops[i].Put.Reason
			v.remember(ops[i].Put.Key())
		}
	}
	return v.d.engine.applyUnsaved(ctx, ops)
}

func (v *verdicts) remember(k policy.Key) {
	if v.volatile == nil {
		v.volatile = make(map[policy.Key]bool)
	}
	v.volatile[k] = true
}

// saveVolatile saves what no disk took at first.
func (v *verdicts) saveVolatile(ctx context.Context) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.volatile) == 0 {
		return nil
	}
	e := v.d.engine
	e.change.Lock()
	defer e.change.Unlock()
	var ops []policy.Op
	for key := range v.volatile {
		if entry, ok := e.book.Get(key); ok {
			entry.Reason = strings.TrimPrefix(entry.Reason, volatileMark)
			ops = append(ops, policy.PutOp(entry))
		}
	}
	if err := e.applyLocked(ctx, ops); err != nil {
		return err
	}
	clear(v.volatile)
	v.d.log.Info("bans of detectors that were volatile are saved now", "entries", len(ops))
	return nil
}

// tell logs decisions, each once.
func (v *verdicts) tell(decisions []detect.Decision) {
	for _, dec := range decisions {
		if dec.Kind == detect.New {
			v.d.metrics.CountDecision(dec.Detector, string(dec.Action))
		}
		v.d.log.Info("detector "+dec.Kind.String(), "detector", dec.Detector, "source", dec.Prefix, "action", string(dec.Action),
			"for", policy.FormatTTL(dec.For), "breaker", dec.Tripped, "evidence", dec.Evidence.String())
	}
}

func keyOfDecision(d detect.Decision) policy.Key {
	return policy.Key{Kind: policy.Block, Prefix: d.Prefix, Origin: policy.OriginDetector + d.Detector}
}

func (v *verdicts) entryOf(dec detect.Decision) policy.Entry {
	at := func(t policy.Deadline) time.Time { return v.d.engine.clock.wall(t) }
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

// drops implements surroundings.
func (v *verdicts) drops(entries []detect.Entry) []detect.Drops {
	drops := make([]detect.Drops, 0, len(entries))
	v.d.engine.read(func(b *policy.Book) {
		for _, e := range entries {
			if id := b.HitID(e.Prefix); id != 0 {
				drops = append(drops, detect.Drops{Detector: e.Detector, Prefix: e.Prefix, Packets: v.d.engine.kernel.Hits(id)})
			}
		}
	})
	return drops
}

// exempt implements surroundings.
func (v *verdicts) exempt(p netip.Prefix) (reason string, exempt bool) {
	if proxy, ok := v.d.settings().ProxyOf(p); ok {
		return fmt.Sprintf("part of proxies (%s): behind it are all who use it", proxy), true
	}
	now := v.d.engine.clock.now()
	v.d.engine.read(func(b *policy.Book) {
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

// fresh returns the guard, read lately. What it cannot find out it does not
// protect, which is logged.
func (v *verdicts) fresh() *policy.Guard {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.guard != nil && time.Since(v.read) < guardAge {
		return v.guard
	}
	guard, err := v.d.guard(context.Background())
	if err != nil {
		v.d.log.Warn("guard is incomplete", "error", err)
	}
	v.guard, v.read = guard, time.Now()
	return guard
}

// accounted implements surroundings.
func (v *verdicts) accounted() (packets uint64, err error) {
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
func (e *engine) liveEntries(now policy.Deadline) []detect.Entry {
	var live []detect.Entry
	e.read(func(b *policy.Book) {
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
