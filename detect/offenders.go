package detect

import (
	"cmp"
	"net/netip"

	"github.com/paraxial/paraxial/ladder"
	"github.com/paraxial/paraxial/policy"
)

// entryKey identifies a live entry by its detector and prefix.
type entryKey struct {
	detector int
	prefix   netip.Prefix
}

func (k entryKey) compare(other entryKey) int {
	return cmp.Or(k.prefix.Compare(other.prefix), cmp.Compare(k.detector, other.detector))
}

// offender returns the key by which the ladder remembers k.
func (a *Analyzer) offender(k entryKey) ladder.Key {
	return ladder.Key{Origin: policy.OriginDetector + a.detectors[k.detector].Name, Prefix: k.prefix}
}

func (a *Analyzer) offences(k entryKey, now policy.Deadline) int {
	return a.options.Ladder.Offences(a.offender(k), now)
}
