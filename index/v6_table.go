package index

import (
	"math/bits"
	"sync/atomic"
)

// The layout that bpf/index_v6_layout.h describes.
const (
	v6Format      = 3
	v6LineWords   = 8
	v6Lanes       = 6
	v6Choices     = 3 // of buckets for a key
	v6LaneBits    = 10
	v6EachLane    = 1 | 1<<10 | 1<<20 | 1<<30 | 1<<40 | 1<<50
	v6LaneTops    = v6EachLane << (v6LaneBits - 1)
	v6Tags        = 1<<60 - 1
	v6PassedShift = 60
	v6ShortLines  = 3 // of the slots of two short buckets
	v6HostLines   = 2 // of the slots of a host bucket
	v6HostsInLine = 3
)

// v6Secrets are the secrets of the hash. Each generation has others, so that nobody can choose
// prefixes that collide.
type v6Secrets struct {
	nh           [4]uint32
	salt         uint64
	home, second uint64 // odd
}

func (s *v6Secrets) mixed(k v6Key) uint64 {
	nh := func(x uint64, a, b uint32) uint64 { return uint64(uint32(x>>32)+a) * uint64(uint32(x)+b) }
	z := nh(k.high, s.nh[0], s.nh[1])
	if k.class == v6Class128 {
		z += nh(k.low, s.nh[2], s.nh[3])
	} else {
		z += uint64(k.class) * s.salt
	}
	return z ^ z>>32
}

// v6Place is a bucket, and the tag of a key in it.
type v6Place struct {
	bucket uint32
	tag    uint64
}

// passed returns the flag in the tag word of the bucket for keys with such a tag that found
// no free slot in it, and are in a later bucket.
func (p v6Place) passed() uint64 { return 1 << (v6PassedShift + p.tag&3) }

func v6PlaceOf(mixed, multiplier uint64, buckets uint32) v6Place {
	at := (mixed * multiplier >> 32) * uint64(buckets)
	return v6Place{bucket: uint32(at >> 32), tag: (at&0xffffffff)*1023>>32 + 1}
}

// v6Table is the table of short keys or that of hosts.
type v6Table struct {
	secrets *v6Secrets
	host    bool
	buckets uint32
	tags    []uint64
	slots   []uint64
	used    int // slots, including those of removed keys
	limit   int // of used
}

// v6Ref is the slot of a key.
type v6Ref struct {
	bucket uint32
	lane   int
	tag    uint64
}

// place returns the nth bucket of a key, from its home, 0, to its third, 2.
func (t *v6Table) place(mixed uint64, nth int) v6Place {
	s := t.secrets
	return v6PlaceOf(mixed, [v6Choices]uint64{s.home, s.second, s.second * s.home}[nth], t.buckets)
}

// find returns the slot that a key has or had, and whether the key is live.
func (t *v6Table) find(k v6Key) (ref v6Ref, live, found bool) {
	mixed := t.secrets.mixed(k)
	for nth := range v6Choices {
		place := t.place(mixed, nth)
		word := t.tags[place.bucket]
		for lane := range v6Lanes {
			tag := word >> (lane * v6LaneBits) & (1<<v6LaneBits - 1)
			if tag != 0 && tag != place.tag {
				continue
			}
			ref := v6Ref{place.bucket, lane, place.tag}
			if t.holds(ref, k) {
				return ref, tag != 0, true
			}
		}
		if word&place.passed() == 0 {
			break
		}
	}
	return v6Ref{}, false, false
}

// free returns a slot of the bucket that was never used.
func (t *v6Table) free(place v6Place) (v6Ref, bool) {
	for lane := range v6Lanes {
		if ref := (v6Ref{place.bucket, lane, place.tag}); !t.wasUsed(ref) {
			return ref, true
		}
	}
	return v6Ref{}, false
}

// put stores until for the key. It returns false if the table is too full. If the key finds no
// slot although the table has room, the program asks the tries about its sources, which is
// correct.
func (t *v6Table) put(k v6Key, until v6Until) bool {
	if ref, live, found := t.find(k); found {
		t.setUntil(ref, k.class, until)
		if !live {
			t.setTag(ref)
		}
		return true
	}
	return t.add(k, until)
}

// add puts a key that was never there.
func (t *v6Table) add(k v6Key, until v6Until) bool {
	if t.used >= t.limit {
		return false
	}
	mixed := t.secrets.mixed(k)
	for nth := range v6Choices {
		if ref, ok := t.free(t.place(mixed, nth)); ok {
			t.fill(ref, k, until)
			t.pass(mixed, nth)
			return true
		}
	}
	t.pass(mixed, v6Choices)
	return true
}

// pass tells readers that a key is not in the first n of its buckets, but may be in the
// next one. It is called after fill, so that a reader that sees the flag finds the key.
func (t *v6Table) pass(mixed uint64, n int) {
	for nth := range n {
		place := t.place(mixed, nth)
		if word := t.tags[place.bucket]; word&place.passed() == 0 {
			atomic.StoreUint64(&t.tags[place.bucket], word|place.passed())
		}
	}
}

