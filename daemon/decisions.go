package daemon

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/detect"
	"github.com/paraxial/paraxial/engine"
	"github.com/paraxial/paraxial/guard"
	"github.com/paraxial/paraxial/ladder"
	"github.com/paraxial/paraxial/loader"
	"github.com/paraxial/paraxial/policy"
	"github.com/paraxial/paraxial/warnings"
)

// detectorAuthor is the author of entries that detectors put.
const detectorAuthor = "detector"

// guardAge is the maximum age of the guard that detectors use. To read the guard's facts
// for every source of an attack would cost more than the attack.
const guardAge = 2 * time.Second

// enforcer carries out the decisions of detectors and rules. It implements host.
type enforcer struct {
	d *Daemon

	mu       sync.Mutex
	guard    *policy.Guard
	unknown  error               // guard does not know all protected addresses
	read     time.Time           // when guard was read
	volatile map[policy.Key]bool // entries in force that are not saved
	unsaved  atomic.Int64        // length of volatile; read without mu, which is held while the disk is slow

	full      fullRoom
	complains warnings.Limiter
}

// volatileMark is the start of the reason of an entry that is in force but not saved.
const volatileMark = "volatile, not saved: "

// decision is a decision of a detector or a rule, as a change of the book.
type decision struct {
	kind  ladder.Kind
	entry policy.Entry // if it is lifted, only the key and the author count
	index int          // in the list that the caller has
}

// act implements host.
func (v *enforcer) act(ctx context.Context, _ policy.Deadline, made []detect.Decision) (failed []detect.Decision) {
	decisions := make([]decision, len(made))
	for i, m := range made {
		decisions[i] = decision{m.Kind, v.entryOf(m), i}
	}
	lost := v.carryOut(ctx, decisions)
	for _, n := range lost {
		failed = append(failed, made[n])
	}
	for _, m := range carriedOut(made, lost) {
		if m.Kind == detect.New {
			v.d.metrics.CountDecision(m.Detector, string(m.Action))
		}
	}
	return failed
}

// carriedOut returns the decisions whose numbers are not among lost.
func carriedOut[T any](made []T, lost []int) []T {
	if len(lost) == 0 {
		return made
	}
	missing := make(map[int]bool, len(lost))
	for _, n := range lost {
		missing[n] = true
	}
	var done []T
	for n, m := range made {
		if !missing[n] {
			done = append(done, m)
		}
	}
	return done
}

// carryOut carries out decisions, and returns the indices of those that failed.
func (v *enforcer) carryOut(ctx context.Context, decisions []decision) (failed []int) {
	if len(decisions) == 0 {
		return nil
	}
	decisions, held := v.admitted(decisions)
	if len(decisions) == 0 {
		return indices(held)
	}
	var planned plannedDecisions
	current, _ := v.fresh() // exempt has refused decisions that the guard does not know enough about
	err := v.apply(ctx, func(b *policy.Book) ([]policy.Op, error) {
		planned = v.plan(b, current, decisions)
		return planned.ops, nil
	})
	if errors.Is(err, engine.ErrFull) {
		return append(indices(held), v.refused(ctx, decisions, err)...)
	}
	if err != nil {
		if v.complains.Due("act") {
			v.d.log.Error("decisions of detectors and rules could not be carried out; they are tried again",
				"decisions", len(decisions), "error", err)
		}
		return indices(append(held, decisions...))
	}
	v.found(decisions)
	v.d.broadcast.Announce(control.EventAdded, v.d.wire.Entries(planned.put))
	v.d.broadcast.Announce(control.EventRemoved, planned.lifted)
	return indices(append(held, planned.gone...))
}

func indices(decisions []decision) []int {
	list := make([]int, 0, len(decisions))
	for _, d := range decisions {
		list = append(list, d.index)
	}
	slices.Sort(list)
	return list
}

// plannedDecisions are the changes of the book that carry out decisions.
type plannedDecisions struct {
	ops    []policy.Op
	put    []policy.Entry
	lifted []control.Entry // with their drops, which are gone afterwards
	gone   []decision      // extensions of entries that are no longer in the book
}

// plan turns decisions into changes of the book. It reads the present entries while no
// other change is under way, so that it does not undo an operator's unblock.
func (v *enforcer) plan(b *policy.Book, current *policy.Guard, decisions []decision) (p plannedDecisions) {
	var lifted []policy.Entry
	now := v.d.engine.Now()
	for _, decision := range decisions {
		e := decision.entry
		key := e.Key()
		old, known := b.Get(key)
		if decision.kind == ladder.Lifted {
			// A ban that an operator armed stays until its end.
			if known && old.Author == e.Author {
				p.ops, lifted = append(p.ops, policy.RemoveOp(key)), append(lifted, old)
			}
			continue
		}
		if decision.kind == ladder.Extended && !known {
			p.gone = append(p.gone, decision)
			continue
		}
		live := known && old.Live(now)
		if live || decision.kind == ladder.Extended {
			e = extended(old, e)
		}
		if live {
			var kept bool
			if e, kept = policy.Renew(old, e); kept {
				continue
			}
		}
		entries := []policy.Entry{e}
		if e.Action != policy.Shadow {
			entries = append(guard.Spares(current.Sessions(e.Prefix), v.d.engine.Now()), e)
		}
		for _, e := range entries {
			p.ops, p.put = append(p.ops, policy.PutOp(e)), append(p.put, e)
		}
	}
	p.lifted = v.d.wire.Entries(lifted)
	return p
}

