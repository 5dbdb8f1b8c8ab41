package guard

import (
	"context"
	"net/netip"

	"github.com/paraxial/paraxial/policy"
)

// Check returns the refusals of the guard, and the open sessions inside other prefixes. The
// error tells that the guard does not know all protected addresses. The guard does not refuse
// shadow entries.
func (r *Reader) Check(
	ctx context.Context, c Caller, prefixes []netip.Prefix, action policy.Action,
) (refusals []*policy.Refusal, sessions map[netip.Prefix][]netip.Addr, err error) {
	if action == policy.Shadow {
		return nil, nil, nil
	}
	guard, err := r.GuardFor(ctx, c)
	sessions = make(map[netip.Prefix][]netip.Addr)
	for _, p := range prefixes {
		if refusal := guard.Check(p); refusal != nil {
			refusals = append(refusals, refusal)
		} else if inside := guard.Sessions(p); len(inside) > 0 {
			sessions[p] = inside
		}
	}
	return refusals, sessions, err
}

// Changes are what the guard adds to a change that blocks prefixes.
type Changes struct {
	Forced map[netip.Prefix]bool // those that force blocks against the guard
	Spare  []policy.Entry        // allows for open sessions inside the others
}

// Ops returns the changes that go with the blocks.
func (c Changes) Ops(b *policy.Book) []policy.Op {
	ops := endSparing(b, c.Forced)
	for _, e := range c.Spare {
		ops = append(ops, policy.PutOp(e))
	}
	return ops
}
