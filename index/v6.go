package index

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"sync/atomic"

	"github.com/paraxial/paraxial/policy"
)

// V6 is a generation of the IPv6 index and its only writer: hash tables of prefixes, in the
// layout that bpf/index_v6_layout.h describes. It is not safe for concurrent use, but the packet
// program may read at any time.
type V6 struct {
	book    Book
	lines   []uint64
	rules   *v6Rules // nil if the tries must be asked for every source
	filter  v6Filter
	short   v6Table
	hosts   v6Table
	classes uint8
	marked  [v6Classes]bool // there may be markers of the class
}

const (
	// v6Page is the number of buckets of both kinds that fit into one page.
	v6Page = 16
	// v6Many is the number of keys from which on a table is made half full. Smaller
	// tables are made a third full, so that a growing host builds few generations.
	v6Many = 4096
	// v6Wide is the number of nodes inside a changed one up to which they are
	// updated one by one. With more, a new generation is faster.
	v6Wide = 1 << 14
	// v6Search is the number of nodes that are read to find out whether a marker
	// can be removed.
	v6Search = 1 << 12
)

// BuildV6 makes a generation from the book, which must not change at the same time. It
// returns an error if there is no memory or no randomness.
func BuildV6(b Book, alloc Alloc) (*V6, error) {
	secrets, err := newV6Secrets()
	if err != nil {
		return nil, fmt.Errorf("build IPv6 index: %w", err)
	}
	x, err := buildV6(b, alloc, secrets)
	if err != nil {
		return nil, fmt.Errorf("build IPv6 index: %w", err)
	}
	return x, nil
}

func newV6Secrets() (*v6Secrets, error) {
	var b [40]byte
	if _, err := rand.Read(b[:]); err != nil {
		return nil, fmt.Errorf("read randomness: %w", err)
	}
	var s v6Secrets
	for i := range s.nh {
		s.nh[i] = binary.NativeEndian.Uint32(b[4*i:])
	}
	s.salt = binary.NativeEndian.Uint64(b[16:]) | 1
	s.home = binary.NativeEndian.Uint64(b[24:]) | 1
	s.second = binary.NativeEndian.Uint64(b[32:]) | 1
	return &s, nil
}

func buildV6(b Book, alloc Alloc, secrets *v6Secrets) (*V6, error) {
	x := &V6{book: b}
	nodes, count := v6Census(b)
	for bits := range v6Shortest {
		if count[bits] > 0 {
			var err error
			x.lines, err = alloc(1) // all zero: without a format the tries are asked
			return x, err
		}
	}
	x.rules = v6RulesFor(&count)
	shorts, hosts := x.rules.size(&count)
	if err := x.layOut(alloc, secrets, shorts, hosts); err != nil {
		return nil, err
	}
	for _, part := range nodes {
		for _, n := range part {
			if !x.merge(n) {
				return nil, errors.New("there are more keys than were counted")
			}
		}
	}
	return x, nil
}

// v6Node is a node of the book without its pointers.
type v6Node struct {
	high, low uint64
	until     v6Until
	bits      uint8
}

// v6Part is the number of nodes in one part of a list. A list that grows by copying would
// need twice the memory.
const v6Part = 1 << 14

// v6Census lists all nodes and counts those of each length. Successive nodes under the same
// marker of their natural rule count as one, because they get one key.
func v6Census(b Book) (nodes [][]v6Node, count [129]int) {
	var part []v6Node
	for _, kind := range []policy.Kind{policy.Block, policy.Allow} {
		var last [v6Classes]v6Key
		var covering v6Covering
		for n := range b.SortedNodes(kind, policy.IPv6) {
			bits := n.Prefix.Bits()
			k := v6KeyOf(n.Prefix.Addr(), v6Class128)
			until := v6UntilOf(n, covering.add(n))
			if part = append(part, v6Node{k.high, k.low, until, uint8(bits)}); len(part) == v6Part {
				nodes = append(nodes, part)
				part = make([]v6Node, 0, v6Part)
			}
			if bits >= v6Shortest {
				if rule := v6NaturalRule(bits); rule.marker {
					k := k.within(rule.class)
					if last[rule.class] == k {
						continue
					}
					last[rule.class] = k
				}
			}
			count[bits]++
		}
	}
	return append(nodes, part), count
}

// v6Covering are nested nodes.
type v6Covering []policy.Node

