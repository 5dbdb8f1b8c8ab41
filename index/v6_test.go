package index

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/paraxial/paraxial/policy"
)

func v6Heap(lines uint32) ([]uint64, error) { return make([]uint64, lines*v6LineWords), nil }

// v6World makes IPv6 books, and sources for them.
type v6World struct {
	*rand.Rand
	lengths []int // of prefixes
	hosts   []netip.Addr
}

const (
	v6Now  = policy.Deadline(1000 * time.Hour)
	v6Hour = policy.Deadline(time.Hour)
)

func newV6World(seed uint64, lengths []int) *v6World {
	w := &v6World{Rand: rand.New(rand.NewPCG(seed, 6)), lengths: lengths}
	for range 12 {
		w.hosts = append(w.hosts, w.addr())
	}
	return w
}

func (w *v6World) addr() netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], w.Uint64()>>3|1<<61)
	binary.BigEndian.PutUint64(b[8:], w.Uint64())
	return netip.AddrFrom16(b)
}

// near returns an address that shares its first bits with a host.
func (w *v6World) near() netip.Addr {
	if w.IntN(20) == 0 {
		return w.addr()
	}
	b, r := w.hosts[w.IntN(len(w.hosts))].As16(), w.addr().As16()
	for bit := w.IntN(129); bit < 128; bit++ {
		b[bit/8] = b[bit/8]&^(0x80>>(bit%8)) | r[bit/8]&(0x80>>(bit%8))
	}
	return netip.AddrFrom16(b)
}

func (w *v6World) prefix() netip.Prefix {
	return netip.PrefixFrom(w.near(), w.lengths[w.IntN(len(w.lengths))]).Masked()
}

func (w *v6World) entry() policy.Entry {
	e := policy.Entry{
		Prefix: w.prefix(), Kind: policy.Block, Action: policy.Drop,
		Origin:   []string{"cli", "feed:a"}[w.IntN(2)],
		Deadline: policy.Forever,
	}
	switch w.IntN(8) {
	case 0:
		e.Kind, e.Action = policy.Allow, policy.NoAction
	case 1, 2:
		e.Action = policy.Shadow
	}
	if w.IntN(2) == 0 {
		e.Deadline = v6Now + policy.Deadline(w.IntN(20)-6)*v6Hour
	}
	return e
}

func v6AllLengths() []int {
	var all []int
	for bits := v6Shortest; bits <= 128; bits++ {
		all = append(all, bits)
	}
	return all
}

func v6Entries(b *policy.Book) []policy.Entry {
	var all []policy.Entry
	for _, k := range []policy.Kind{policy.Block, policy.Allow} {
		for e := range b.Entries(k) {
			all = append(all, e)
		}
	}
	return all
}

// checkV6 fails if the model does not allow the answer for a source.
func checkV6(t *testing.T, x *V6, entries []policy.Entry, src netip.Addr, now policy.Deadline) Answer {
	t.Helper()
	got, want := x.Lookup(src, policy.TickAt(now)), policy.Decide(entries, src, now)
	if got == Clean && want != policy.NotListed || got == Drop && want != policy.Blocked {
		t.Fatalf("%v: index says %d, model %v", src, got, want)
	}
	return got
}

// sources returns n random addresses: inside a prefix of the entries, right beside one, or near
// a host.
func (w *v6World) sources(entries []policy.Entry, n int) []netip.Addr {
	var all []netip.Addr
	for range n {
		if len(entries) > 0 && w.IntN(2) == 0 {
			p := entries[w.IntN(len(entries))].Prefix
			b, r := p.Addr().As16(), w.addr().As16()
			for bit := p.Bits(); bit < 128; bit++ {
				b[bit/8] |= r[bit/8] & (0x80 >> (bit % 8))
			}
			if w.IntN(4) == 0 && p.Bits() > 0 {
				bit := w.IntN(p.Bits())
				b[bit/8] ^= 0x80 >> (bit % 8)
			}
			all = append(all, netip.AddrFrom16(b))
			continue
		}
		all = append(all, w.near())
	}
	return all
}

func v6Cases(usual int) int {
	if n, err := strconv.Atoi(os.Getenv("PARAXIAL_CASES")); err == nil {
		return n
	}
	return usual
}

