package index

import (
	"encoding/binary"
	"iter"
	"net/netip"

	"github.com/paraxial/paraxial/policy"
)

// v6Class is a length of prefixes that the index can look up: enum v6_class of
// bpf/index_v6.h.
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

// v6Key is a prefix of one of the classes. low is 0 but for hosts.
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

// v6Until is what a key says of the sources under it: until when they are
// dropped. v6Listed only says that there is an entry, and v6Allow that the tries
// know better than any other key.
type v6Until uint32

const (
	v6Listed v6Until = 0
	v6Allow  v6Until = 1
)

// v6UntilOf returns what a node says of all sources under it. A block node says
// until when it drops, whatever else it does: the compiled deadline is also that
// of each node inside, so that the latest among all keys that cover a source is
// never later than what the tries say.
func v6UntilOf(n policy.Node) v6Until {
	switch {
	case n.Kind == policy.Allow:
		return v6Allow
	case n.Verdict.Drop == policy.Tick(v6Allow):
		return v6Listed // long past
	}
	return v6Until(n.Verdict.Drop)
}

// and returns what two keys that cover a source say together.
func (u v6Until) and(v v6Until) v6Until {
	if u == v6Allow || v == v6Allow {
		return v6Allow
	}
	return max(u, v)
}

const (
	// v6Shortest is the length below which a prefix has no keys: all sources
	// ask the tries.
	v6Shortest = 8
	// v6Expansion is how many bits longer the keys of a prefix may be.
	v6Expansion = 8
	// v6FreeKeys is how many keys expansion may cost anyone; beyond, it must
	// not double the index.
	v6FreeKeys = 4096
)

// v6Rule says which keys stand for the prefixes of one length: those of the class
// inside the prefix, which say what it says, or the one that covers it, which
// then only says that something is there (a marker).
type v6Rule struct {
	class  v6Class
	marker bool
}

// v6Rules is the rule for each length of at least v6Shortest.
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

// keys yields the keys that stand for a prefix of a length with this rule. first is
// the key of the rule's class at the prefix's address.
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

// says returns what the keys say that stand for a prefix that says until.
func (r v6Rule) says(until v6Until) v6Until {
	if !r.marker || until == v6Allow {
		return until
	}
	return v6Listed
}
