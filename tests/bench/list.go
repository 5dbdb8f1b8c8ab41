package main

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
)

// seed is fixed, so that every run uses the same lists and the same traffic.
const seed = 7

// sources is SOURCES of bench.c: the number of different addresses in the traffic.
const sources = 1 << 20

// A mix is a kind of list. The names are part of the JSON.
type mix string

const (
	mixIPv4      mix = "ipv4"           // 80% /32, 20% /24, over the unicast space
	mixHosts     mix = "ipv4-hosts"     // /32 alone, for contenders without prefixes
	mixUniform   mix = "ipv6-uniform"   // 20% /128, 60% /64, 15% /48, 5% /32, over 2000::/3
	mixClustered mix = "ipv6-clustered" // the same lengths, but in the same networks as the clean traffic
)

func (m mix) ipv6() bool { return m == mixUniform || m == mixClustered }

// A list holds the blocked prefixes and can generate addresses that are not blocked.
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

// draw returns the next prefix of a list of n. IPv4 networks are drawn before addresses, so that
// the addresses can be kept out of them.
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

// unicast leaves out the networks that no list blocks and from which no stack accepts a packet.
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
			// Beside the active networks; otherwise few clean addresses would be left.
			high = l.network() | l.rand.Uint64N(1<<16)<<16 | 1<<31
		}
	}
	return prefixOf(addr6(high, l.rand.Uint64()), bits)
}

// global returns the upper half of an address in 2000::/3.
func (l *list) global() uint64 { return 1<<61 | l.rand.Uint64()>>3 }

func (l *list) network() uint64 { return l.networks[l.rand.IntN(len(l.networks))] }

// active returns a /64 in one of the 64 busy /48s of a network, four of which are busier.
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

// blocked returns one source for each address of the traffic, each inside a random prefix of the
// list.
func (l *list) blocked() []netip.Addr {
	return fill(func() netip.Addr { return l.inside(l.prefixes[l.rand.IntN(len(l.prefixes))]) })
}

// clean returns the same number of sources that are not on the list.
func (l *list) clean() []netip.Addr {
	return fill(func() netip.Addr {
		for {
			if a := l.candidate(); !l.covers(a) {
				return a
			}
		}
	})
}

// candidate returns a source such as the clean traffic has.
func (l *list) candidate() netip.Addr {
	switch {
	case !l.mix.ipv6():
		return l.unicast()
	case l.mix == mixUniform:
		return addr6(l.global(), l.rand.Uint64())
	case l.rand.IntN(5) == 0:
		// A neighbour in the same /64 as a listed address.
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
