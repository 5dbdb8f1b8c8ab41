package index_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/paraxial/paraxial/index"
	"github.com/paraxial/paraxial/policy"
)

// v4Hits is a number of drop counters above the nodes of any book here.
const v4Hits = 1 << 21

func v4Heap(lines uint32) ([]uint64, error) { return make([]uint64, 8*int(lines)), nil }

func buildV4(tb testing.TB, b index.Book) *index.V4 {
	tb.Helper()
	x, err := index.BuildV4(b, v4Heap)
	if err != nil {
		tb.Fatal(err)
	}
	return x
}

// v4Rand returns a source of random numbers and logs its seed.
func v4Rand(tb testing.TB) *rand.Rand {
	tb.Helper()
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("PARAXIAL_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			tb.Fatalf("PARAXIAL_SEED: %v", err)
		}
	}
	tb.Logf("PARAXIAL_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

func v4DeadlineAt(t policy.Tick) policy.Deadline {
	if t == policy.TickForever {
		return policy.Forever
	}
	return policy.Deadline(t) << policy.TickShift
}

// v4Entry reads "drop 192.0.2.0/24 forever", "allow 192.0.2.7/32 100".
func v4Entry(tb testing.TB, s string) policy.Entry {
	tb.Helper()
	var action, prefix, until string
	if _, err := fmt.Sscan(s, &action, &prefix, &until); err != nil {
		tb.Fatalf("entry %q: %v", s, err)
	}
	tick := uint64(policy.TickForever)
	if until != "forever" {
		var err error
		if tick, err = strconv.ParseUint(until, 10, 32); err != nil {
			tb.Fatalf("entry %q: %v", s, err)
		}
	}
	e := policy.Entry{
		Prefix: netip.MustParsePrefix(prefix), Kind: policy.Block,
		Origin: policy.OriginCLI, Deadline: v4DeadlineAt(policy.Tick(tick)),
	}
	switch action {
	case "allow":
		e.Kind = policy.Allow
	case "drop":
		e.Action = policy.Drop
	case "shadow":
		e.Action = policy.Shadow
	default:
		tb.Fatalf("entry %q: action", s)
	}
	return e
}

type v4Answers map[string]index.Answer

type v4Shape struct {
	name    string
	entries []string
	now     policy.Tick
	want    v4Answers
}

// v4AwkwardShapes are books with the answers that they must have at a time.
func v4AwkwardShapes() []v4Shape {
	var hosts, alternate []string
	for i := range 256 {
		hosts = append(hosts, fmt.Sprintf("drop 192.0.2.%d/32 forever", i))
		if i%2 == 0 {
			alternate = append(alternate, fmt.Sprintf("drop 192.0.2.%d/32 %d", i, 16000+256*i))
		}
	}
	var nested []string
	for bits := 8; bits <= 32; bits++ {
		p := netip.PrefixFrom(netip.MustParseAddr("192.0.2.129"), bits).Masked()
		nested = append(nested, fmt.Sprintf("drop %s %d", p, 25600+256*bits))
	}
	return []v4Shape{
		{"nothing", nil, 100,
			v4Answers{"0.0.0.0": index.Clean, "192.0.2.1": index.Clean, "255.255.255.255": index.Clean}},
		{"one host", []string{"drop 192.0.2.1/32 forever"}, 100,
			v4Answers{"192.0.2.1": index.Drop, "192.0.2.0": index.Clean, "192.0.3.1": index.Clean,
				"192.1.2.1": index.Clean}},
		{"first and last host", []string{"drop 0.0.0.0/32 forever", "drop 255.255.255.255/32 forever"}, 100,
			v4Answers{
				"0.0.0.0": index.Drop, "0.0.0.1": index.Clean, "255.255.255.255": index.Drop,
				"255.255.255.254": index.Clean,
			}},
		{"finite, live", []string{"drop 192.0.2.1/32 25600"}, 25599, v4Answers{"192.0.2.1": index.Drop}},
		{"finite, in the last part of its last quantum", []string{"drop 192.0.2.1/32 25855"}, 25600,
			v4Answers{"192.0.2.1": index.Ask}},
		{"finite, past", []string{"drop 192.0.2.1/32 25600"}, 25600,
			v4Answers{"192.0.2.1": index.Ask, "192.0.2.2": index.Clean}},
		{"ends at once after boot", []string{"drop 192.0.2.1/32 3"}, 1,
			v4Answers{"192.0.2.1": index.Ask, "192.0.2.2": index.Clean}},
		{"ends at the end of time", []string{"drop 192.0.2.1/32 4294967294"}, 1 << 29,
			v4Answers{"192.0.2.1": index.Drop}},
		{"past, in a live one", []string{"drop 192.0.2.1/32 25600", "drop 192.0.2.0/28 forever"}, 48000,
			v4Answers{"192.0.2.1": index.Drop}},
		{"live, in a past one", []string{"drop 192.0.2.1/32 forever", "drop 192.0.2.0/28 25600"}, 48000,
			v4Answers{"192.0.2.1": index.Drop, "192.0.2.2": index.Ask, "192.0.2.16": index.Clean}},
		{"host in a live /8", []string{"drop 192.0.0.0/8 forever", "drop 192.0.2.1/32 25600"}, 48000,
			v4Answers{"192.0.2.1": index.Drop, "192.255.0.1": index.Drop, "193.0.0.1": index.Clean}},
		{"/8 of a shorter time than its host", []string{"drop 192.0.0.0/8 25600", "drop 192.0.2.1/32 forever"}, 100,
			v4Answers{"192.0.2.1": index.Drop, "192.0.2.2": index.Drop, "192.0.3.2": index.Drop,
				"192.9.0.1": index.Drop}},
		{"/8 of a shorter time, past", []string{"drop 192.0.0.0/8 25600", "drop 192.0.2.1/32 forever"}, 25600,
			v4Answers{"192.0.2.1": index.Drop, "192.0.2.2": index.Ask, "192.0.3.2": index.Ask, "192.9.0.1": index.Ask}},
		{"everything", []string{"drop 0.0.0.0/0 forever"}, 100,
			v4Answers{"0.0.0.0": index.Drop, "10.1.2.3": index.Drop, "255.255.255.255": index.Drop}},
		{"/23", []string{"drop 192.0.2.0/23 forever"}, 100,
			v4Answers{"192.0.1.255": index.Clean, "192.0.2.0": index.Drop, "192.0.3.255": index.Drop,
				"192.0.4.0": index.Clean}},
		{"allow in a block", []string{"drop 192.0.0.0/8 forever", "allow 192.0.2.1/32 forever"}, 100,
			v4Answers{"192.0.2.1": index.Ask, "192.0.2.2": index.Ask, "192.0.3.1": index.Drop,
				"192.1.2.1": index.Drop}},
		{"block in an allow", []string{"allow 192.0.0.0/8 forever", "drop 192.0.2.1/32 forever"}, 100,
			v4Answers{"192.0.2.1": index.Ask, "192.0.3.1": index.Ask, "192.1.2.1": index.Ask,
				"193.0.0.0": index.Clean}},
		{"allow alone", []string{"allow 192.0.2.1/32 forever"}, 100,
			v4Answers{"192.0.2.1": index.Ask, "192.0.3.1": index.Clean}},
		{"shadow", []string{"shadow 192.0.2.0/25 forever"}, 100,
			v4Answers{"192.0.2.1": index.Ask, "192.0.2.128": index.Clean}},
		{"drop in a shadow", []string{"shadow 192.0.0.0/16 forever", "drop 192.0.2.1/32 forever"}, 100,
			v4Answers{"192.0.2.1": index.Drop, "192.0.2.2": index.Ask, "192.0.3.3": index.Ask}},
		{"shadow in a drop", []string{"drop 192.0.0.0/16 forever", "shadow 192.0.2.1/32 forever"}, 100,
			v4Answers{"192.0.2.1": index.Drop, "192.0.2.2": index.Drop}},
		{"256 hosts of a /24", hosts, 100,
			v4Answers{"192.0.2.0": index.Drop, "192.0.2.77": index.Drop, "192.0.2.255": index.Drop,
				"192.0.3.0": index.Clean}},
		{"every other host of a /24", alternate, 32000,
			v4Answers{
				"192.0.2.0": index.Ask, "192.0.2.1": index.Clean, "192.0.2.76": index.Drop,
				"192.0.2.254": index.Drop, "192.0.2.255": index.Clean,
			}},
		{"nested, every length", nested, 25600 + 256*30,
			v4Answers{
				"192.0.2.129": index.Drop, "192.0.2.130": index.Ask, "192.0.9.9": index.Ask,
				"192.9.9.9": index.Ask, "193.0.0.0": index.Clean,
			}},
		{"nested, all live", nested, 100,
			v4Answers{"192.0.2.129": index.Drop, "192.0.2.130": index.Drop, "192.0.9.9": index.Drop,
				"192.9.9.9": index.Drop}},
	}
}

func TestV4Answers(t *testing.T) {
	for _, test := range v4AwkwardShapes() {
		t.Run(test.name, func(t *testing.T) {
			book := policy.NewBook(v4Hits)
			early := buildV4(t, book)
			for _, s := range test.entries {
				e := v4Entry(t, s)
				book.Apply([]policy.Op{policy.PutOp(e)})
				if !early.Update(e.Prefix) {
					early = buildV4(t, book)
				}
			}
			for _, x := range []*index.V4{buildV4(t, book), early} {
				for a, want := range test.want {
					if got := x.Lookup(netip.MustParseAddr(a), test.now); got != want {
						t.Errorf("%s at %d: %d, want %d", a, test.now, got, want)
					}
				}
			}
		})
	}
}

// v4World makes random books of nested prefixes close to each other.
type v4World struct {
	*rand.Rand
	book    *policy.Book
	entries map[policy.Key]policy.Entry
	keys    []policy.Key
	now     policy.Tick
	rare    int  // one in this many entries is an allow or a shadow
	wide    int  // one in this many prefixes has any length, others 26 or more
	coarse  bool // deadlines are far from now
	apply   func(policy.Op)
}

func newV4World(r *rand.Rand, rare int) *v4World {
	w := &v4World{
		Rand: r, book: policy.NewBook(v4Hits), entries: map[policy.Key]policy.Entry{},
		now: 50_000, rare: rare, wide: 2,
	}
	w.apply = func(op policy.Op) { w.book.Apply([]policy.Op{op}) }
	return w
}

// addr is in one of a few /24s of one of a few /16s, or anywhere.
func (w *v4World) addr() netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], w.Uint32())
	if w.IntN(20) > 0 {
		b[0], b[1], b[2] = 10, byte(w.IntN(3)), byte(w.IntN(4))
	}
	return netip.AddrFrom4(b)
}

