package churn

import (
	"math/rand/v2"
	"net/netip"
	"slices"

	"github.com/paraxial/paraxial/policy"
)

// family holds the differences between the two families.
type family struct {
	name   string
	bits   int
	near   int // length of a prefix that fills one line, or one bucket, of the index or more
	widest int
	first  netip.Addr // the first neighbourhood is in its widest prefix, the next two are further away
	// lengths of the prefixes that stay listed, one for each neighbourhood
	lengths []int
}

var (
	ipv4 = family{
		name: "ipv4", bits: 32, near: 24, widest: policy.WidestIPv4, first: netip.MustParseAddr("30.0.0.0"),
		lengths: []int{8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31,
			32},
	}
	ipv6 = family{
		name: "ipv6", bits: 128, near: 64, widest: policy.WidestIPv6, first: netip.MustParseAddr("2a00::"),
		lengths: []int{16, 17, 24, 31, 32, 33, 40, 47, 48, 49, 52, 55, 56, 57, 60, 63, 64, 65, 80, 96, 112, 120, 127,
			128},
	}
)

// source is an address whose verdict is known, at least while no change affects it.
type source struct {
	addr  netip.Addr
	class checkClass
}

// world is the sources by neighbourhood, and the entries that keep them listed or unlisted from the
// start.
type world struct {
	family
	*rand.Rand
	sources        []source
	neighbourhoods []neighbourhood
	start          []policy.Entry
	feed           []netip.Prefix    // in every version of the list
	feedable       []netip.Prefix    // in some versions of the list
	either         [][2]netip.Prefix // exactly one of each pair is in every version of the list
	taken          map[netip.Addr]bool
}

// neighbourhood is a listed prefix, listed hosts beside it, and unlisted addresses next to them.
type neighbourhood struct {
	first, count int // in world.sources
	listed       netip.Prefix
	sibling      netip.Prefix
	near         netip.Prefix
}

const (
	originAlways = "always"
	originFeed   = "list"
)

func newWorld(f family, seed uint64) *world {
	w := &world{family: f, Rand: rand.New(rand.NewPCG(seed, 0)), taken: map[netip.Addr]bool{}}
	for i, length := range f.lengths {
		w.addNeighbourhood(i, length)
	}
	return w
}

func (w *world) addNeighbourhood(i, length int) {
	top := w.first.AsSlice()
	top[w.widest/8-1] += byte(2 * i)
	a, _ := netip.AddrFromSlice(top)
	n := neighbourhood{first: len(w.sources), listed: prefix(w.inside(prefix(a, w.widest)), length)}
	n.sibling = prefix(flip(n.listed.Addr(), length-1), length)
	n.near = prefix(n.listed.Addr(), w.near)
	if length <= w.near {
		n.near = prefix(w.inside(n.sibling), w.near)
	}
	w.list(i, n)
	w.addHosts(n)
	w.addAlternating(n)
	n.count = len(w.sources) - n.first
	w.neighbourhoods = append(w.neighbourhoods, n)
}

// list makes the prefix of a neighbourhood listed, by hand or by every version of the list, and
// allows something inside it.
func (w *world) list(i int, n neighbourhood) {
	if i%4 == 3 {
		w.feed = append(w.feed, n.listed)
	} else {
		w.start = append(w.start, policy.Entry{Prefix: n.listed, Kind: policy.Block, Action: policy.Drop,
			Origin: originAlways})
		w.feedable = append(w.feedable, n.listed)
	}
	w.add(n.listed.Addr(), checkClassLISTED)
	w.add(last(n.listed), checkClassLISTED)
	w.add(last(n.listed).Next(), checkClassUNLISTED)
	w.add(n.listed.Addr().Prev(), checkClassUNLISTED)
	if n.listed.Bits()+3 > w.bits {
		return
	}
	allowed := n.listed
	for allowed.Contains(n.listed.Addr()) || allowed.Contains(last(n.listed)) {
		allowed = prefix(w.inside(n.listed), min(n.listed.Bits()+2+w.IntN(7), w.bits))
	}
	w.start = append(w.start, policy.Entry{Prefix: allowed, Kind: policy.Allow, Origin: originAlways})
	for range 2 {
		w.add(w.inside(allowed), checkClassUNLISTED)
		if a := w.inside(n.listed); !allowed.Contains(a) {
			w.add(a, checkClassLISTED)
		}
	}
}

