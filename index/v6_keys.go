package index

import (
	"encoding/binary"
	"iter"
	"net/netip"

	"github.com/paraxial/paraxial/policy"
)

// v6Class is a length of prefixes that the index can look up. It mirrors enum v6_class of
// bpf/index_v6_layout.h.
type v6Class uint8

const (
	v6Class16 v6Class = iota
	v6Class32
	v6Class48
	v6Class56
	v6Class64
	v6Class128
	v6Classes
)

func (c v6Class) bits() int {
	return [v6Classes]int{16, 32, 48, 56, 64, 128}[c]
}

func (c v6Class) prefix(a netip.Addr) netip.Prefix {
	return netip.PrefixFrom(a, c.bits()).Masked()
}

// v6Key is a prefix of one of the classes. low is 0 except for hosts.
type v6Key struct {
	high, low uint64
	class     v6Class
}

func v6KeyOf(a netip.Addr, c v6Class) v6Key {
	b := a.As16()
	return v6Key{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:]), v6Class128}.within(c)
}

// within returns the key of class c that covers k.
func (k v6Key) within(c v6Class) v6Key {
	if c == v6Class128 {
		return k
	}
	return v6Key{high: k.high & (^uint64(0) << (64 - c.bits())), class: c}
}

func (k v6Key) prefix() netip.Prefix {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], k.high)
	binary.BigEndian.PutUint64(b[8:], k.low)
	return netip.PrefixFrom(netip.AddrFrom16(b), k.class.bits())
}

// v6Until is the deadline until which a prefix drops the sources under a key. v6Listed says
// only that there is an entry. v6Allow says that the tries must be asked, whatever other keys
// say.
type v6Until uint32

const (
	v6Listed v6Until = 0
	v6Allow  v6Until = 1
)

// v6UntilOf returns what a node says about all sources under it. above is the deadline of the
// drop of the next block node that covers it, or 0.
//
// The deadline of a node is never earlier than above. If it is equal, it may come from above
// alone. Then the node says only that it is there, and above says the deadline. The index is
// not told when an entry has expired and is removed, so its keys stay. They must not outlast
// a later removal of the node that the deadline came from.
func v6UntilOf(n policy.Node, above policy.Tick) v6Until {
	switch {
	case n.Kind == policy.Allow:
		return v6Allow
	case n.Verdict.Drop <= above, n.Verdict.Drop == policy.Tick(v6Allow): // the latter has passed
		return v6Listed
	}
	return v6Until(n.Verdict.Drop)
}

// and combines what two keys that cover a source say.
func (u v6Until) and(v v6Until) v6Until {
	if u == v6Allow || v == v6Allow {
		return v6Allow
	}
	return max(u, v)
}

const (
	// v6Shortest is the shortest prefix that has keys. If the book has a shorter
	// one, the tries are asked for all sources.
	v6Shortest = 8
	// v6Expansion is the number of bits by which keys may be longer than their
	// prefix.
	v6Expansion = 8
	// v6FreeKeys is the number of keys that expansion may always add. It may add as
	// many more as there are prefixes.
	v6FreeKeys = 4096
)

// v6Rule tells which keys represent the prefixes of one length. They are all keys of the
// class inside the prefix, which say the same as it. Or it is the one key that covers the
// prefix: a marker, which says only that there is an entry.
type v6Rule struct {
	class  v6Class
	marker bool
}

// v6Rules has the rule for each length from v6Shortest on.
type v6Rules [129]v6Rule

// v6RulesFor returns the rules for a book with count[l] prefixes of length l.
func v6RulesFor(count *[129]int) *v6Rules {
	var rules v6Rules
	budget := v6FreeKeys
	for _, n := range count {
		budget += n
	}
	for bits := v6Shortest; bits <= 128; bits++ {
		rules[bits] = v6NaturalRule(bits)
	}
	// The cheapest first.
	for extra := 1; extra <= v6Expansion; extra++ {
		for c := v6Class32; c < v6Classes; c++ {
			bits := c.bits() - extra
			if rules[bits] != (v6Rule{class: c}) {
				continue
			}
			if cost := count[bits] << extra; cost <= budget {
				budget -= cost
			} else {
				rules[bits] = v6Rule{class: c - 1, marker: true}
			}
		}
	}
	return &rules
}

func v6NaturalRule(bits int) v6Rule {
	var c v6Class
	for c.bits() < bits {
		c++
	}
	if c.bits()-bits <= v6Expansion {
		return v6Rule{class: c}
	}
	return v6Rule{class: c - 1, marker: true}
}

// keys yields the keys that represent a prefix of a length with this rule. first is the key
// of the class of the rule at the address of the prefix.
func (r v6Rule) keys(first v6Key, bits int) iter.Seq[v6Key] {
	return func(yield func(v6Key) bool) {
		if r.marker {
			yield(first)
			return
		}
		for i := range uint64(1) << (r.class.bits() - bits) {
			k := first
			if r.class == v6Class128 {
				k.low |= i
			} else {
				k.high |= i << (64 - r.class.bits())
			}
			if !yield(k) {
				return
			}
		}
	}
}

// says returns what the keys say for a prefix that says until.
func (r v6Rule) says(until v6Until) v6Until {
	if !r.marker || until == v6Allow {
		return until
	}
	return v6Listed
}
