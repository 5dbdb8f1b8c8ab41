package policy_test

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/paraxial/paraxial/policy"
)

// world makes random books in a small part of the address space, so that prefixes
// nest and collide.
type world struct{ *rand.Rand }

func newWorld(t *testing.T) world {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return world{rand.New(rand.NewPCG(seed, 0))}
}

func (w world) addr() netip.Addr {
	if w.IntN(2) == 0 {
		return netip.AddrFrom4([4]byte{10, byte(w.IntN(2)), 0, byte(w.IntN(8))})
	}
	a := [16]byte{0x20, 0x01, 0x0d, 0xb8}
	a[7], a[15] = byte(w.IntN(2)), byte(w.IntN(8))
	return netip.AddrFrom16(a)
}

func (w world) prefix() netip.Prefix {
	a := w.addr()
	bits := a.BitLen() - w.IntN(6)
	if w.IntN(3) == 0 {
		bits = 8 + w.IntN(a.BitLen()-8)
	}
	p, err := a.Prefix(bits)
	if err != nil {
		panic(err)
	}
	return p
}

func (w world) entry() policy.Entry {
	e := policy.Entry{
		Prefix:   w.prefix(),
		Kind:     policy.Block,
		Action:   policy.Drop,
		Origin:   []string{"cli", "feed:a", "detector:b"}[w.IntN(3)],
		Reason:   []string{"", "why"}[w.IntN(2)],
		Created:  time.Unix(1e9, 0).UTC(),
		Deadline: policy.Forever,
	}
	switch w.IntN(5) {
	case 0:
		e.Kind, e.Action = policy.Allow, policy.NoAction
	case 1:
		e.Action = policy.Shadow
	case 2, 3:
		// There are as many rates as a limit record has steps.
		e.Action, e.Rate = policy.Limit, []policy.Rate{
			{PerSecond: 1, Unit: policy.Packets},
			{PerSecond: 1001, Unit: policy.Bytes},
			{PerSecond: 100, Unit: policy.Packets},
			{PerSecond: 1e9, Unit: policy.Bytes},
		}[w.IntN(policy.MaxLimitSteps)]
	}
	e.Replies = e.Kind == policy.Block && w.IntN(2) == 0
	if w.IntN(3) > 0 {
		e.Deadline = policy.Deadline(w.IntN(100)) * second
	}
	if w.IntN(8) == 0 {
		e.Deadline = policy.Deadline(w.IntN(100)) * second
		e.Pending = &policy.Pending{ID: []string{"p", "q"}[w.IntN(2)], Deadline: policy.Forever}
	}
	if w.IntN(4) == 0 {
		e.Evidence = &policy.Evidence{Detector: "b", Count: w.Uint64()}
	}
	return e
}

func everything(b *policy.Book) []policy.Entry {
	return slices.Concat(slices.Collect(b.Entries(policy.Block)), slices.Collect(b.Entries(policy.Allow)))
}

func (w world) ops(b *policy.Book, n int) []policy.Op {
	var ops []policy.Op
	present := everything(b)
	for range n {
		switch {
		case len(present) > 0 && w.IntN(3) == 0:
			ops = append(ops, policy.RemoveOp(present[w.IntN(len(present))].Key()))
		case w.IntN(20) == 0:
			ops = append(ops, policy.RemoveOp(w.entry().Key()))
		default:
			ops = append(ops, policy.PutOp(w.entry()))
		}
	}
	return ops
}
