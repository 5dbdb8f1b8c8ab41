package differential

import (
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/paraxial/paraxial/policy"
)

// world makes books that are hard for a trie: deeply nested prefixes, every length, several origins
// on one prefix, allow inside block inside allow.
type world struct{ *rand.Rand }

func (w *world) addr() netip.Addr {
	if w.IntN(2) == 0 {
		var a [4]byte
		for i := range a {
			a[i] = byte(w.Uint32())
		}
		return netip.AddrFrom4(a)
	}
	var a [16]byte
	for i := range a {
		a[i] = byte(w.Uint32())
	}
	// Avoid IPv4-mapped addresses, which the book holds as IPv4.
	a[0] |= 0x20
	return netip.AddrFrom16(a)
}

// nest returns prefixes around a few addresses, so that they contain each other. With a prefix of
// less than 8 bits, the index sends every source to the tries. So most nests have none.
func (w *world) nest() []netip.Prefix {
	var nest []netip.Prefix
	shortest := min(w.IntN(4), 1) * 8
	for range 1 + w.IntN(4) {
		a := w.addr()
		for range 2 + w.IntN(10) {
			p, err := a.Prefix(shortest + w.IntN(a.BitLen()-shortest+1))
			if err != nil {
				panic(err)
			}
			nest = append(nest, p)
		}
		nest = append(nest, netip.PrefixFrom(a, a.BitLen()))
	}
	return nest
}

func (w *world) entry(nest []netip.Prefix) policy.Entry {
	e := policy.Entry{
		Prefix: nest[w.IntN(len(nest))],
		Kind:   policy.Block,
		Action: policy.Drop,
		Origin: []string{"cli", "feed:a", "feed:b", "detector:c"}[w.IntN(4)],
	}
	switch w.IntN(10) {
	case 0, 1, 2:
		e.Kind, e.Action = policy.Allow, policy.NoAction
	case 3, 4:
		e.Action = policy.Shadow
	case 5, 6:
		e.Action, e.Rate = policy.Limit, rates()[w.IntN(len(rates()))]
	}
	return e
}

// changes puts all entries or a few of them, with new deadlines, and removes some. Few changes leave
// the index as it is for the rest, and expired entries in it.
func (w *world) changes(entries []policy.Entry, all bool, now policy.Deadline) (ops []policy.Op) {
	for i := range entries {
		if !all && w.IntN(8) > 0 {
			continue
		}
		entries[i].Deadline = w.deadline(now)
		ops = append(ops, policy.PutOp(entries[i]))
	}
	// Some are removed early, so that deletions are tested among entries that stay.
	for _, e := range entries {
		if w.IntN(5) == 0 {
			ops = append(ops, policy.RemoveOp(e.Key()))
		}
	}
	return ops
}

// rates returns as many rates as the kernel has steps for one source, so that the kernel holds every
// limit that may decide. They are not sorted.
func rates() []policy.Rate {
	return []policy.Rate{
		{PerSecond: 1000, Unit: policy.Packets}, {PerSecond: 999_999, Unit: policy.Bytes},
		{PerSecond: 1, Unit: policy.Packets}, {PerSecond: policy.MaxByteRate, Unit: policy.Bytes},
	}
}

// deadline returns forever, or a point well before or after now.
func (w *world) deadline(now policy.Deadline) policy.Deadline {
	away := policy.Deadline(margin) + policy.Deadline(w.IntN(farthest))*policy.Deadline(time.Second)
	switch w.IntN(3) {
	case 0:
		return policy.Forever
	case 1:
		return now + away
	}
	return now - away
}

// source returns an address in or next to one of the prefixes, or anywhere.
func (w *world) source(nest []netip.Prefix) netip.Addr {
	if w.IntN(10) == 0 {
		return w.addr()
	}
	p := nest[w.IntN(len(nest))]
	a := p.Addr().As16()
	shift := 128 - p.Addr().BitLen()
	for bit := p.Bits() + shift; bit < 128; bit++ {
		if w.IntN(2) == 0 {
			a[bit/8] ^= 0x80 >> (bit % 8)
		}
	}
	// Invert one bit inside the prefix: a neighbour.
	if p.Bits() > 0 && w.IntN(4) == 0 {
		bit := shift + w.IntN(p.Bits())
		a[bit/8] ^= 0x80 >> (bit % 8)
	}
	if p.Addr().Is4() {
		return netip.AddrFrom16(a).Unmap()
	}
	return netip.AddrFrom16(a)
}
