package replay

import (
	"net/netip"
	"slices"
	"time"

	"github.com/paraxial/paraxial/detect"
	"github.com/paraxial/paraxial/policy"
)

// filter does what the kernel would do with the entries of the decisions.
type filter struct {
	ipv4, ipv6 []int // possible prefix lengths of entries, the longest first
	entries    map[netip.Prefix][]*entry
	reported   []detect.Drops
}

// entry is an entry of a detector.
type entry struct {
	detector string
	action   detect.Action
	limit    policy.Rate
	until    policy.Deadline
	drops    uint64          // packets dropped, by all entries of the prefix
	tat      policy.Deadline // when the bucket of a limit is full again
}

func newFilter(list []detect.Detector) *filter {
	f := &filter{entries: map[netip.Prefix][]*entry{}}
	for _, d := range list {
		f.ipv4 = append(f.ipv4, d.Per.IPv4, d.Widen.IPv4)
		f.ipv6 = append(f.ipv6, d.Per.IPv6, d.Widen.IPv6)
	}
	// Addresses of a source that is split have entries of their own.
	f.ipv4, f.ipv6 = lengths(append(f.ipv4, 32)), lengths(append(f.ipv6, 128))
	return f
}

// lengths returns the different lengths in list, the longest first, without 0.
func lengths(list []int) []int {
	list = slices.DeleteFunc(list, func(n int) bool { return n == 0 })
	slices.SortFunc(list, func(a, b int) int { return b - a })
	return slices.Compact(list)
}

// drops reports whether a packet is dropped, and counts the drop.
func (f *filter) drops(h detect.Header, now policy.Deadline) bool {
	if len(f.entries) == 0 {
		return false
	}
	widths := f.ipv6
	if h.Source.Is4() {
		widths = f.ipv4
	}
	// A block takes precedence over a limit, with any prefix lengths.
	for _, action := range []detect.Action{detect.Block, detect.Limit} {
		for _, bits := range widths {
			p, err := h.Source.Prefix(bits)
			if err != nil {
				continue
			}
			for _, e := range f.entries[p] {
				if e.action == action && e.until > now && e.refuses(h, now) {
					f.note(p)
					return true
				}
			}
		}
	}
	return false
}

// note counts a drop. All entries of a prefix share one counter.
func (f *filter) note(p netip.Prefix) {
	for _, e := range f.entries[p] {
		e.drops++
	}
}

// burst is the burst of a limit, as the time that it takes at the rate of the limit.
const burst = policy.Deadline(time.Second)

// refuses reports whether an entry drops a packet.
func (e *entry) refuses(h detect.Header, now policy.Deadline) bool {
	if e.action == detect.Block {
		return true
	}
	amount := uint64(1)
	if e.limit.Unit == policy.Bytes {
		amount = uint64(h.Length)
	}
	tat := max(e.tat, now)
	if tat-now > burst {
		return true
	}
	e.tat = tat + policy.Deadline(amount*uint64(time.Second)/e.limit.PerSecond)
	return false
}

// apply applies a decision.
func (f *filter) apply(d detect.Decision) {
	list := f.entries[d.Prefix]
	at := slices.IndexFunc(list, func(e *entry) bool { return e.detector == d.Detector })
	switch {
	case d.Kind == detect.Lifted && at >= 0:
		list = slices.Delete(list, at, at+1)
	case d.Kind == detect.Lifted:
	case at >= 0:
		list[at].action, list[at].until = d.Action, d.Until
	default:
		list = append(list, &entry{detector: d.Detector, action: d.Action, limit: d.Limit, until: d.Until})
	}
	f.entries[d.Prefix] = list
	if len(list) == 0 {
		delete(f.entries, d.Prefix)
	}
}

// report returns the counters of all entries, in any order, and removes the entries that
// have ended.
func (f *filter) report(now policy.Deadline) []detect.Drops {
	f.reported = f.reported[:0]
	for p, list := range f.entries {
		list = slices.DeleteFunc(list, func(e *entry) bool { return e.until <= now })
		if len(list) == 0 {
			delete(f.entries, p)
			continue
		}
		f.entries[p] = list
		for _, e := range list {
			f.reported = append(f.reported, detect.Drops{Detector: e.detector, Prefix: p, Packets: e.drops})
		}
	}
	return f.reported
}
