package policy

import (
	"iter"
	"math"
	"net/netip"

	"github.com/gaissmai/bart"
)

// IsWide reports whether p is wider than the guard accepts for a block. An allow of such a
// prefix turns filtering off for a large part of the address space.
func IsWide(p netip.Prefix) bool { return p.Bits() < widestFor(p) }

// The longest prefix lengths of the allows of which the book keeps the union. Longer ones are
// not counted, because they would need memory and time for each entry, and thousands of them
// cover little.
const (
	longestIPv4 = 16
	longestIPv6 = 32
)

// largeAllows has the prefixes of large allows, and the size of their union. It is kept up to
// date with each change, so that status and metrics do not walk the prefixes. An allow that
// has expired counts until it is removed.
type largeAllows struct {
	prefixes bart.Lite
	union    [2]uint64 // by Family, in prefixes of longestIPv4 or longestIPv6
}

func longestFor(p netip.Prefix) int {
	if p.Addr().Is4() {
		return longestIPv4
	}
	return longestIPv6
}

// note notes that the site of an allow came or went.
func (l *largeAllows) note(s site, exists bool) {
	if s.kind != Allow || s.prefix.Bits() > longestFor(s.prefix) {
		return
	}
	if !exists {
		l.prefixes.Delete(s.prefix)
	}
	if !l.prefixes.LookupPrefix(s.prefix) {
		own := uint64(1)<<(longestFor(s.prefix)-s.prefix.Bits()) - l.inside(s.prefix)
		if !exists {
			own = -own
		}
		l.union[FamilyOf(s.prefix.Addr())] += own
	}
	if exists {
		l.prefixes.Insert(s.prefix)
	}
}

// inside returns the size of the union of the prefixes inside p.
func (l *largeAllows) inside(p netip.Prefix) (size uint64) {
	var last netip.Prefix
	for q := range l.prefixes.Subnets(p) {
		if !covers(last, q) {
			last = q
			size += 1 << (longestFor(q) - q.Bits())
		}
	}
	return size
}

// FilteringOff says how much of a family's address space allows turn filtering off for.
type FilteringOff struct {
	Share  float64 // from 0 to 1
	Widest Entry   // an allow of the widest prefix
	More   int     // the number of other large prefixes that are allowed
}

// acceptedTogether is the size of the union of allows that is accepted, in prefixes of the largest
// size that the guard accepts for a block. One of these is not enough for the private networks of
// RFC 1918 together.
const acceptedTogether = 2

// FilteringOff returns the union of the allows of /16 or shorter (IPv6: /32). It is zero if that is
// not larger than two prefixes that the guard accepts for a block, and none is wider than that.
func (b *Book) FilteringOff(f Family) FilteringOff {
	all := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	if f == IPv6 {
		all = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	size := b.large.union[f]
	accepted := uint64(1) << (longestFor(all) - widestFor(all))
	if size <= accepted {
		return FilteringOff{} // without a walk
	}
	off := FilteringOff{Share: float64(size) / float64(uint64(1)<<longestFor(all)), More: -1}
	widest := netip.Prefix{}
	for p := range b.large.prefixes.Subnets(all) {
		off.More++
		if !widest.IsValid() || p.Bits() < widest.Bits() {
			widest = p
		}
	}
	if size <= acceptedTogether*accepted && !IsWide(widest) {
		return FilteringOff{}
	}
	for e := range b.At(Allow, widest) {
		off.Widest = e
		break
	}
	return off
}

// FilteringOffBy returns the part of a family's address space that allows of the prefixes
// turn filtering off for. It is 0 if that is not more than two prefixes that the guard accepts
// for a block, and none is wider than that. The prefixes are in the order of netip.Prefix.Compare.
func FilteringOffBy(f Family, prefixes iter.Seq[netip.Prefix]) float64 {
	share, accepted, wide := 0.0, 0.0, false
	var last netip.Prefix
	for p := range prefixes {
		if FamilyOf(p.Addr()) != f || covers(last, p) {
			continue
		}
		last = p
		share += math.Exp2(-float64(p.Bits()))
		accepted = acceptedTogether * math.Exp2(-float64(widestFor(p)))
		wide = wide || IsWide(p)
	}
	if share <= accepted && !wide {
		return 0
	}
	return share
}