// add adds the next node in ascending order. It returns the deadline of the drop of the next
// node that covers it, or 0.
func (c *v6Covering) add(n policy.Node) (above policy.Tick) {
	nested := *c
	for len(nested) > 0 && !nested[len(nested)-1].Prefix.Contains(n.Prefix.Addr()) {
		nested = nested[:len(nested)-1]
	}
	if len(nested) > 0 {
		above = nested[len(nested)-1].Verdict.Drop
	}
	*c = append(nested, n)
	return above
}

// size returns the maximum number of keys that the counted prefixes need.
func (r *v6Rules) size(count *[129]int) (shorts, hosts int) {
	for bits, n := range count {
		if bits < v6Shortest || n == 0 {
			continue
		}
		if rule := r[bits]; !rule.marker {
			n = min(n, 1<<24) << (rule.class.bits() - bits)
		}
		if r[bits].class == v6Class128 {
			hosts += n
		} else {
			shorts += n
		}
	}
	return shorts, hosts
}

func v6Buckets(keys int) uint32 {
	perBucket := v6Lanes / 2
	if keys < v6Many {
		perBucket = 2
	}
	n := max(keys/perBucket+1, v6Page)
	return uint32(n+v6LineWords-1) &^ (v6LineWords - 1)
}

// v6Room returns how many keys a table of this many buckets takes.
func v6Room(buckets uint32) int { return int(buckets) * v6Lanes * 6 / 10 }

func (x *V6) layOut(alloc Alloc, secrets *v6Secrets, shorts, hosts int) error {
	nShort, nHost := v6Buckets(shorts), v6Buckets(hosts)
	nFilter := v6FilterLines(v6Room(nShort) + v6Room(nHost))
	shortTags := v6FilterLine + nFilter
	hostTags := shortTags + nShort/v6LineWords
	shortSlots := hostTags + nHost/v6LineWords
	hostSlots := shortSlots + nShort/2*v6ShortLines
	lines, err := alloc(hostSlots + nHost*v6HostLines)
	if err != nil {
		return err
	}
	x.lines = lines
	part := func(from, to uint32) []uint64 { return lines[from*v6LineWords : to*v6LineWords] }
	x.filter = v6Filter{
		secrets: secrets, wide: part(v6WideLine, v6FilterLine), lines: part(v6FilterLine, shortTags),
	}
	x.short = v6Table{
		secrets: secrets, buckets: nShort, limit: v6Room(nShort),
		tags: part(shortTags, hostTags), slots: part(shortSlots, hostSlots),
	}
	x.hosts = v6Table{
		secrets: secrets, buckets: nHost, host: true, limit: v6Room(nHost),
		tags: part(hostTags, shortSlots), slots: lines[hostSlots*v6LineWords:],
	}
	two := func(low, high uint32) uint64 { return uint64(high)<<32 | uint64(low) }
	copy(lines, []uint64{
		two(v6Format|nFilter<<16, nShort), two(nHost, hostTags), two(shortSlots, 0), // 0: the loader writes the bank
		two(secrets.nh[0], secrets.nh[1]), two(secrets.nh[2], secrets.nh[3]),
		secrets.salt, secrets.home, secrets.second,
	})
	return nil
}

func (x *V6) table(c v6Class) *v6Table {
	if c == v6Class128 {
		return &x.hosts
	}
	return &x.short
}

// announce makes readers look for keys of a class, once its first key is there.
func (x *V6) announce(c v6Class) {
	if x.classes&(1<<c) == 0 {
		x.classes |= 1 << c
		atomic.StoreUint64(&x.lines[0], x.lines[0]|1<<(8+c))
	}
}

// merge combines a node with what its keys say already.
func (x *V6) merge(n v6Node) bool {
	rule := x.rules[n.bits]
	x.marked[rule.class] = x.marked[rule.class] || rule.marker
	first := v6Key{n.high, n.low, v6Class128}.within(rule.class)
	for k := range rule.keys(first, int(n.bits)) {
		x.filter.add(k)
		if !x.table(k.class).merge(k, rule.says(n.until)) {
			return false
		}
	}
	x.announce(rule.class)
	return true
}

// Update brings the answers for all sources in p up to date with the book, after a change of
// a node of p. After several changes, call it for the puts first: then a source whose
// decision is the same before and after never gets another one in between. It returns false
// if a new generation must be built, because there is no room or too much work. Until then
// the answers of this generation are right, either with the change or without it.
//
// The book may lose a node without a call of Update after its entries have expired. The keys of
// the node stay. Their own deadlines have passed, so they only send packets to the tries.
func (x *V6) Update(p netip.Prefix) bool {
	if p.Bits() < v6Shortest {
		return false
	}
	if x.rules == nil {
		return true
	}
	inside := 0
	for _, kind := range []policy.Kind{policy.Block, policy.Allow} {
		for n := range x.book.NodesInside(kind, p) {
			if n.Prefix == p {
				continue
			}
			if inside++; inside > v6Wide || !x.refresh(n.Prefix) {
				return false
			}
		}
	}
	// Last, so that sources that p no longer covers have the keys inside p by then.
	return x.refresh(p)
}