func (w *v4World) prefix() netip.Prefix {
	bits := 26 + w.IntN(7)
	if w.IntN(w.wide) == 0 {
		bits = 8 + w.IntN(25)
	}
	p, _ := w.addr().Prefix(bits)
	return p
}

func (w *v4World) deadline() policy.Deadline {
	if w.IntN(2) == 0 {
		return policy.Forever
	}
	if w.coarse {
		return v4DeadlineAt(policy.Tick(w.IntN(2))*(w.now+100_000) + 1)
	}
	return v4DeadlineAt(w.now - 1600 + policy.Tick(w.IntN(16_000)))
}

// step changes one entry and returns its prefix.
func (w *v4World) step(grow bool) netip.Prefix {
	if len(w.keys) > 0 && (!grow || w.IntN(3) == 0) {
		i := w.IntN(len(w.keys))
		k := w.keys[i]
		w.keys[i] = w.keys[len(w.keys)-1]
		w.keys = w.keys[:len(w.keys)-1]
		delete(w.entries, k)
		w.apply(policy.RemoveOp(k))
		return k.Prefix
	}
	e := v4Drop(w.prefix())
	e.Deadline = w.deadline()
	if w.IntN(w.rare) == 0 {
		e.Action = policy.Shadow
	} else if w.IntN(w.rare) == 0 {
		e.Kind, e.Action = policy.Allow, policy.NoAction
	}
	if _, ok := w.entries[e.Key()]; !ok {
		w.keys = append(w.keys, e.Key())
	}
	w.entries[e.Key()] = e
	w.apply(policy.PutOp(e))
	return e.Prefix
}

