package policy_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/paraxial/paraxial/policy"
)

func limit(prefix, rate, origin string, deadline policy.Deadline) policy.Entry {
	r, err := policy.ParseRate(rate)
	if err != nil {
		panic(err)
	}
	e := block(prefix, deadline)
	e.Action, e.Rate, e.Origin = policy.Limit, r, origin
	return e
}

// newKernelWith returns a book and a kernel with entries in it.
func newKernelWith(t *testing.T, entries ...policy.Entry) (*policy.Book, kernel) {
	t.Helper()
	b, k := policy.NewBook(5000), newKernel()
	for _, e := range entries {
		k.apply(t, apply(b, policy.PutOp(e)))
	}
	return b, k
}

// limit returns the limit that a packet counts against, as bpf/limit.h chooses it.
func (k kernel) limit(src netip.Addr, now policy.Deadline) policy.LimitRecord {
	v, _ := k.longest(policy.Block, src)
	for _, step := range k.limits[v.LimitID].Steps {
		if policy.TickAt(now) < step.Until {
			return k.limits[step.Bucket]
		}
	}
	return policy.LimitRecord{}
}

// limitsOf returns the limits that may decide about src, each as its rate and the
// second at which it ends.
func (k kernel) limitsOf(src string) (steps []string) {
	v, _ := k.longest(policy.Block, netip.MustParseAddr(src))
	for _, s := range k.limits[v.LimitID].Steps {
		if s != (policy.LimitStep{}) {
			until := "forever"
			if s.Until != policy.TickForever {
				until = fmt.Sprint(uint64(s.Until) << policy.TickShift / uint64(second))
			}
			steps = append(steps, k.limits[s.Bucket].Rate.String()+" "+until)
		}
	}
	return steps
}

// Of the limits that cover a source, the strictest live one decides. So a limit has
// no step if a stricter one lives at least as long.
func TestLimitSteps(t *testing.T) {
	for _, tc := range []struct {
		name    string
		entries []policy.Entry
		want    []string
	}{
		{"one", []policy.Entry{limit("10.0.0.1/32", "5/s", "cli", policy.Forever)}, []string{"5/s forever"}},
		{"a wide one", []policy.Entry{limit("10.0.0.0/8", "5/s", "cli", 9*second)}, []string{"5/s 9"}},
		{"the wide one is stricter and stays longer", []policy.Entry{
			limit("10.0.0.0/8", "5/s", "cli", policy.Forever), limit("10.0.0.1/32", "6/s", "cli", 9*second),
		}, []string{"5/s forever"}},
		{"the wide one is stricter and ends sooner", []policy.Entry{
			limit("10.0.0.0/8", "5/s", "cli", 9*second), limit("10.0.0.1/32", "6/s", "cli", policy.Forever),
		}, []string{"5/s 9", "6/s forever"}},
		{"the narrow one is stricter", []policy.Entry{
			limit("10.0.0.0/8", "6/s", "cli", policy.Forever), limit("10.0.0.1/32", "5/s", "cli", 9*second),
		}, []string{"5/s 9", "6/s forever"}},
		{"two origins", []policy.Entry{
			limit("10.0.0.1/32", "6/s", "cli", policy.Forever), limit("10.0.0.1/32", "5/s", "feed:a", 9*second),
		}, []string{"5/s 9", "6/s forever"}},
		{"the same rate: the longer", []policy.Entry{
			limit("10.0.0.0/8", "5/s", "cli", 9*second), limit("10.0.0.1/32", "5/s", "feed:a", 8*second),
		}, []string{"5/s 9"}},
		{"packets and bytes", []policy.Entry{
			limit("10.0.0.0/8", "8Mbit/s", "cli", 9*second), limit("10.0.0.0/16", "999/s", "cli", 8*second),
			limit("10.0.0.0/24", "1001/s", "cli", 10*second),
		}, []string{"999/s 8", "8Mbit/s 9", "1001/s 10"}},
		{"beside other actions", []policy.Entry{
			block("10.0.0.1/32", policy.Forever), limit("10.0.0.1/32", "5/s", "feed:a", 9*second),
		}, []string{"5/s 9"}},
		{"five: the longest lived stays", []policy.Entry{
			limit("10.0.0.0/8", "1/s", "a", 1*second), limit("10.0.0.0/8", "2/s", "b", 2*second),
			limit("10.0.0.0/8", "3/s", "c", 3*second), limit("10.0.0.0/8", "4/s", "d", 4*second),
			limit("10.0.0.0/8", "5/s", "e", 5*second),
		}, []string{"1/s 1", "2/s 2", "3/s 3", "5/s 5"}},
	} {
		b, k := newKernelWith(t, tc.entries...)
		if diff := cmp.Diff(tc.want, k.limitsOf("10.0.0.1")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.name, diff)
		}
		checkCompiled(t, b, k)
		var longest policy.Tick
		for _, e := range tc.entries {
			if e.Action == policy.Limit {
				longest = max(longest, e.Deadline.Tick())
			}
		}
		if v, _ := k.longest(policy.Block, netip.MustParseAddr("10.0.0.1")); v.Limit != longest {
			t.Errorf("%s: the kernel asks for limits until tick %d, want %d", tc.name, v.Limit, longest)
		}
	}
}

