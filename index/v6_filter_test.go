package index

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/paraxial/paraxial/loader/banks"
	"github.com/paraxial/paraxial/policy"
	"github.com/paraxial/paraxial/tests/inner"
)

// Most sources that are not listed end at the filter, and the tables are not read.
func TestV6FilterEndsMost(t *testing.T) {
	for _, n := range []int{100, 1000, 20_000, 100_000} {
		book, _ := v6Big(n, 31)
		x, err := BuildV6(book, v6Heap)
		if err != nil {
			t.Fatal(err)
		}
		w, ended := newV6World(32, nil), 0
		const sources = 100_000
		onlyFilter := &V6{rules: x.rules, lines: x.lines, filter: x.filter} // reading a table panics
		for range sources {
			a := w.addr()
			if x.filter.classes(v6KeyOf(a, v6Class64).high, x.classes) != 0 {
				continue
			}
			ended++
			if got := onlyFilter.Lookup(a, 1); got != Clean {
				t.Fatalf("%d entries: %v ends at the filter: %d; want clean", n, a, got)
			}
		}
		t.Logf("%d entries: %.1f%% of the sources end at the filter", n, 100*float64(ended)/sources)
		if ended < sources*93/100 {
			t.Errorf("%d entries: %d of %d sources end at the filter; want 93%%", n, ended, sources)
		}
	}
}

// A source ends at the filter also if its /32 has keys, but its /48 has none.
func TestV6FilterKnowsSites(t *testing.T) {
	book := policy.NewBook(1000)
	network := netip.MustParsePrefix("2a00:1234::/32")
	w := newV6World(33, nil)
	for range 20 {
		book.Apply([]policy.Op{policy.PutOp(policy.Entry{
			Prefix: netip.PrefixFrom(w.inside(network), 64).Masked(), Kind: policy.Block, Action: policy.Drop,
			Origin: "cli", Deadline: policy.Forever,
		})})
	}
	x, err := BuildV6(book, v6Heap)
	if err != nil {
		t.Fatal(err)
	}
	ended := 0
	for range 1000 {
		if x.filter.classes(v6KeyOf(w.inside(network), v6Class64).high, x.classes) == 0 {
			ended++
		}
	}
	if ended < 950 {
		t.Errorf("%d of 1000 sources of a network with 20 keys end at the filter; want 950", ended)
	}
}

// The bits of a key are there before the key is: a table that has no room takes no key, and the
// filter has its bits.
func TestV6FilterBeforeKeys(t *testing.T) {
	for c := range v6Classes {
		book := policy.NewBook(1000)
		first := policy.Entry{Prefix: netip.MustParsePrefix("3fff:1:2:3:4:5:6:7/128"), Kind: policy.Block,
			Action: policy.Drop, Origin: "cli", Deadline: policy.Forever}
		book.Apply([]policy.Op{policy.PutOp(first)})
		x, err := BuildV6(book, v6Heap)
		if err != nil {
			t.Fatal(err)
		}
		x.short.limit, x.hosts.limit = 0, 0
		e := first
		e.Prefix = c.prefix(netip.MustParseAddr("2a00:1:2:3:4:5:6:7"))
		book.Apply([]policy.Op{policy.PutOp(e)})
		if x.Update(e.Prefix) {
			t.Fatalf("%v: a table without room takes a key", e.Prefix)
		}
		if got := x.filter.classes(v6KeyOf(e.Prefix.Addr(), v6Class64).high, 1<<c); got != 1<<c {
			t.Errorf("%v: the filter names classes %#b before there is a key; want %#b", e.Prefix, got, 1<<c)
		}
	}
}

// Each key of a table has its bits, in a new generation and after changes of it.
func TestV6FilterHasEachKey(t *testing.T) {
	for seed := range uint64(20) {
		w := newV6World(seed, v6AllLengths())
		book := policy.NewBook(1 << 16)
		for range 200 {
			book.Apply([]policy.Op{policy.PutOp(w.entry())})
		}
		x, err := BuildV6(book, v6Heap)
		if err != nil {
			t.Fatal(err)
		}
		for range 50 {
			x = w.change(t, book, x)
		}
		keys := 0
		for _, table := range []*v6Table{&x.short, &x.hosts} {
			for k := range table.keys() {
				keys++
				if x.filter.classes(k.high, 1<<k.class) == 0 {
					t.Fatalf("seed %d: the filter does not name the class of %v", seed, k.prefix())
				}
			}
		}
		if keys == 0 {
			t.Errorf("seed %d: no keys", seed)
		}
	}
}

// keys yields the keys that the table has or had.
func (t *v6Table) keys() func(yield func(v6Key) bool) {
	return func(yield func(v6Key) bool) {
		for bucket := range t.buckets {
			for lane := range v6Lanes {
				ref := v6Ref{bucket: bucket, lane: lane}
				if !t.wasUsed(ref) {
					continue
				}
				at := t.at(ref)
				k := v6Key{high: t.slots[at], class: v6Class128}
				if t.host {
					k.low = t.slots[at+1]
				} else {
					k.class = v6Class(t.slots[at+1]>>32) - 1
				}
				if !yield(k) {
					return
				}
			}
		}
	}
}

