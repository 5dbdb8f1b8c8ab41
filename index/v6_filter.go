package index

import "sync/atomic"

const (
	// v6WideLine is the first line with bits of /16s.
	v6WideLine = 1
	// v6FilterLine is the first line of the filter for longer keys.
	v6FilterLine = v6WideLine + 1<<16/(64*v6LineWords)
	// v6FilterKeys is the number of keys that a line is meant for. A key has 16 bits
	// then, and sets two.
	v6FilterKeys = 32
	// v6FirstSegment is INDEX_SEGMENT_LINES of bpf/types.h.
	v6FirstSegment = 8192
	// v6FilterMost is the number of lines that fit into the first segment. The program
	// reads lines of the other segments by one look-up more.
	v6FilterMost = v6FirstSegment - v6FilterLine
)

// v6Filter tells of which classes there may be a key for a source, as
// bpf/index_v6_layout.h describes.
type v6Filter struct {
	secrets *v6Secrets
	wide    []uint64
	lines   []uint64
}

// v6FilterLines returns the number of lines for this many keys. That is the room of both
// tables, so that they are full before there are more keys.
func v6FilterLines(keys int) uint32 { return uint32(min(keys/v6FilterKeys+1, v6FilterMost)) }

// v6FilterSpot is the place of the two bits of a key: low and high, each plus the class.
type v6FilterSpot struct {
	word      int
	low, high int
}

// spot returns where a key of class c has its bits. high is the upper half of an address in it.
func (f *v6Filter) spot(high uint64, c v6Class) v6FilterSpot {
	s := f.secrets
	network := high >> 32
	mixed := network * s.home
	line := (mixed ^ mixed>>32) * s.salt >> 32 * uint64(len(f.lines)/v6LineWords) >> 32
	site := high >> 16
	if c == v6Class32 {
		site = network << 16
	}
	at := site * s.second
	return v6FilterSpot{
		word: int(line)*v6LineWords + int(at>>61),
		low:  int(at >> 56 & 31),
		high: int(at>>51&31) + 27,
	}
}

// add sets the bits of a key. It is called before the key is written, so that there is never a
// key without its bits. Nothing clears them: they may be those of other keys too.
func (f *v6Filter) add(k v6Key) {
	if k.class == v6Class16 {
		f.set(f.wide, int(k.high>>54), 1<<(k.high>>48&63))
		return
	}
	s := f.spot(k.high, k.class)
	f.set(f.lines, s.word, (1<<s.low|1<<s.high)<<k.class)
}

func (f *v6Filter) set(words []uint64, at int, bits uint64) {
	if words[at]&bits != bits {
		atomic.StoreUint64(&words[at], words[at]|bits)
	}
}

// classes does the same as v6_filter in bpf/index_v6_filter.h, for an address with this upper half.
// held are the classes of the generation. The bit 1<<c stands for class c.
func (f *v6Filter) classes(high uint64, held uint8) uint8 {
	sift := func(c v6Class) uint64 {
		s := f.spot(high, c)
		word := atomic.LoadUint64(&f.lines[s.word])
		return word >> s.low & (word >> s.high)
	}
	const short = 1 << v6Class32
	found := sift(v6Class32)&short | sift(v6Class48)&^short&^1
	if held&(1<<v6Class16) != 0 {
		found |= atomic.LoadUint64(&f.wide[high>>54]) >> (high >> 48 & 63) & 1
	}
	return uint8(found) & held
}
