package policy_test

import (
	"net/netip"
	"testing"

	"github.com/paraxial/paraxial/policy"
)

// kernel is the simplest form of the tries and limits, to which deltas are applied.
type kernel struct {
	nodes  map[kernelKey]policy.Verdict
	limits map[uint32]policy.LimitRecord
}

func newKernel() kernel {
	return kernel{make(map[kernelKey]policy.Verdict), make(map[uint32]policy.LimitRecord)}
}

type kernelKey struct {
	kind   policy.Kind
	prefix netip.Prefix
}

func (k kernel) apply(t *testing.T, d policy.Delta) {
	t.Helper()
	for _, l := range d.Limits {
		old, ok := k.limits[l.ID]
		if l.Fresh == ok && old.Owner == l.Owner {
			t.Errorf("limit %d: fresh is %t, but in the kernel is %t", l.ID, l.Fresh, ok)
		}
		if l.Fresh = false; old == l {
			t.Errorf("delta writes limit %d, which the kernel already has", l.ID)
		}
		k.limits[l.ID] = l
	}
	for _, n := range d.Put {
		key := kernelKey{n.Kind, n.Prefix}
		if old, ok := k.nodes[key]; ok && old == n.Verdict {
			t.Errorf("delta puts %s %s, which the kernel already has", n.Kind, n.Prefix)
		}
		k.nodes[key] = n.Verdict
	}
	for _, n := range d.Delete {
		key := kernelKey{n.Kind, n.Prefix}
		if _, ok := k.nodes[key]; !ok {
			t.Errorf("delta deletes %s %s, which is not in the kernel", n.Kind, n.Prefix)
		}
		delete(k.nodes, key)
	}
	for _, id := range d.FreeLimits {
		if _, ok := k.limits[id]; !ok {
			t.Errorf("delta frees limit %d, which is not in the kernel", id)
		}
		delete(k.limits, id)
	}
}

func (k kernel) longest(kind policy.Kind, src netip.Addr) (policy.Verdict, bool) {
	for bits := src.BitLen(); bits >= 0; bits-- {
		p, err := src.Prefix(bits)
		if err != nil {
			panic(err)
		}
		if v, ok := k.nodes[kernelKey{kind, p}]; ok {
			return v, true
		}
	}
	return policy.Verdict{}, false
}

// decide does what bpf/verdict.h does, and also returns the drop counter. For a
// limit it returns no counter; see limit.
func (k kernel) decide(src netip.Addr, now policy.Deadline) (policy.Outcome, uint32) {
	tick := policy.TickAt(now)
	if v, ok := k.longest(policy.Allow, src); ok && tick < v.Allow {
		return policy.Allowed, 0
	}
	v, ok := k.longest(policy.Block, src)
	switch {
	case ok && tick < v.Drop:
		return policy.Blocked, v.HitID
	case ok && tick < v.Limit:
		return policy.Limited, 0
	case ok && tick < v.Shadow:
		return policy.Shadowed, v.HitID
	}
	return policy.NotListed, 0
}

// decideReply does what bpf/reply.h does with a packet that answers a connection.
func (k kernel) decideReply(src netip.Addr, now policy.Deadline) policy.Outcome {
	outcome, _ := k.decide(src, now)
	v, _ := k.longest(policy.Block, src)
	if (outcome == policy.Blocked || outcome == policy.Limited) && policy.TickAt(now) >= v.Strict {
		return policy.Answers
	}
	return outcome
}