func (w *v4World) all() []policy.Entry {
	return slices.Collect(maps.Values(w.entries))
}

// check compares the answers for a few sources in p and elsewhere with the model. It returns
// for how many the tries were asked without need.
func (w *v4World) check(t *testing.T, x *index.V4, p netip.Prefix) (asked, checked int) {
	t.Helper()
	all := w.all()
	for range 24 {
		a := w.addr()
		if w.IntN(2) == 0 {
			a = w.in(p)
		}
		now := w.now - 3200 + policy.Tick(w.IntN(19_200))
		outcome := policy.Decide(all, a, policy.Deadline(now)<<policy.TickShift)
		got := x.Lookup(a, now)
		switch {
		case got == index.Clean && outcome != policy.NotListed, got == index.Drop && outcome != policy.Blocked:
			t.Fatalf("%s at %d: answer %d, but it is %s", a, now, got, outcome)
		case outcome == policy.NotListed || outcome == policy.Blocked:
			checked++
			if got == index.Ask {
				asked++
			}
		}
	}
	return asked, checked
}

// in returns an address of p, often the first or last.
func (w *v4World) in(p netip.Prefix) netip.Addr {
	b := p.Addr().As4()
	host := w.Uint32()
	if w.IntN(4) == 0 {
		host = uint32(int32(host) >> 31)
	}
	binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])|uint32(uint64(host)&(1<<(32-p.Bits())-1)))
	return netip.AddrFrom4(b)
}

