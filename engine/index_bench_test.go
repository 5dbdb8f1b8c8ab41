package engine

import (
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/paraxial/paraxial/index"
	"github.com/paraxial/paraxial/policy"
)

// fakeMemory is memory of Go. It records whether it was closed.
type fakeMemory struct {
	slots  *fakeSlots
	words  []uint64
	closed bool
	g      *index.V4 // the index built in it
}

func (m *fakeMemory) Words() []uint64 { return m.words }

func (m *fakeMemory) Close() error {
	m.slots.mu.Lock()
	defer m.slots.mu.Unlock()
	if m.closed || m.slots.current == m {
		return errors.New("closed twice, or in force")
	}
	m.closed = true
	m.slots.open--
	return nil
}

// fakeSlots holds the IPv4 generation that is in force.
type fakeSlots struct {
	mu      sync.Mutex
	current *fakeMemory
	made    map[*uint64]*fakeMemory
	open    int
	swaps   int
	clears  int
	fail    error
	swap1   func(put func()) // how a swap behaves; put carries it out
}

func (s *fakeSlots) Allocate(_ policy.Family, lines uint32) (Memory, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := &fakeMemory{slots: s, words: make([]uint64, lines*8)}
	s.made[&m.words[0]] = m
	s.open++
	return m, nil
}

func (s *fakeSlots) Publish(_ policy.Family, m Memory) (before Memory, err error) {
	s.swap1(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if err = s.fail; err != nil {
			return
		}
		if s.current != nil {
			before = s.current
		}
		s.current = m.(*fakeMemory)
		s.swaps++
	})
	return before, err
}

func (s *fakeSlots) Unpublish(policy.Family) error {
	s.mu.Lock()
	m := s.current
	s.current = nil
	s.clears++
	s.mu.Unlock()
	return closeMemory(asMemory(m))
}

func (s *fakeSlots) setFail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = err
}

func asMemory(m *fakeMemory) Memory {
	if m == nil {
		return nil
	}
	return m
}

// ask returns the answer that the packet program would get.
func (s *fakeSlots) ask(a netip.Addr) index.Answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil {
		return index.Ask
	}
	return s.current.g.Lookup(a, 1)
}

// indexBench is an IPv4 index over a book.
type indexBench struct {
	*testing.T
	*indexes
	slots  *fakeSlots
	book   *policy.Book
	lock   sync.Mutex
	builds func() error // called before each build
}

func newIndexBench(t *testing.T) *indexBench {
	b := &indexBench{T: t, book: policy.NewBook(1 << 20), builds: func() error { return nil }}
	b.slots = &fakeSlots{made: map[*uint64]*fakeMemory{}, swap1: func(put func()) { put() }}
	b.indexes = newIndexes(slog.New(slog.DiscardHandler), b.slots, &b.lock)
	b.v4.build = func(book index.Book, alloc index.Alloc) (generation, error) {
		if err := b.builds(); err != nil {
			return nil, err
		}
		var words []uint64
		g, err := index.BuildV4(book, func(lines uint32) (w []uint64, err error) {
			words, err = alloc(lines)
			return words, err
		})
		b.slots.mu.Lock()
		defer b.slots.mu.Unlock()
		b.slots.made[&words[0]].g = g
		return g, err
	}
	b.rebuild(b.book, &b.v4)
	t.Cleanup(func() {
		b.close()
		open := 0
		if b.slots.current != nil {
			open = 1
		}
		if b.slots.open != open {
			t.Errorf("%d generations still have memory, want %d", b.slots.open, open)
		}
	})
	return b
}

// apply makes a change as the engine does, and checks what is in force.
func (b *indexBench) apply(ops ...policy.Op) {
	b.Helper()
	b.lock.Lock()
	defer b.lock.Unlock()
	delta, _ := b.book.Apply(ops)
	b.follow(b.book, delta.Put, delta.Delete)
	for _, op := range ops {
		p := op.Put.Prefix
		if !op.IsPut() {
			p = op.Remove.Prefix
		}
		b.check(p.Addr())
	}
}

// check fails if the answer of the index in force contradicts the book.
func (b *indexBench) check(a netip.Addr) {
	b.Helper()
	answer := b.slots.ask(a)
	p := netip.PrefixFrom(a, 32)
	var want []index.Answer
	switch {
	case len(slices.Collect(b.book.Covering(policy.Allow, p))) > 0:
		want = []index.Answer{index.Ask}
	case len(slices.Collect(b.book.Covering(policy.Block, p))) > 0:
		want = []index.Answer{index.Ask, index.Drop}
	default:
		want = []index.Answer{index.Ask, index.Clean}
	}
	if !slices.Contains(want, answer) {
		b.Fatalf("%s: the index says %d, want one of %v", a, answer, want)
	}
}

// settled waits until no build is running.
func (b *indexBench) settled() {
	for {
		b.lock.Lock()
		idle := b.v4.draft == nil
		b.lock.Unlock()
		if idle {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

func blockOf(p netip.Prefix) policy.Op {
	return policy.PutOp(policy.Entry{
		Prefix: p, Kind: policy.Block, Action: policy.Drop, Origin: "cli", Deadline: policy.Forever,
	})
}

// scattered returns addresses in n different /24s.
func scattered(n int) []policy.Op {
	var ops []policy.Op
	for i := range n {
		a := netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 1})
		ops = append(ops, blockOf(netip.PrefixFrom(a, 32)))
	}
	return ops
}