// An updated generation and a new one agree with the model on every source of random books.
func TestV6AgainstModel(t *testing.T) {
	for seed := range uint64(v6Cases(60)) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			lengths := v6AllLengths()
			switch seed % 4 {
			case 0:
				lengths = []int{16, 32, 48, 56, 64, 128}
			case 1:
				lengths = []int{32, 33, 40, 48, 50, 64, 96, 120, 128}
			}
			w := newV6World(seed, lengths)
			book := policy.NewBook(1 << 16)
			for range w.IntN(60) {
				book.Apply([]policy.Op{policy.PutOp(w.entry())})
			}
			x, err := BuildV6(book, v6Heap)
			if err != nil {
				t.Fatal(err)
			}
			for range 60 {
				x = w.change(t, book, x)
				if w.IntN(2) == 0 {
					v6Expire(book)
				}
				entries := v6Entries(book)
				now := v6Now + policy.Deadline(w.IntN(14))*v6Hour + policy.Deadline(time.Minute)
				for _, src := range w.sources(entries, 60) {
					checkV6(t, x, entries, src, now)
				}
			}
		})
	}
}

// v6Expire removes the expired entries, of which the engine does not tell the index.
func v6Expire(book *policy.Book) {
	var ops []policy.Op
	for _, e := range book.Expired(v6Now-policy.Deadline(time.Minute), 1<<16) {
		ops = append(ops, policy.RemoveOp(e.Key()))
	}
	book.Apply(ops)
}

// change makes a few changes of the book. During them every source has either its answer before
// or its answer after.
func (w *v6World) change(t *testing.T, book *policy.Book, x *V6) *V6 {
	t.Helper()
	entries := v6Entries(book)
	var ops []policy.Op
	for range 1 + w.IntN(3) {
		if len(entries) > 0 && w.IntN(5) < 2 {
			ops = append(ops, policy.RemoveOp(entries[w.IntN(len(entries))].Key()))
		} else {
			ops = append(ops, policy.PutOp(w.entry()))
		}
	}
	book.Apply(ops)
	after := v6Entries(book)
	sources := w.sources(append(entries, after...), 20)
	for _, puts := range []bool{true, false} {
		for _, op := range ops {
			p := op.Remove.Prefix
			if op.IsPut() {
				p = op.Put.Prefix
			}
			// A prefix that is put and removed in one change counts as removed.
			if slices.ContainsFunc(after, func(e policy.Entry) bool { return e.Prefix == p }) != puts {
				continue
			}
			if !x.Update(p) {
				var err error
				if x, err = BuildV6(book, v6Heap); err != nil {
					t.Fatal(err)
				}
			}
			for _, src := range sources {
				was, will := policy.Decide(entries, src, v6Now), policy.Decide(after, src, v6Now)
				got := x.Lookup(src, policy.TickAt(v6Now))
				if was == will && (got == Clean && was != policy.NotListed || got == Drop && was != policy.Blocked) {
					t.Fatalf("%v: index says %d during a change, but it is %v before and after", src, got, was)
				}
			}
		}
	}
	return x
}

// v6Big is a book of n drops with the usual lengths: 20% /128, 60% /64, 15% /48, 5% /32.
func v6Big(n int, seed uint64) (*policy.Book, []netip.Prefix) {
	w := newV6World(seed, nil)
	book := policy.NewBook(1 << 21)
	var ops []policy.Op
	var prefixes []netip.Prefix
	for range n {
		bits := 64
		switch x := w.IntN(100); {
		case x < 20:
			bits = 128
		case x >= 95:
			bits = 32
		case x >= 80:
			bits = 48
		}
		p := netip.PrefixFrom(w.addr(), bits).Masked()
		prefixes = append(prefixes, p)
		ops = append(ops, policy.PutOp(policy.Entry{
			Prefix: p, Kind: policy.Block, Action: policy.Drop, Origin: "cli", Deadline: policy.Forever,
		}))
	}
	book.Apply(ops)
	return book, prefixes
}

// inside returns a random address in a prefix.
func (w *v6World) inside(p netip.Prefix) netip.Addr {
	b, r := p.Addr().As16(), w.addr().As16()
	for bit := p.Bits(); bit < 128; bit++ {
		b[bit/8] |= r[bit/8] & (0x80 >> (bit % 8))
	}
	return netip.AddrFrom16(b)
}

