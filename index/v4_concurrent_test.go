package index_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/paraxial/paraxial/policy"
)

// v4Cases is the number of look-ups of a test: PARAXIAL_CASES, or a small default.
func v4Cases(tb testing.TB, few int) int {
	s := os.Getenv("PARAXIAL_CASES")
	if s == "" {
		return few
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		tb.Fatalf("PARAXIAL_CASES: %v", err)
	}
	return n
}

// The /24s with permanent entries are the last of their /16, so that new /24s move their
// leaves. Together with changing hosts they have so many entries that their leaves have a
// line, a line or a page in turn, or a page.
const v4First = 253

var v4Shapes = [3]struct{ step, others int }{{128, 2}, {32, 1}, {4, 64}}

// v4Host is a host in one of these. Multiples of four can be listed permanently, multiples of
// four plus one are never listed, and others change.
func v4Host(r *rand.Rand, class int) netip.Addr {
	shape := r.IntN(len(v4Shapes))
	n := 64
	if class > 1 {
		n = v4Shapes[shape].others
	}
	return netip.AddrFrom4([4]byte{10, 0, byte(v4First + shape), byte(4*r.IntN(n) + class)})
}

func v4Drop(p netip.Prefix) policy.Entry {
	return policy.Entry{
		Prefix: p, Kind: policy.Block, Action: policy.Drop, Origin: policy.OriginCLI, Deadline: policy.Forever,
	}
}

// v4Listed returns the permanent entries.
func v4Listed() []policy.Op {
	var ops []policy.Op
	for i, shape := range v4Shapes {
		for lo := 0; lo < 256; lo += shape.step {
			host := netip.AddrFrom4([4]byte{10, 0, byte(v4First + i), byte(lo)})
			ops = append(ops, policy.PutOp(v4Drop(netip.PrefixFrom(host, 32))))
		}
	}
	return ops
}

// v4Churn makes changes that affect neither the permanent entries nor the hosts that are
// never listed.
type v4Churn struct {
	*rand.Rand
	put map[policy.Key]bool
}

// v4ChurnLimit is the maximum number of entries besides the permanent ones.
const v4ChurnLimit = 100

func (c *v4Churn) next() policy.Op {
	if len(c.put) == v4ChurnLimit {
		for k := range c.put {
			delete(c.put, k)
			return policy.RemoveOp(k)
		}
	}
	a := v4Host(c.Rand, 2+c.IntN(2))
	p := netip.PrefixFrom(a, 32)
	switch c.IntN(4) {
	case 0:
		p, _ = a.Prefix(31)
	case 1: // another /24 of the same /16, or another /16
		a := netip.AddrFrom4([4]byte{10, byte(c.IntN(2)), byte(c.IntN(v4First)), byte(c.Uint32())})
		p = netip.PrefixFrom(a, 32-c.IntN(9)).Masked()
	}
	e := v4Drop(p)
	if c.put[e.Key()] {
		delete(c.put, e.Key())
		return policy.RemoveOp(e.Key())
	}
	c.put[e.Key()] = true
	if c.IntN(3) == 0 {
		e.Deadline = policy.Deadline(1+c.IntN(1<<20)) << policy.TickShift
	}
	return policy.PutOp(e)
}

// TestV4Concurrent runs the program on one CPU while entries change. Its sources are either
// always listed or never.
func TestV4Concurrent(t *testing.T) {
	k := loadV4(t, v4Object())
	book := policy.NewBook(v4Hits)
	k.apply(book, v4Listed()...)
	x := k.generation(book)
	churn := v4Churn{v4Rand(t), map[policy.Key]bool{}}
	cases := v4Cases(t, 3_000_000)
	seed := churn.Uint64()
	done := make(chan error, 1)
	go func() { done <- k.flood(rand.New(rand.NewPCG(seed, 1)), cases) }()
	updates, generations := 0, 0
	for ; ; updates++ {
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
			t.Logf("%d packets, %d updates, %d new generations", cases, updates, generations)
			return
		default:
		}
		op := churn.next()
		p := op.Put.Prefix
		if !op.IsPut() {
			p = op.Remove.Prefix
		}
		k.apply(book, op)
		if !x.Update(p) {
			x = k.generation(book)
			generations++
		}
	}
}

// flood sends packets from listed and unlisted sources in turn: many from one source, and then
// one from each of many. It returns an error if one gets the wrong verdict.
func (k *v4Kernel) flood(r *rand.Rand, packets int) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	// The kernel needs tens of milliseconds to start and end a repeated run.
	const repeat, single = 100_000, 2_000
	listed := v4Listed()
	source := func(outcome policy.Outcome) netip.Addr {
		if outcome == policy.Blocked {
			// Half of them are in the two /24s with few entries.
			return listed[r.IntN([]int{10, len(listed)}[r.IntN(2)])].Put.Prefix.Addr()
		}
		return v4Host(r, 1)
	}
	for ; packets > 0; packets -= repeat + single {
		outcome := []policy.Outcome{policy.NotListed, policy.Blocked}[r.IntN(2)]
		if err := k.send(source(outcome), outcome, repeat); err != nil {
			return err
		}
		for i := range single {
			outcome := []policy.Outcome{policy.NotListed, policy.Blocked}[i%2]
			if err := k.send(source(outcome), outcome, 1); err != nil {
				return err
			}
		}
	}
	return nil
}

// send sends packets from a and returns an error unless all have the outcome. A run that a
// signal interrupts is repeated, so that there may be more packets.
func (k *v4Kernel) send(a netip.Addr, want policy.Outcome, packets uint32) error {
	before := k.counted()
	options := ebpf.RunOptions{Data: v4Packet(a), Repeat: packets}
	if _, err := k.collection.Programs["paraxial"].Run(&options); err != nil {
		return err
	}
	for reason, after := range k.counted() {
		n := after - before[reason]
		if policy.Outcome(reason) == want && n < uint64(packets) || policy.Outcome(reason) != want && n != 0 {
			return fmt.Errorf("%s: %d of %d packets were counted as %s, want all as %s",
				a, n, packets, policy.Outcome(reason), want)
		}
	}
	return nil
}
