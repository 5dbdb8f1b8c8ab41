package ladder

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/paraxial/paraxial/policy"
)

// Key identifies an offender: the origin of its entries, and its prefix.
type Key struct {
	Origin string
	Prefix netip.Prefix
}

// compare orders keys by prefix, then by origin.
func (k Key) compare(other Key) int {
	return cmp.Or(k.Prefix.Compare(other.Prefix), cmp.Compare(k.Origin, other.Origin))
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
	offences map[Key]offence
}

// Offences returns the number of offences that are remembered of k.
func (l *Ladder) Offences(k Key, now policy.Deadline) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	o, known := l.memory.offences[k]
	if !known || o.forgets <= now {
		return 0
	}
	return o.count
}

// Remember notes the ban of an offender, which ends at until and is the offence of this number.
func (l *Ladder) Remember(k Key, esc Escalate, number int, until, now policy.Deadline) {
	if esc.Factor <= 1 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.memory.note(k, offence{number, until, policy.After(until, esc.Forget)}, now)
}

// Forgive drops the records of the offenders that contain an address, and returns them.
func (l *Ladder) Forgive(address netip.Addr, now policy.Deadline) []Offender {
	l.mu.Lock()
	defer l.mu.Unlock()
	var list []Offender
	for k, o := range l.memory.offences {
		if !k.Prefix.Contains(address) {
			continue
		}
		delete(l.memory.offences, k)
		if o.forgets > now {
			list = append(list, Offender{k, o.count, time.Duration(o.forgets - now)})
		}
	}
	slices.SortFunc(list, func(a, b Offender) int { return a.Key.compare(b.Key) })
	return list
}

// Remembered returns the number of records.
func (l *Ladder) Remembered() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.memory.offences)
}

func (m *memory) note(k Key, o offence, now policy.Deadline) {
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
		Key
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
		return cmp.Or(cmp.Compare(a.until, b.until), a.Key.compare(b.Key))
	})
	for _, r := range list[:len(list)-keep] {
		delete(m.offences, r.Key)
	}
}

// Offender is a source whose next ban will be longer. The daemon keeps it across
// restarts.
type Offender struct {
	Key
	Offences int
	Forget   time.Duration // time until it is forgotten
}

// Offenders returns the offenders, sorted by prefix and origin.
func (l *Ladder) Offenders(now policy.Deadline) []Offender {
	l.mu.Lock()
	defer l.mu.Unlock()
	var list []Offender
	for k, o := range l.memory.offences {
		if o.forgets > now {
			list = append(list, Offender{k, o.count, time.Duration(o.forgets - now)})
		}
	}
	slices.SortFunc(list, func(a, b Offender) int { return a.Key.compare(b.Key) })
	return list
}

// Restore adds offenders of an earlier run or configuration. known has the settings by origin; the
// offenders of other origins are left out.
func (l *Ladder) Restore(now policy.Deadline, offenders []Offender, known map[string]Escalate) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, o := range offenders {
		esc, ok := known[o.Origin]
		if !ok || o.Offences < 1 || o.Forget <= 0 || !o.Prefix.IsValid() {
			continue
		}
		o.Prefix = o.Prefix.Masked()
		forgets := policy.After(now, o.Forget)
		l.memory.note(o.Key, offence{min(o.Offences, MaxOffences), forgets - policy.Deadline(esc.Forget), forgets}, now)
	}
}

// MaxOffences bounds the count. A higher one makes no difference: with a factor of 2,
// even a ban of one second is longer than MaxFor by then.
const MaxOffences = 64