// TestV4AgreesWithModel changes random books. It compares an index that is updated, and a new
// one, with policy.Decide.
func TestV4AgreesWithModel(t *testing.T) {
	r := v4Rand(t)
	for _, test := range []struct {
		name string
		rare int
		most float64 // share of answers that may be Ask without need
	}{{"mostly drops", 1000, 0.2}, {"everything", 8, 0.9}} {
		t.Run(test.name, func(t *testing.T) {
			var asked, checked, generations int
			for range 40 {
				w := newV4World(r, test.rare)
				w.wide += w.IntN(2) * 50
				x := buildV4(t, w.book)
				size := 5 + w.IntN(300)
				for i := range 300 {
					p := w.step(len(w.keys) < size && i < 250)
					if !x.Update(p) {
						generations++
						x = buildV4(t, w.book)
					}
					a, c := w.check(t, x, p)
					asked, checked = asked+a, checked+c
				}
				w.check(t, buildV4(t, w.book), w.prefix())
				for len(w.keys) > 0 {
					if p := w.step(false); !x.Update(p) {
						x = buildV4(t, w.book)
					}
				}
				for range 100 {
					if a := w.addr(); x.Lookup(a, w.now) != index.Clean {
						t.Fatalf("%s is listed in an index of an empty book", a)
					}
				}
			}
			t.Logf("%d of %d answers Ask without need; %d new generations", asked, checked, generations)
			if float64(asked) > test.most*float64(checked) {
				t.Errorf("%d of %d answers were Ask without need", asked, checked)
			}
		})
	}
}

func TestBuildV4WithoutMemory(t *testing.T) {
	full := errors.New("full")
	for _, alloc := range []index.Alloc{
		func(uint32) ([]uint64, error) { return nil, full },
		func(lines uint32) ([]uint64, error) { return make([]uint64, 8*lines-1), nil },
	} {
		if x, err := index.BuildV4(policy.NewBook(v4Hits), alloc); err == nil {
			t.Errorf("an index without memory: %v", x)
		}
	}
	alloc := func(uint32) ([]uint64, error) { return nil, full }
	if _, err := index.BuildV4(policy.NewBook(v4Hits), alloc); !errors.Is(err, full) {
		t.Errorf("error %v, want %v", err, full)
	}
}

// TestV4UpdateWithoutRoom updates a generation until it is full, and further. Sources outside
// the updates keep their answers.
func TestV4UpdateWithoutRoom(t *testing.T) {
	book := policy.NewBook(v4Hits)
	stays := netip.MustParsePrefix("10.0.255.1/32")
	book.Apply([]policy.Op{policy.PutOp(v4Drop(stays))})
	x := buildV4(t, book)
	_, capacity := x.Lines()
	full := false
	for i := 0; !full && i < 1<<16; i++ {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 1}), 32)
		book.Apply([]policy.Op{policy.PutOp(v4Drop(p))})
		full = !x.Update(p)
		if used, _ := x.Lines(); used > capacity {
			t.Fatalf("%d of %d lines used", used, capacity)
		}
		if got := x.Lookup(stays.Addr(), 1); got != index.Drop {
			t.Fatalf("after %s: %s is answered %d", p, stays, got)
		}
		if !full && x.Lookup(p.Addr(), 1) != index.Drop {
			t.Fatalf("%s: answered %d after a successful update", p, x.Lookup(p.Addr(), 1))
		}
	}
	if !full {
		t.Error("there was always room")
	}
}