// With the usual lengths the tries are rarely asked.
func TestV6SeldomAsks(t *testing.T) {
	book, prefixes := v6Big(100_000, 1)
	x, err := BuildV6(book, v6Heap)
	if err != nil {
		t.Fatal(err)
	}
	w := newV6World(2, nil)
	asks := map[Answer]int{}
	for _, p := range prefixes {
		switch x.Lookup(w.inside(p), 1) {
		case Clean:
			t.Fatalf("%v: clean", p)
		case Ask:
			asks[Drop]++
		}
		if a := w.addr(); x.Lookup(a, 1) == Ask {
			asks[Clean]++
		}
	}
	t.Logf("asks: %d of listed, %d of unlisted sources of %d", asks[Drop], asks[Clean], len(prefixes))
	if limit := len(prefixes) / 300; asks[Drop] > limit || asks[Clean] > limit {
		t.Errorf("asks for %d listed and %d unlisted of %d sources; want at most %d",
			asks[Drop], asks[Clean], len(prefixes), limit)
	}
	used, capacity := x.Lines()
	t.Logf("%d lines used of %d: %d KiB", used, capacity, capacity/16)
}

func TestV6SmallBooksAreSmall(t *testing.T) {
	for n, limit := range map[int]uint32{0: 256, 20: 256, 100: 64 * 12} {
		book, _ := v6Big(n, 3)
		x, err := BuildV6(book, v6Heap)
		if err != nil {
			t.Fatal(err)
		}
		if _, lines := x.Lines(); lines > limit {
			t.Errorf("%d entries: %d lines; want at most %d", n, lines, limit)
		}
	}
}

// Prefixes that somebody chose to collide, knowing the code but not the secrets, are
// distributed over buckets like random ones. So are regular prefixes.
func TestV6HostileSets(t *testing.T) {
	const n = 50_000
	inverse := func(k uint64) uint64 { // modulo 2^64, by Newton's method
		x := k
		for range 6 {
			x *= 2 - k*x
		}
		return x
	}
	sets := map[string]func(i uint64) v6Key{
		"multiplier's inverse": func(i uint64) v6Key {
			return v6Key{high: i * inverse(0x9E3779B97F4A7C15), class: v6Class64}
		},
		"inverse, whole addresses": func(i uint64) v6Key {
			return v6Key{high: i * inverse(0x9E3779B97F4A7C15), low: 7, class: v6Class128}
		},
		"neighbours":   func(i uint64) v6Key { return v6Key{high: 0x20010db8<<32 | i, class: v6Class64} },
		"every /48":    func(i uint64) v6Key { return v6Key{high: 0x20010db8<<32 + i<<16, class: v6Class48} },
		"every /32":    func(i uint64) v6Key { return v6Key{high: 0x2001<<48 + i<<32, class: v6Class32} },
		"hosts of one": func(i uint64) v6Key { return v6Key{high: 0x20010db8 << 32, low: i, class: v6Class128} },
		"top bits": func(i uint64) v6Key {
			return v6Key{high: 1<<61 | i<<56&(31<<56), low: i >> 5 << 52, class: v6Class128}
		},
		"halves equal": func(i uint64) v6Key { return v6Key{high: i<<32 | i, low: i<<32 | i, class: v6Class128} },
		"both ways":    func(i uint64) v6Key { return v6Key{high: i, low: -i, class: v6Class128} },
	}
	for name, key := range sets {
		t.Run(name, func(t *testing.T) {
			secrets, err := newV6Secrets()
			if err != nil {
				t.Fatal(err)
			}
			var x V6
			if err := x.layOut(v6Heap, secrets, n, n); err != nil {
				t.Fatal(err)
			}
			for i := range uint64(n) {
				if k := key(i); !x.table(k.class).put(k, v6Until(policy.TickForever)) {
					t.Fatal("no room")
				}
			}
			table := x.table(key(0).class)
			full, lost := 0, 0
			for _, word := range table.tags {
				if word>>v6PassedShift != 0 {
					full++
				}
			}
			for i := range uint64(n) {
				if _, _, found := table.find(key(i)); !found {
					lost++
				}
			}
			t.Logf("%d of %d buckets were full, %d of %d keys found no slot", full, table.buckets, lost, n)
			if full > int(table.buckets)/20 || lost > n/1000 {
				t.Errorf("%d of %d buckets were full, %d of %d keys found no slot", full, table.buckets, lost, n)
			}
		})
	}
}

// Changes one entry in small and large books. The cost should be the same.
func BenchmarkV6Update(b *testing.B) {
	for _, n := range []int{1000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			book, prefixes := v6Big(n, 5)
			x, err := BuildV6(book, v6Heap)
			if err != nil {
				b.Fatal(err)
			}
			i := 0
			for b.Loop() {
				if i++; !x.Update(prefixes[i*7919%n]) {
					b.Fatal("no room")
				}
			}
		})
	}
}

func BenchmarkV6Build(b *testing.B) {
	book, _ := v6Big(1_000_000, 6)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := BuildV6(book, v6Heap); err != nil {
			b.Fatal(err)
		}
	}
}