// addHosts adds sources outside the listed prefix: hosts that are always listed, hosts that never
// are, and hosts that change.
func (w *world) addHosts(n neighbourhood) {
	for i := range 3 {
		if a, ok := w.beside(n, n.near); ok && w.add(a, checkClassLISTED) {
			host := prefix(a, w.bits)
			if i == 0 {
				w.feed = append(w.feed, host)
				continue
			}
			w.start = append(w.start, policy.Entry{Prefix: host, Kind: policy.Block, Action: policy.Drop,
				Origin: originAlways})
			w.feedable = append(w.feedable, host)
		}
	}
	for _, in := range []netip.Prefix{n.near, n.near, n.near, n.sibling, n.sibling} {
		if a, ok := w.beside(n, in); ok {
			w.add(a, checkClassUNLISTED)
		}
		if a, ok := w.beside(n, in); ok && w.add(a, checkClassCHANGING) {
			w.feedable = append(w.feedable, prefix(a, w.bits))
		}
	}
}

// addAlternating adds hosts that the list has sometimes as hosts and sometimes as part of a wider
// prefix: they must be listed at every moment.
func (w *world) addAlternating(n neighbourhood) {
	for range 2 {
		a, ok := w.beside(n, n.near)
		wider := prefix(a, w.bits-1-w.IntN(3))
		foreign := func(s source) bool { return s.class != checkClassLISTED && wider.Contains(s.addr) }
		if ok && !slices.ContainsFunc(w.sources, foreign) && w.add(a, checkClassLISTED) {
			w.either = append(w.either, [2]netip.Prefix{prefix(a, w.bits), wider})
		}
	}
}

// beside returns an address outside the listed prefix, if there is one.
func (w *world) beside(n neighbourhood, in netip.Prefix) (netip.Addr, bool) {
	for range 100 {
		if a := w.inside(in); !n.listed.Contains(a) && !w.taken[a] {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// add adds a source, unless it exists.
func (w *world) add(a netip.Addr, class checkClass) bool {
	if w.taken[a] {
		return false
	}
	w.taken[a] = true
	w.sources = append(w.sources, source{a, class})
	return true
}

// inside returns an address in a prefix.
func (w *world) inside(p netip.Prefix) netip.Addr {
	a := p.Addr()
	for bit := p.Bits(); bit < a.BitLen(); bit++ {
		if w.IntN(2) == 0 {
			a = flip(a, bit)
		}
	}
	return a
}

// bulk returns prefixes of many lengths, dense and scattered. They cover no source that must pass
// or that changes, unless it is allowed.
func (w *world) bulk(size int) []netip.Prefix {
	spared := w.spared()
	var crowded []netip.Prefix
	for range 1000 {
		crowded = append(crowded, prefix(w.inside(w.neighbourhoods[w.IntN(len(w.neighbourhoods))].sibling), w.near))
	}
	var list []netip.Prefix
	for len(list) < size {
		n := w.neighbourhoods[w.IntN(len(w.neighbourhoods))]
		in := [...]netip.Prefix{n.near, n.listed, n.sibling, prefix(n.listed.Addr(), w.widest),
			crowded[w.IntN(len(crowded))]}[min(w.IntN(8), 4)]
		bits := w.bits
		if w.IntN(3) == 0 {
			bits -= w.IntN(w.bits - w.near + w.near/4)
		}
		p := prefix(w.inside(in), bits)
		at, _ := slices.BinarySearchFunc(spared, p.Addr(), netip.Addr.Compare)
		if at == len(spared) || !p.Contains(spared[at]) {
			list = append(list, p)
		}
	}
	return list
}

// reliesOn reports whether a change replaces or removes an entry that allows unlisted sources from the
// start. Every list may cover these sources.
func (w *world) reliesOn(c change) bool {
	touched := slices.Clone(c.remove)
	for _, h := range c.put {
		touched = append(touched, h.Key())
	}
	return slices.ContainsFunc(w.start, func(e policy.Entry) bool {
		return e.Kind == policy.Allow && slices.Contains(touched, e.Key())
	})
}

// spared returns, sorted, the sources that no line of a list may cover.
func (w *world) spared() []netip.Addr {
	var spared []netip.Addr
	for _, s := range w.sources {
		allowed := slices.ContainsFunc(w.start, func(e policy.Entry) bool {
			return e.Kind == policy.Allow &&
				e.Prefix.Contains(s.addr)
		})
		if s.class != checkClassLISTED && !allowed {
			spared = append(spared, s.addr)
		}
	}
	slices.SortFunc(spared, netip.Addr.Compare)
	return spared
}

func prefix(a netip.Addr, bits int) netip.Prefix { return netip.PrefixFrom(a, bits).Masked() }

// flip returns a with one bit inverted.
func flip(a netip.Addr, bit int) netip.Addr {
	b := a.AsSlice()
	b[bit/8] ^= 0x80 >> (bit % 8)
	flipped, _ := netip.AddrFromSlice(b)
	return flipped
}

func last(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for bit := p.Bits(); bit < 8*len(b); bit++ {
		b[bit/8] |= 0x80 >> (bit % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}
