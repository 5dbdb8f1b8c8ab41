package detect

import (
	"net/netip"
	"slices"
	"time"

	"github.com/paraxial/paraxial/policy"
)

const (
	// splitFor is how long the addresses of a source are counted one by one after the
	// source was last left alone because of a part of it.
	splitFor = policy.Deadline(10 * time.Minute)
	// maxSplits is the largest number of such sources. There are as many as there are
	// networks with a protected address in them, which are few.
	maxSplits = 1024
)

// A source that is longer than one address may contain an exempt address: the network of
// the host contains the host. The source as a whole is left alone. It is *split*: its
// addresses are counted, and acted upon, one by one. So its other addresses are not exempt.

// split has the addresses of a source counted one by one, if it is exempt because of a part
// of it. It reports whether it is.
func (a *Analyzer) split(p netip.Prefix, now policy.Deadline) bool {
	if p.IsSingleIP() || a.options.PartlyExempt == nil || !a.options.PartlyExempt(p) {
		return false
	}
	if _, known := a.splits[p]; !known && len(a.splits) >= maxSplits {
		return false
	}
	a.splits[p] = policy.After(now, time.Duration(splitFor))
	for n := range a.slots {
		if s := &a.slots[n]; s.source.IsValid() && s.source.IsSingleIP() && p.Contains(s.source.Addr()) {
			s.mask = a.maskOf(s.source)
		}
	}
	return true
}

// expireSplits has the sources counted as a whole again that are exempt no more.
func (a *Analyzer) expireSplits(now policy.Deadline) {
	for p, until := range a.splits {
		if until <= now {
			delete(a.splits, p)
		}
	}
}

// IsSplit reports whether the addresses of a source are counted one by one.
func (a *Analyzer) IsSplit(source netip.Prefix) bool {
	if len(a.splits) == 0 {
		return false
	}
	_, split := a.splits[source]
	return split
}

// InSplit reports whether an address is counted by itself because a source that contains it
// is split.
func (a *Analyzer) InSplit(address netip.Addr) bool {
	if len(a.splits) == 0 {
		return false
	}
	return slices.ContainsFunc(a.detectors, func(d Detector) bool { return a.splitFrom(&d, address) })
}

// splitFrom reports whether the source that a detector counts an address for is split.
func (a *Analyzer) splitFrom(d *Detector, address netip.Addr) bool {
	source, err := address.Prefix(d.Per.Of(address.Is4()))
	return err == nil && a.IsSplit(source)
}

// Splits returns the sources that are split, sorted.
func (a *Analyzer) Splits() []netip.Prefix {
	list := make([]netip.Prefix, 0, len(a.splits))
	for p := range a.splits {
		list = append(list, p)
	}
	slices.SortFunc(list, netip.Prefix.Compare)
	return list
}