// An entry keeps its bucket when other entries change. An entry with another rate
// gets a new bucket.
func TestBucketsStay(t *testing.T) {
	one := limit("10.0.0.1/32", "5/s", "cli", policy.Forever)
	longer := one
	longer.Reason = "because"
	faster := limit("10.0.0.1/32", "6/s", "cli", policy.Forever)
	dropped := block("10.0.0.1/32", policy.Forever)
	for _, tc := range []struct {
		name string
		ops  [][]policy.Op // a change each
		stay bool
	}{
		{"put again", [][]policy.Op{{policy.PutOp(longer)}}, true},
		{"a limit that covers it", [][]policy.Op{{policy.PutOp(limit("10.0.0.0/8", "1/s", "cli", 9*second))}}, true},
		{"another origin", [][]policy.Op{{policy.PutOp(limit("10.0.0.1/32", "1/s", "feed:a", 9*second))}}, true},
		{"a drop that covers it", [][]policy.Op{{policy.PutOp(block("10.0.0.0/8", policy.Forever))}}, true},
		{"another rate", [][]policy.Op{{policy.PutOp(faster)}}, false},
		{"removed and put in one change", [][]policy.Op{{policy.RemoveOp(one.Key()), policy.PutOp(one)}}, true},
		{"removed, then put", [][]policy.Op{{policy.RemoveOp(one.Key())}, {policy.PutOp(one)}}, false},
		{"replaced by a drop, then put", [][]policy.Op{{policy.PutOp(dropped)}, {policy.PutOp(one)}}, false},
	} {
		b, k := newKernelWith(t, one)
		id := func() uint32 {
			for id, l := range k.limits {
				if l.Rate.PerSecond >= 5 {
					return id
				}
			}
			return 0
		}
		was := id()
		var freed []uint32
		for _, ops := range tc.ops {
			delta := apply(b, ops...)
			k.apply(t, delta)
			freed = append(freed, delta.FreeLimits...)
		}
		checkCompiled(t, b, k)
		if now := id(); (now == was) != tc.stay {
			t.Errorf("%s: bucket %d, was %d; want the same: %t", tc.name, now, was, tc.stay)
		}
		if slices.Contains(freed, was) == tc.stay {
			t.Errorf("%s: freed %v", tc.name, freed)
		}
	}
}

// After a crash in the middle of a change the kernel may hold two buckets for one
// entry. The entry must keep the bucket that was in use.
func TestEmptierBucketGoesOn(t *testing.T) {
	_, k := newKernelWith(t, limit("10.0.0.1/32", "5/s", "cli", policy.Forever))
	owner := k.limits[1].Owner
	for _, order := range [][]policy.HeldLimit{
		{{ID: 3, Owner: owner, FullAt: 9}, {ID: 4, Owner: owner, FullAt: 8}, {ID: 5, Owner: 77}},
		{{ID: 5, Owner: 77}, {ID: 4, Owner: owner, FullAt: 8}, {ID: 3, Owner: owner, FullAt: 9}},
	} {
		b := policy.NewBook(100)
		b.Load(limit("10.0.0.1/32", "5/s", "cli", policy.Forever))
		delta := b.Adopt(func(func(policy.Node) bool) {}, slices.Values(order))
		if len(delta.Limits) != 1 || delta.Limits[0].ID != 3 || delta.Limits[0].Fresh {
			t.Errorf("%+v: limits %+v, want 3, not fresh", order, delta.Limits)
		}
		slices.Sort(delta.FreeLimits)
		if diff := cmp.Diff([]uint32{4, 5}, delta.FreeLimits); diff != "" {
			t.Errorf("freed (-want +got):\n%s", diff)
		}
	}
}

