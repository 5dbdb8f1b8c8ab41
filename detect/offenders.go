package detect

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/paraxial/paraxial/policy"
)

// entryKey is an entry, live or remembered: what one detector thinks of a prefix.
type entryKey struct {
	detector int
	prefix   netip.Prefix
}

func (k entryKey) compare(other entryKey) int {
	return cmp.Or(k.prefix.Compare(other.prefix), cmp.Compare(k.detector, other.detector))
}

// offence is what is remembered of an offender.
type offence struct {
	count   int
	until   policy.Deadline // the end of the last ban
	forgets policy.Deadline // when all is forgotten
}

// memory remembers offenders, at most capacity of them.
type memory struct {
	capacity int
	offences map[entryKey]offence
}

// count returns how many offences of k are remembered.
func (m *memory) count(k entryKey, now policy.Deadline) int {
	o, known := m.offences[k]
	if !known || o.forgets <= now {
		return 0
	}
	return o.count
}

func (m *memory) note(k entryKey, o offence, now policy.Deadline) {
	m.offences[k] = o
	if len(m.offences) > m.capacity {
		m.sweep(now)
	}
}

// sweep forgets what is due and, if that is not enough for a while, those whose
// last ban ended first.
func (m *memory) sweep(now policy.Deadline) {
	keep := m.capacity - m.capacity/8
	type remembered struct {
		entryKey
		offence
	}
	var list []remembered
	for k, o := range m.offences {
		if o.forgets <= now {
			delete(m.offences, k)
			continue
		}
		list = append(list, remembered{k, o})
	}
	if len(list) <= keep {
		return
	}
	slices.SortFunc(list, func(a, b remembered) int {
		return cmp.Or(cmp.Compare(a.until, b.until), a.entryKey.compare(b.entryKey))
	})
	for _, r := range list[:len(list)-keep] {
		delete(m.offences, r.entryKey)
	}
}

// Offender is a source whose next ban will be longer, for the daemon to keep
// across restarts.
type Offender struct {
	Detector string
	Prefix   netip.Prefix
	Offences int
	Forget   time.Duration // until all is forgotten
}

// Offenders returns who is remembered, by prefix and detector.
func (a *Analyzer) Offenders(now policy.Deadline) []Offender {
	var keys []entryKey
	for k, o := range a.memory.offences {
		if o.forgets > now {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, entryKey.compare)
	list := make([]Offender, 0, len(keys))
	for _, k := range keys {
		o := a.memory.offences[k]
		list = append(list, Offender{a.detectors[k.detector].Name, k.prefix, o.count, time.Duration(o.forgets - now)})
	}
	return list
}

// Restore makes a remember offenders of an earlier run or configuration. Those
// of detectors that are no more are left out.
func (a *Analyzer) Restore(now policy.Deadline, offenders []Offender) {
	for _, o := range offenders {
		d, known := a.index[o.Detector]
		if !known || o.Offences < 1 || o.Forget <= 0 || !o.Prefix.IsValid() {
			continue
		}
		forgets := policy.After(now, o.Forget)
		k := entryKey{d, o.Prefix.Masked()}
		a.memory.note(k, offence{min(o.Offences, maxOffences), forgets - policy.Deadline(a.detectors[d].Escalate.Forget), forgets}, now)
	}
}

// maxOffences is more than makes a difference: with a factor of 2 a second
// becomes longer than MaxFor.
const maxOffences = 64
