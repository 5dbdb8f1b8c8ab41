package detect

import "github.com/paraxial/paraxial/policy"

// victims are the entries that can make room for another one, the oldest first. They are
// determined once in a tick at most.
type victims struct {
	known       bool
	idleShadows []*entry // of sources that have stopped
	busyShadows []*entry
	idleBans    []*entry
}

// makeRoom lifts entries until there is room for another one. It reports false if there is
// none. A ban makes room only if its source has stopped, and never for a shadow entry. So
// forged sources do not free a source that goes on.
func (a *Analyzer) makeRoom(action Action, tripped bool, now policy.Deadline) bool {
	for {
		full, tooMany := a.options.Ladder.Full(tripped)
		if !full || tooMany {
			return !tooMany
		}
		e := a.victim(action, now)
		if e == nil {
			return false
		}
		a.remove(e)
		a.stats[e.detector].Lifted++
		a.decisions = append(a.decisions, a.decision(Lifted, e, now, a.evidence(e, now)))
	}
}

// victim returns the entry to lift for a new one with an action, or nil.
func (a *Analyzer) victim(action Action, now policy.Deadline) *entry {
	v := &a.victims
	if !v.known {
		a.findVictims(now)
	}
	lists := []*[]*entry{&v.idleShadows, &v.busyShadows, &v.idleBans}
	if action == Shadow {
		lists = lists[:1]
	}
	for _, list := range lists {
		for len(*list) > 0 {
			e := (*list)[0]
			*list = (*list)[1:]
			if a.entries.byKey[e.entryKey] == e {
				return e
			}
		}
	}
	return nil
}

func (a *Analyzer) findVictims(now policy.Deadline) {
	a.victims = victims{known: true}
	for at := a.entries.order.Front(); at != nil; at = at.Next() {
		e := at.Value.(*entry)
		switch idle := a.hasStopped(e, now); {
		case idle && e.action == Shadow:
			a.victims.idleShadows = append(a.victims.idleShadows, e)
		case e.action == Shadow:
			a.victims.busyShadows = append(a.victims.busyShadows, e)
		case idle:
			a.victims.idleBans = append(a.victims.idleBans, e)
		}
	}
}

// hasStopped reports whether the source of e does not send more than the limit. In the
// first window after a decision its drops are not measured yet, and it counts as busy.
func (a *Analyzer) hasStopped(e *entry, now policy.Deadline) bool {
	return now-e.decided >= policy.Deadline(a.detectors[e.detector].Window) && !a.goesOn(e)
}

// refuse makes no entry for a source, because there is no room. The source is judged again
// after retryAfter. It is counted once.
func (a *Analyzer) refuse(k entryKey, s *slot) {
	s.held |= 1 << k.detector
	if s.refused>>k.detector&1 == 1 {
		return
	}
	s.refused |= 1 << k.detector
	a.stats[k.detector].NoRoom++
}

// stillRefused reports whether there is still no room for a source that was refused. The
// breaker has counted it already.
func (a *Analyzer) stillRefused(k entryKey, s *slot, now policy.Deadline) bool {
	if s.refused>>k.detector&1 == 0 {
		return false
	}
	action := a.detectors[k.detector].Action
	tripped := action != Shadow && a.options.Ladder.Breaker().Open
	if tripped {
		action = Shadow
	}
	return !a.makeRoom(action, tripped, now)
}