// The drop counter in the kernel's node of a limit may belong to a shadow entry that
// covers it. The limit must not adopt that counter, even if its bucket is lost.
func TestCounterStaysWithShadow(t *testing.T) {
	shadow := block("10.0.0.0/24", policy.Forever)
	shadow.Action = policy.Shadow
	inside := limit("10.0.0.1/32", "5/s", "cli", policy.Forever)
	was, k := newKernelWith(t, shadow, inside)
	b := policy.NewBook(100)
	b.Load(shadow)
	b.Load(inside)
	b.Adopt(func(yield func(policy.Node) bool) {
		for _, p := range []netip.Prefix{inside.Prefix, shadow.Prefix} {
			if !yield(policy.Node{Kind: policy.Block, Prefix: p, Verdict: k.nodes[kernelKey{policy.Block, p}]}) {
				return
			}
		}
	}, func(func(policy.HeldLimit) bool) {})
	if got, want := b.HitID(shadow.Prefix), was.HitID(shadow.Prefix); got != want {
		t.Errorf("the shadow has counter %d after the start, want %d as before", got, want)
	}
}

// Freed limits are reused, so that the kernel's memory for limits depends on their
// number and not on the number of changes.
func TestLimitsAreUsedAgain(t *testing.T) {
	b := policy.NewBook(1 << 20)
	var highest uint32
	for i := range 20_000 {
		e := limit(fmt.Sprintf("10.0.%d.%d/32", i/256%256, i%256), "5/s", "cli", policy.Forever)
		for _, l := range apply(b, policy.PutOp(e)).Limits {
			highest = max(highest, l.ID)
		}
		apply(b, policy.RemoveOp(e.Key()))
	}
	if highest > 2000 {
		t.Errorf("number %d was used although there was only one limit at a time", highest)
	}
}

func TestLimitsRunOut(t *testing.T) {
	b := policy.NewBook(3) // limits 1 and 2
	room := policy.Room{Nodes: 10, Limits: 2, Units: 10, Share: 10}
	for i := range 3 {
		before := b.Usage("")
		apply(b, policy.PutOp(limit("10.0.0.1/32", "5/s", fmt.Sprint("o", i), policy.Forever)))
		if err := room.Check(policy.Operator, before, b.Usage("")); (err != nil) != (i == 2) {
			t.Errorf("limit %d of 2: %v", i+1, err)
		}
	}
}

// Different entries have different owners. An owner must be the same in every run,
// since it is stored in pinned maps.
func TestLimitOwners(t *testing.T) {
	pending := limit("10.0.0.0/8", "5/s", "cli", 9*second)
	pending.Pending = &policy.Pending{ID: "p", Deadline: policy.Forever}
	_, k := newKernelWith(t,
		limit("10.0.0.0/8", "5/s", "cli", policy.Forever), limit("10.0.0.0/8", "5/s", "a", policy.Forever),
		limit("10.0.0.0/9", "5/s", "cli", policy.Forever), limit("::/8", "5/s", "cli", policy.Forever),
		limit("0.0.0.0/8", "5/s", "cli", policy.Forever), limit("0.0.0.0/9", "40bit/s", "cli", policy.Forever),
		pending)
	owners := map[uint64]bool{}
	for _, l := range k.limits {
		owners[l.Owner] = true
	}
	if len(owners) != 7 || owners[0] {
		t.Errorf("owners %v, want seven", owners)
	}
	_, k = newKernelWith(t, limit("10.0.0.0/8", "5/s", "cli", policy.Forever))
	if got := k.limits[1].Owner; got != 17479959470243301875 {
		t.Errorf("the owner is now %d: all buckets would start over at an upgrade", got)
	}
}