// Regular prefixes, and many of one network, leave the filter as useful for other networks as random
// ones do.
func TestV6FilterHostileSets(t *testing.T) {
	const n = 50_000
	sets := map[string]func(i uint64) v6Key{
		"random":             func(i uint64) v6Key { return v6Key{high: i * 0x9E3779B97F4A7C15, class: v6Class64} },
		"every /32":          func(i uint64) v6Key { return v6Key{high: 0x2001<<48 + i<<32, class: v6Class32} },
		"every second /32":   func(i uint64) v6Key { return v6Key{high: 0x2001<<48 + i<<33, class: v6Class32} },
		"a /64 in every /32": func(i uint64) v6Key { return v6Key{high: 0x2001<<48 + i<<32 + 7, class: v6Class64} },
		"top bits":           func(i uint64) v6Key { return v6Key{high: i << 48, class: v6Class128} },
		"every /48 of one":   func(i uint64) v6Key { return v6Key{high: 0x20010db8<<32 + i<<16, class: v6Class48} },
		"hosts of one":       func(i uint64) v6Key { return v6Key{high: 0x20010db8 << 32, low: i, class: v6Class128} },
	}
	for name, key := range sets {
		t.Run(name, func(t *testing.T) {
			secrets, err := newV6Secrets()
			if err != nil {
				t.Fatal(err)
			}
			x := &V6{}
			if err := x.layOut(v6Heap, secrets, n, n); err != nil {
				t.Fatal(err)
			}
			for i := range uint64(n) {
				x.filter.add(key(i))
			}
			w, passed := newV6World(34, nil), 0
			const sources = 100_000
			for range sources {
				if x.filter.classes(v6KeyOf(w.addr(), v6Class64).high, 0xff&^1) != 0 {
					passed++
				}
			}
			t.Logf("%d of %d sources are looked up further", passed, sources)
			if passed > sources/10 {
				t.Errorf("%d of %d sources are looked up further; want a tenth at most", passed, sources)
			}
		})
	}
}

// However many keys there are, the filter stays in the first segment.
func TestV6FilterIsBounded(t *testing.T) {
	if v6FirstSegment != banks.Lines {
		t.Errorf("a segment has %d lines, the filter assumes %d", banks.Lines, v6FirstSegment)
	}
	for keys, want := range map[int]uint32{
		0: 1, 31: 1, 32: 2, 3200: 101,
		v6FilterMost*v6FilterKeys - 1: v6FilterMost, v6FilterMost * v6FilterKeys: v6FilterMost, 1 << 30: v6FilterMost,
	} {
		if got := v6FilterLines(keys); got != want {
			t.Errorf("%d keys: %d lines; want %d", keys, got, want)
		}
	}
}

// v6Poisoned is a generation in the memory of a program, all of whose lines can be made to match.
type v6Poisoned struct {
	*V6
	answer func(netip.Addr) Answer
}

// ask returns the program's answer for a source while all lines but the header and one line of the
// filter say that everything is listed.
func (p *v6Poisoned) ask(a netip.Addr, line int) Answer {
	before := slices.Clone(p.lines)
	for i := v6LineWords; i < len(p.lines); i++ {
		if i/v6LineWords != line {
			p.lines[i] = ^uint64(0)
		}
	}
	got := p.answer(a)
	copy(p.lines, before)
	return got
}

// The program reads one line of the filter for most sources that are not listed, and no other. That holds
// for the largest filter as well, and its answers are those of Lookup.
func TestV6ProgramReadsOneLine(t *testing.T) {
	loaded := loadV6Answer(t)
	answer := loaded.ask
	for _, room := range []int{1000, v6FilterMost * v6FilterKeys} {
		t.Run(fmt.Sprint(room), func(t *testing.T) {
			secrets, err := newV6Secrets()
			if err != nil {
				t.Fatal(err)
			}
			alloc, publish := inner.Lines(t, loaded.spec, loaded.Index)
			x := &V6{rules: &v6Rules{}}
			if err := x.layOut(alloc, secrets, room, 1000); err != nil {
				t.Fatal(err)
			}
			w := newV6World(35, nil)
			var listed []netip.Addr
			for range 500 {
				a := w.addr()
				k := v6KeyOf(a, []v6Class{v6Class32, v6Class48, v6Class56, v6Class64, v6Class128}[w.IntN(5)])
				listed = append(listed, a)
				x.filter.add(k)
				if !x.table(k.class).put(k, v6Until(policy.TickForever)) {
					t.Fatal("no room")
				}
				x.announce(k.class)
			}
			publish()
			for _, a := range listed {
				if got := answer(a); got != Drop {
					t.Fatalf("%v is listed: %d; want drop", a, got)
				}
			}
			p := &v6Poisoned{x, answer}
			ended := 0
			for range 20 {
				a := w.addr()
				high := v6KeyOf(a, v6Class64).high
				line := v6FilterLine + x.filter.spot(high, v6Class48).word/v6LineWords
				if got := p.ask(a, 0); got != Ask {
					t.Fatalf("%v: %d while everything matches; want ask", a, got)
				}
				if x.filter.classes(high, x.classes) != 0 {
					continue
				}
				ended++
				if got := p.ask(a, line); got != Clean {
					t.Errorf("%v: %d while all lines but one match; want clean", a, got)
				}
			}
			if ended < 15 {
				t.Errorf("%d of 20 sources end at the filter", ended)
			}
		})
	}
}
