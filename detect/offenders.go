package detect

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/paraxial/paraxial/policy"
)

// entryKey identifies an entry, live or remembered, by its detector and prefix.
type entryKey struct {
	detector int
	prefix   netip.Prefix
}

func (k entryKey) compare(other entryKey) int {
	return cmp.Or(k.prefix.Compare(other.prefix), cmp.Compare(k.detector, other.detector))
}

// offence is the record of an offender.
type offence struct {
	count   int
	until   policy.Deadline // end of the last ban
	forgets policy.Deadline // when the record is dropped
}

// memory holds the records of offenders, at most capacity of them.
type memory struct {
	capacity int
	offences map[entryKey]offence
}

// count returns the number of offences of k.
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

// sweep drops the records that are due. If more than seven eighths of the capacity are
// left, it also drops those whose last ban ended first.
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

// Offender is a source whose next ban will be longer. The daemon keeps it across
// restarts.
type Offender struct {
	Detector string
	Prefix   netip.Prefix
	Offences int
	Forget   time.Duration // time until it is forgotten
}

// Offenders returns the offenders, sorted by prefix and detector.
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

// Restore adds offenders of an earlier run or configuration. Offenders of detectors
// that no longer exist are left out.
func (a *Analyzer) Restore(now policy.Deadline, offenders []Offender) {
	for _, o := range offenders {
		d, known := a.index[o.Detector]
		if !known || o.Offences < 1 || o.Forget <= 0 || !o.Prefix.IsValid() {
			continue
		}
		forgets := policy.After(now, o.Forget)
		k := entryKey{d, o.Prefix.Masked()}
		until := forgets - policy.Deadline(a.detectors[d].Escalate.Forget)
		a.memory.note(k, offence{min(o.Offences, maxOffences), until, forgets}, now)
	}
}

// maxOffences bounds the count. A higher one makes no difference: with a factor of 2,
// even a ban of one second is longer than MaxFor by then.
const maxOffences = 64