// Region returns what Update(p) brings up to date.
func (x *V6) Region(p netip.Prefix) netip.Prefix { return p }

// refresh brings the keys of a prefix up to date.
func (x *V6) refresh(p netip.Prefix) bool {
	rule := x.rules[p.Bits()]
	x.marked[rule.class] = x.marked[rule.class] || rule.marker
	for k := range rule.keys(v6KeyOf(p.Addr(), rule.class), p.Bits()) {
		until, present := x.wanted(k)
		if !present {
			x.table(k.class).remove(k)
			continue
		}
		x.filter.add(k)
		if !x.table(k.class).put(k, until) {
			return false
		}
	}
	x.announce(rule.class)
	return true
}

// wanted returns what a key has to say according to the book, if it has to be there.
func (x *V6) wanted(k v6Key) (until v6Until, present bool) {
	p := k.prefix()
	expanded := v6Rule{class: k.class}
	for _, kind := range []policy.Kind{policy.Block, policy.Allow} {
		for n, above := range v6WithAbove(x.book.NodesCovering(kind, p)) {
			if k.class.bits()-n.Prefix.Bits() > v6Expansion {
				break
			}
			if x.rules[n.Prefix.Bits()] == expanded {
				until, present = until.and(expanded.says(v6UntilOf(n, above))), true
			}
		}
	}
	if !x.marked[k.class] {
		return until, present
	}
	if u, ok := x.wantedMarker(k.class, p); ok {
		until, present = until.and(u), true
	}
	return until, present
}

// v6WithAbove yields nested nodes, longest prefix first, each with the deadline of the drop of
// the next one, or 0.
func v6WithAbove(nested iter.Seq[policy.Node]) iter.Seq2[policy.Node, policy.Tick] {
	return func(yield func(policy.Node, policy.Tick) bool) {
		var inner policy.Node
		for n := range nested {
			if inner.Prefix.IsValid() && !yield(inner, n.Verdict.Drop) {
				return
			}
			inner = n
		}
		if inner.Prefix.IsValid() {
			yield(inner, policy.TickNever)
		}
	}
}

// wantedMarker returns what the nodes inside p say together whose only key is the marker of
// p. If there are too many to read, it may return a marker that is not needed.
func (x *V6) wantedMarker(class v6Class, p netip.Prefix) (until v6Until, present bool) {
	marker := v6Rule{class: class, marker: true}
	for _, kind := range []policy.Kind{policy.Block, policy.Allow} {
		seen := 0
		for n := range x.book.NodesInside(kind, p) {
			if seen++; seen > v6Search || n.Prefix.Bits() > class.bits() && x.rules[n.Prefix.Bits()] == marker {
				until, present = until.and(marker.says(v6UntilOf(n, policy.TickNever))), true
				break // all nodes of a kind say the same under a marker
			}
		}
	}
	return until, present
}

// Lookup returns the answer of the packet program for a source at tick now.
func (x *V6) Lookup(a netip.Addr, now policy.Tick) Answer {
	if x.rules == nil {
		return Ask
	}
	var until v6Until
	found := false
	held := uint8(atomic.LoadUint64(&x.lines[0]) >> 8)
	classes := x.filter.classes(v6KeyOf(a, v6Class64).high, held)
	for c := range v6Classes {
		if classes>>c&1 == 0 {
			continue
		}
		if u, ok := x.table(c).ask(v6KeyOf(a, c)); ok {
			until, found = until.and(u), true
		}
	}
	switch {
	case !found:
		return Clean
	case until == v6Allow || until == v6Listed:
		return Ask
	case policy.Tick(until) == policy.TickForever || now < policy.Tick(until):
		return Drop
	}
	return Ask
}

// Lines returns how many lines of the generation are used, and how many it has. It is full
// when three fifths of the slots are used.
func (x *V6) Lines() (used, capacity uint32) {
	capacity = uint32(len(x.lines) / v6LineWords)
	slots := uint32(x.short.used/4 + x.hosts.used/v6HostsInLine)
	return capacity - uint32(len(x.short.slots)+len(x.hosts.slots))/v6LineWords + slots, capacity
}
