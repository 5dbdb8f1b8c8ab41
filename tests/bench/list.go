package main

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
)

// seed makes every run use the same lists and the same traffic.
const seed = 7

// sources is SOURCES of bench.c: how many different addresses the traffic has.
const sources = 1 << 20

// A mix is a kind of list. The names are part of the JSON.
type mix string

const (
	mixIPv4      mix = "ipv4"           // 80% /32, 20% /24, over the unicast space
	mixHosts     mix = "ipv4-hosts"     // /32 alone, for what knows no prefixes
	mixUniform   mix = "ipv6-uniform"   // 20% /128, 60% /64, 15% /48, 5% /32, over 2000::/3
	mixClustered mix = "ipv6-clustered" // the same, but in the same networks as the clean traffic
)

func (m mix) ipv6() bool { return m == mixUniform || m == mixClustered }

// A list is what is blocked, and knows what is not.
type list struct {
	mix      mix
	rand     *rand.Rand
	prefixes []netip.Prefix
	listed   map[netip.Prefix]struct{}
	lengths  []int
	networks []uint64 // the upper half of the /32s that a clustered mix lives in
}

// newList makes a list of n different prefixes. IPv4 prefixes do not overlap:
// nft would refuse them in one set.
func newList(m mix, n int) *list {
	l := &list{mix: m, rand: rand.New(rand.NewPCG(seed, uint64(n))), listed: make(map[netip.Prefix]struct{}, n)}
	l.lengths = []int{24, 32}
	if m.ipv6() {
		l.lengths = []int{32, 48, 64, 128}
		l.networks = make([]uint64, 3000)
		for i := range l.networks {
			l.networks[i] = l.global() >> 32 << 32
		}
	}
	for len(l.prefixes) < n {
		p := l.draw(n)
		if _, ok := l.listed[p]; ok || !m.ipv6() && l.covers(p.Addr()) {
			continue
		}
		l.listed[p] = struct{}{}
		l.prefixes = append(l.prefixes, p)
	}
	return l
}

// draw returns the next prefix of a list of n. IPv4 networks come before
// addresses, which then can be kept out of them.
func (l *list) draw(n int) netip.Prefix {
	switch {
	case l.mix.ipv6():
		return l.draw6()
	case l.mix == mixIPv4 && len(l.prefixes) < n/5:
		return prefixOf(l.unicast(), 24)
	}
	return prefixOf(l.unicast(), 32)
}

func prefixOf(a netip.Addr, bits int) netip.Prefix { return netip.PrefixFrom(a, bits).Masked() }

// covers tells whether a is on the list.
func (l *list) covers(a netip.Addr) bool {
	for _, bits := range l.lengths {
		if _, ok := l.listed[prefixOf(a, bits)]; ok {
			return true
		}
	}
	return false
}

// unicast leaves out the networks that no list blocks and no stack takes a
// packet from.
func (l *list) unicast() netip.Addr {
	for {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], l.rand.Uint32())
		switch b[0] {
		case 0, 10, 127, 169, 172, 192:
		default:
			if b[0] < 224 {
				return netip.AddrFrom4(b)
			}
		}
	}
}

func (l *list) draw6() netip.Prefix {
	bits := 64
	switch x := l.rand.IntN(100); {
	case x < 20:
		bits = 128
	case x >= 95:
		bits = 32
	case x >= 80:
		bits = 48
	}
	high := l.global()
	if l.mix == mixClustered {
		switch bits {
		case 64, 128:
			high = l.active()
		case 48:
			// Beside the active ones, or little would be left that is clean.
			high = l.network() | l.rand.Uint64N(1<<16)<<16 | 1<<31
		}
	}
	return prefixOf(addr6(high, l.rand.Uint64()), bits)
}

// global is the upper half of an address in 2000::/3.
func (l *list) global() uint64 { return 1<<61 | l.rand.Uint64()>>3 }

func (l *list) network() uint64 { return l.networks[l.rand.IntN(len(l.networks))] }

// active is a /64 in one of the 64 busy /48s of a network, four of them busier.
func (l *list) active() uint64 {
	site := l.rand.Uint64N(64)
	if l.rand.IntN(4) == 0 {
		site = l.rand.Uint64N(4)
	}
	return l.network() | (site*977&0x7fff)<<16 | l.rand.Uint64N(1<<16)
}

func addr6(high, low uint64) netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], high)
	binary.BigEndian.PutUint64(b[8:], low)
	return netip.AddrFrom16(b)
}

// blocked returns as many sources as the traffic has, each inside a prefix of
// the list taken at random.
func (l *list) blocked() []netip.Addr {
	return fill(func() netip.Addr { return l.inside(l.prefixes[l.rand.IntN(len(l.prefixes))]) })
}

// clean returns as many sources that are not on the list.
func (l *list) clean() []netip.Addr {
	return fill(func() netip.Addr {
		for {
			if a := l.candidate(); !l.covers(a) {
				return a
			}
		}
	})
}

// candidate is a source of the kind that the clean traffic has.
func (l *list) candidate() netip.Addr {
	switch {
	case !l.mix.ipv6():
		return l.unicast()
	case l.mix == mixUniform:
		return addr6(l.global(), l.rand.Uint64())
	case l.rand.IntN(5) == 0:
		// A neighbour in the /64 of a listed address.
		if p := l.prefixes[l.rand.IntN(len(l.prefixes))]; p.Bits() == 128 {
			return l.inside(prefixOf(p.Addr(), 64))
		}
	}
	return addr6(l.active(), l.rand.Uint64())
}

func (l *list) inside(p netip.Prefix) netip.Addr {
	if p.Addr().Is4() {
		b := p.Addr().As4()
		host := l.rand.Uint32() & uint32(1<<(32-p.Bits())-1)
		binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])|host)
		return netip.AddrFrom4(b)
	}
	b := p.Addr().As16()
	for i := p.Bits() / 8; i < len(b); i++ {
		b[i] = byte(l.rand.Uint32())
	}
	return netip.AddrFrom16(b)
}

func fill(next func() netip.Addr) []netip.Addr {
	addrs := make([]netip.Addr, sources)
	for i := range addrs {
		addrs[i] = next()
	}
	return addrs
}
