package replay

import (
	"net/netip"
	"slices"

	"github.com/paraxial/paraxial/detect"
	"github.com/paraxial/paraxial/policy"
)

// tracker counts the packets of every source in a slot.
type tracker struct {
	units  []policy.RateUnit // unit of each detector
	keep   policy.Deadline   // time without a packet after which a source loses its slot
	slots  map[netip.Prefix]uint32
	counts []detect.Counts // by slot
	seen   []seen
	free   []uint32
	looked policy.Deadline // when slots were last released
}

// seen is what is known about a source besides its counters.
type seen struct {
	last  policy.Deadline
	ports []uint16 // the most recent first
}

// maxPorts is the number of ports that are kept of a source.
const maxPorts = 4

func newTracker(list []detect.Detector) *tracker {
	t := &tracker{slots: map[netip.Prefix]uint32{}}
	for _, d := range list {
		t.units = append(t.units, d.Limit.Unit)
		t.keep = max(t.keep, policy.Deadline(d.Window+2*tick))
	}
	return t
}

// count adds a packet to the counters of its source. It reports false if there is no
// slot for the source.
func (t *tracker) count(h detect.Header, bits int, detectors detect.DetectorSet, now policy.Deadline, s *Summary) bool {
	p, err := h.Source.Prefix(bits)
	if err != nil {
		return true // never: the length is valid for the family
	}
	slot, known := t.slots[p]
	if !known {
		if slot, known = t.take(p, now); !known {
			return false
		}
		s.Sources++
	}
	for n, unit := range t.units {
		switch {
		case detectors>>n&1 == 0:
		case unit == policy.Bytes:
			t.counts[slot].Values[n] += h.Length
		default:
			t.counts[slot].Values[n]++
		}
	}
	t.seen[slot].note(h, now)
	return true
}

func (s *seen) note(h detect.Header, now policy.Deadline) {
	s.last = now
	if !h.Transport || len(s.ports) > 0 && s.ports[0] == h.Port {
		return
	}
	s.ports = slices.DeleteFunc(s.ports, func(p uint16) bool { return p == h.Port })
	s.ports = slices.Insert(s.ports[:min(len(s.ports), maxPorts-1)], 0, h.Port)
}

func (t *tracker) take(p netip.Prefix, now policy.Deadline) (slot uint32, ok bool) {
	if last := len(t.free) - 1; last >= 0 {
		slot, t.free = t.free[last], t.free[:last]
	} else {
		if len(t.counts) == maxSources {
			return 0, false
		}
		slot = uint32(len(t.counts))
		t.counts = append(t.counts, detect.Counts{})
		t.seen = append(t.seen, seen{})
	}
	t.slots[p] = slot
	t.counts[slot] = detect.Counts{Slot: slot, Source: p, Began: now}
	t.seen[slot] = seen{}
	return slot, true
}

// busy reports whether any source has a slot.
func (t *tracker) busy() bool { return len(t.slots) > 0 }

// release frees the slots of sources with empty windows.
func (t *tracker) release(now policy.Deadline) {
	if now-t.looked < t.keep/4 {
		return
	}
	t.looked = now
	for slot := range t.counts {
		c := &t.counts[slot]
		if c.Source.IsValid() && now-t.seen[slot].last > t.keep {
			delete(t.slots, c.Source)
			*c = detect.Counts{Slot: uint32(slot)}
			t.free = append(t.free, uint32(slot))
		}
	}
}

func (t *tracker) about(p netip.Prefix) detect.About {
	slot, known := t.slots[p]
	if !known {
		return detect.About{}
	}
	return detect.About{Ports: t.seen[slot].ports}
}