// merge combines until with what the key says already. It must not be used once a key was
// removed.
func (t *v6Table) merge(k v6Key, until v6Until) bool {
	ref, _, found := t.find(k)
	if !found {
		return t.add(k, until)
	}
	t.setUntil(ref, k.class, t.until(ref).and(until))
	return true
}

// remove removes a key, with a single store. The slot is not given to another key.
func (t *v6Table) remove(k v6Key) {
	if ref, live, found := t.find(k); found && live {
		mask := uint64(1<<v6LaneBits-1) << (ref.lane * v6LaneBits)
		atomic.StoreUint64(&t.tags[ref.bucket], t.tags[ref.bucket]&^mask)
	}
}

// fill writes a key to a slot that no reader looks at yet.
func (t *v6Table) fill(ref v6Ref, k v6Key, until v6Until) {
	t.used++
	at := t.at(ref)
	atomic.StoreUint64(&t.slots[at], k.high)
	if t.host {
		atomic.StoreUint64(&t.slots[at+1], k.low)
		flags := t.hostLine(ref) + 7
		atomic.StoreUint64(&t.slots[flags], t.slots[flags]|1<<(32+ref.lane%v6HostsInLine))
	}
	t.setUntil(ref, k.class, until)
	t.setTag(ref)
}

func (t *v6Table) setTag(ref v6Ref) {
	atomic.StoreUint64(&t.tags[ref.bucket], t.tags[ref.bucket]|ref.tag<<(ref.lane*v6LaneBits))
}

// at returns the index of the first word of the key in a slot.
func (t *v6Table) at(ref v6Ref) int {
	if !t.host {
		return (int(ref.bucket)*v6Lanes + ref.lane) * 2
	}
	return t.hostLine(ref) + ref.lane%v6HostsInLine*2
}

func (t *v6Table) hostLine(ref v6Ref) int {
	return (int(ref.bucket)*v6HostLines + ref.lane/v6HostsInLine) * v6LineWords
}

// untilWord returns the index of the word with the deadline of a slot. The upper half of the
// last word of a host line tells which slots were ever used.
func (t *v6Table) untilWord(ref v6Ref) int {
	if !t.host {
		return t.at(ref) + 1
	}
	return t.hostLine(ref) + 6 + ref.lane%v6HostsInLine/2
}

func (t *v6Table) untilShift(ref v6Ref) int {
	if t.host && ref.lane%v6HostsInLine == 1 {
		return 32
	}
	return 0
}

func (t *v6Table) until(ref v6Ref) v6Until {
	return v6Until(t.slots[t.untilWord(ref)] >> t.untilShift(ref))
}

func (t *v6Table) setUntil(ref v6Ref, class v6Class, until v6Until) {
	word, shift := t.untilWord(ref), t.untilShift(ref)
	v := t.slots[word]&^(0xffffffff<<shift) | uint64(until)<<shift
	if !t.host {
		v = uint64(class+1)<<32 | uint64(until)
	}
	atomic.StoreUint64(&t.slots[word], v)
}

func (t *v6Table) wasUsed(ref v6Ref) bool {
	if !t.host {
		return t.slots[t.untilWord(ref)] != 0
	}
	return t.slots[t.hostLine(ref)+7]>>(32+ref.lane%v6HostsInLine)&1 != 0
}

// holds tells whether the key has, or had, the slot.
func (t *v6Table) holds(ref v6Ref, k v6Key) bool {
	at := t.at(ref)
	if t.host {
		return t.slots[at] == k.high && t.slots[at+1] == k.low && t.wasUsed(ref)
	}
	return t.slots[at] == k.high && t.slots[at+1]>>32 == uint64(k.class)+1
}

// ask does the same as v6_key in bpf/index_v6.h.
func (t *v6Table) ask(k v6Key) (until v6Until, found bool) {
	mixed := t.secrets.mixed(k)
	for nth := range v6Choices {
		place := t.place(mixed, nth)
		word := atomic.LoadUint64(&t.tags[place.bucket])
		if until, found := t.askBucket(k, place, word); found {
			return until, true
		}
		if word&place.passed() == 0 {
			return 0, false
		}
	}
	return v6Allow, true
}

func (t *v6Table) askBucket(k v6Key, place v6Place, word uint64) (v6Until, bool) {
	differ := word&v6Tags ^ place.tag*v6EachLane
	hits := (differ - v6EachLane) & ^differ & v6LaneTops
	for range 2 {
		if hits == 0 {
			return 0, false
		}
		ref := v6Ref{place.bucket, bits.TrailingZeros64(hits) / v6LaneBits, place.tag}
		if t.holds(ref, k) {
			return t.until(ref), true
		}
		hits &= hits - 1
	}
	return v6Allow, hits != 0
}
