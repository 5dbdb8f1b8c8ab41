package policy_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/paraxial/paraxial/policy"
)

func TestRenew(t *testing.T) {
	const hour, ever = policy.Deadline(time.Hour), policy.Forever
	block := func(a policy.Action, until policy.Deadline) policy.Entry {
		e := policy.Entry{Kind: policy.Block, Action: a, Deadline: until}
		if a == policy.Limit {
			e.Rate = policy.Rate{PerSecond: 100, Unit: policy.Packets}
		}
		return e
	}
	fast := block(policy.Limit, ever)
	fast.Rate.PerSecond = 1000
	allow := func(until policy.Deadline) policy.Entry { return policy.Entry{Kind: policy.Allow, Deadline: until} }
	for _, tt := range []struct {
		name       string
		old, fresh policy.Entry
		kept       bool
	}{
		{"shorter", block(policy.Drop, ever), block(policy.Drop, hour), true},
		{"longer", block(policy.Drop, hour), block(policy.Drop, ever), false},
		{"equal", block(policy.Drop, hour), block(policy.Drop, hour), false},
		{"shadow for drop", block(policy.Drop, ever), block(policy.Shadow, ever), true},
		{"limit for drop", block(policy.Drop, ever), block(policy.Limit, ever), true},
		{"longer, but weaker", block(policy.Drop, hour), block(policy.Limit, ever), true},
		{"stronger, but shorter", block(policy.Shadow, ever), block(policy.Drop, hour), false},
		{"shadow for limit", block(policy.Limit, ever), block(policy.Shadow, ever), true},
		{"limit for shadow", block(policy.Shadow, ever), block(policy.Limit, ever), false},
		{"higher rate", block(policy.Limit, ever), fast, true},
		{"lower rate", fast, block(policy.Limit, ever), false},
		{"shorter allow", allow(ever), allow(hour), true},
		{"longer allow", allow(hour), allow(ever), false},
	} {
		tt.old.Created, tt.fresh.Created = time.Unix(1, 0), time.Unix(2, 0)
		tt.old.Reason, tt.fresh.Reason = "old", "fresh"
		tt.fresh.Forced = true
		held, kept := policy.Renew(tt.old, tt.fresh)
		if kept != tt.kept || kept != (held.Reason == "old") || !held.Forced || !held.Created.Equal(tt.old.Created) {
			t.Errorf("%s: kept %t, %+v", tt.name, kept, held)
		}
	}
}

// The drops of a prefix are counted for its strongest and oldest entry. Another counter
// begins at 0 when another origin takes over, and only then.
func TestCounterFollowsOwner(t *testing.T) {
	b, p := policy.NewBook(1000), netip.MustParsePrefix("192.0.2.1/32")
	entry := func(origin string, a policy.Action, second int64) policy.Entry {
		return policy.Entry{Prefix: p, Kind: policy.Block, Action: a, Origin: origin,
			Created: time.Unix(second, 0), Deadline: policy.Forever}
	}
	put := func(e policy.Entry) policy.Op { return policy.PutOp(e) }
	remove := func(origin string) policy.Op {
		return policy.RemoveOp(policy.Key{Kind: policy.Block, Prefix: p, Origin: origin})
	}
	pending := entry("b", policy.Drop, 1)
	pending.Pending = &policy.Pending{ID: "k7"}
	last := uint32(0)
	for _, tt := range []struct {
		name  string
		ops   []policy.Op
		owner string
		fresh bool
	}{
		{"first", []policy.Op{put(entry("b", policy.Drop, 1))}, "b", true},
		{"changed", []policy.Op{put(entry("b", policy.Drop, 2))}, "b", false},
		{"later one", []policy.Op{put(entry("a", policy.Drop, 2))}, "b", false},
		{"owner removed", []policy.Op{remove("b")}, "a", true},
		{"weaker and older", []policy.Op{put(entry("c", policy.Shadow, 0))}, "a", false},
		{"removed and put", []policy.Op{remove("a"), put(entry("a", policy.Drop, 2))}, "a", false},
		{"weaker now", []policy.Op{put(entry("a", policy.Shadow, 2))}, "c", true},
		{"all removed", []policy.Op{remove("a"), remove("c"), put(entry("d", policy.Drop, 9))}, "d", true},
		{"not confirmed", []policy.Op{put(pending)}, "b", true},
		{"confirmed", []policy.Op{policy.RemoveOp(pending.Key()), put(entry("b", policy.Drop, 1))}, "b", false},
	} {
		delta, _ := b.Apply(tt.ops)
		key := policy.Key{Kind: policy.Block, Prefix: p, Origin: tt.owner}
		if tt.name == "not confirmed" {
			key.Pending = "k7"
		}
		id, countedFor := b.Counter(key)
		if countedFor != "" || id == 0 {
			t.Errorf("%s: the drops are counted for %q, want %q", tt.name, countedFor, tt.owner)
		}
		if fresh := id != last; fresh != tt.fresh {
			t.Errorf("%s: counter %d after %d, want a new one: %t", tt.name, id, last, tt.fresh)
		}
		if node, _ := b.Node(policy.Block, p); node.Verdict.HitID != id {
			t.Errorf("%s: the node counts under %d, want %d", tt.name, node.Verdict.HitID, id)
		}
		if tt.fresh && len(delta.FreshHits) == 0 {
			t.Errorf("%s: the new counter is not cleared", tt.name)
		}
		last = id
	}
	if _, countedFor := b.Counter(policy.Key{Kind: policy.Block, Prefix: p, Origin: "d"}); countedFor != "b" {
		t.Errorf("the drops of d are counted for %q, want b", countedFor)
	}
}

// Two changes that share a compilation do not share a counter.
func TestCounterOfGroup(t *testing.T) {
	b, p := policy.NewBook(1000), netip.MustParsePrefix("192.0.2.1/32")
	e := policy.Entry{Prefix: p, Kind: policy.Block, Action: policy.Drop, Origin: "a", Deadline: policy.Forever}
	b.Apply([]policy.Op{policy.PutOp(e)})
	before := b.HitID(p)
	c := b.Begin()
	c.Apply([]policy.Op{policy.RemoveOp(e.Key())})
	c.Apply([]policy.Op{policy.PutOp(e)})
	delta := c.Compile()
	if id := b.HitID(p); id == before || len(delta.FreshHits) != 1 || len(delta.Put) != 1 {
		t.Errorf("counter %d after %d, delta %+v", id, before, delta)
	}
}