// apply saves and enforces decisions. If they cannot be saved, it only enforces them.
func (v *enforcer) apply(ctx context.Context, plan func(*policy.Book) ([]policy.Op, error)) error {
	var ops []policy.Op
	err := v.d.engine.Edit(ctx, func(b *policy.Book) (_ []policy.Op, err error) {
		ops, err = plan(b)
		return ops, err
	})
	if _, ok := errors.AsType[*engine.SaveError](err); !ok {
		return err
	}
	if v.complains.Due("volatile") {
		v.d.log.Error("bans of detectors and rules are volatile: they are in force, not saved, and end with a restart",
			"entries", len(ops), "error", err)
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

// remember notes that an entry is not saved.
func (v *enforcer) remember(k policy.Key) {
	if v.volatile == nil {
		v.volatile = make(map[policy.Key]bool)
	}
	v.volatile[k] = true
	v.unsaved.Store(int64(len(v.volatile)))
}

// saveVolatile saves the entries that could not be saved before.
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
	v.unsaved.Store(0)
	v.d.log.Info("bans of detectors and rules that were volatile are saved now", "entries", saved)
	return nil
}

func keyOfDecision(d detect.Decision) policy.Key {
	return policy.Key{Kind: policy.Block, Prefix: d.Prefix, Origin: policy.OriginDetector + d.Detector}
}

// detectorOf returns the name of the detector that puts entries of an origin. ok is false
// if the origin is not a detector's.
func detectorOf(origin string) (name string, ok bool) {
	return strings.CutPrefix(origin, policy.OriginDetector)
}

// ruleOf is detectorOf for a rule.
func ruleOf(origin string) (name string, ok bool) {
	return strings.CutPrefix(origin, policy.OriginRule)
}

// entryOf returns the entry that a decision puts.
func (v *enforcer) entryOf(dec detect.Decision) policy.Entry {
	at := func(t policy.Deadline) time.Time { return v.d.engine.Wall(t) }
	key := keyOfDecision(dec)
	e := policy.Entry{
		Prefix: key.Prefix, Kind: key.Kind, Action: decidedAction(dec.Action), Origin: key.Origin,
		Reason: dec.Evidence.String(), Author: detectorAuthor,
		Created: time.Now().UTC().Truncate(time.Second), Deadline: dec.Until,
		Evidence: &policy.Evidence{
			Detector: dec.Detector, Rate: dec.Evidence.Rate, Limit: dec.Evidence.Limit,
			Window: dec.Evidence.Window, Count: dec.Evidence.Count,
			First: at(dec.Evidence.First), Last: at(dec.Evidence.Last), Ports: dec.Evidence.Ports,
			Offence: dec.Evidence.Offence, Sources: dec.Evidence.Sources,
		},
	}
	if e.Action == policy.Limit {
		e.Rate = dec.Limit
	}
	return e
}

// extended returns old with the deadline and evidence of fresh. If an operator has
// promoted the entry meanwhile, it keeps the operator's action.
func extended(old, fresh policy.Entry) policy.Entry {
	fresh.Created = old.Created
	if old.Author != fresh.Author {
		fresh.Action, fresh.Rate, fresh.Author, fresh.Forced = old.Action, old.Rate, old.Author, old.Forced
	}
	return fresh
}

// decidedAction returns the action of an entry that a detector or a rule puts.
func decidedAction(a ladder.Action) policy.Action {
	switch a {
	case ladder.Block:
		return policy.Drop
	case ladder.Limit:
		return policy.Limit
	}
	return policy.Shadow
}

// actionFrom is the inverse of decidedAction.
func actionFrom(a policy.Action) ladder.Action {
	switch a {
	case policy.Drop:
		return ladder.Block
	case policy.Limit:
		return ladder.Limit
	}
	return ladder.Shadow
}

// drops implements host.
func (v *enforcer) drops(entries []detect.Entry) []detect.Drops {
	drops := make([]detect.Drops, 0, len(entries))
	v.d.engine.Read(func(b *policy.Book) {
		for _, e := range entries {
			if id := b.HitID(e.Prefix); id != 0 {
				packets := v.d.wire.Drops.Hits(id)
				drops = append(drops, detect.Drops{Detector: e.Detector, Prefix: e.Prefix, Packets: packets})
			}
		}
	})
	return drops
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

// liveEntries returns the live entries of detectors, which include those of earlier runs.
func liveEntries(e *engine.Engine, now policy.Deadline) []detect.Entry {
	var live []detect.Entry
	e.Read(func(b *policy.Book) {
		for _, ref := range b.Refs(policy.Block) {
			entry, ok := b.Resolve(ref)
			name, automatic := detectorOf(entry.Origin)
			if ok && automatic && entry.Live(now) {
				live = append(live, detect.Entry{
					Detector: name, Prefix: entry.Prefix, Action: actionFrom(entry.Action), Until: entry.Deadline,
				})
			}
		}
	})
	return live
}

var _ accounts = (*loader.Tracker)(nil)
