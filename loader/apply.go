package loader

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"github.com/paraxial/paraxial/policy"
)

// Nodes yields the nodes of the kernel's tries of a kind, in no useful order. It ends with
// the first error. Apply must not run at the same time.
func (l *Loader) Nodes(kind policy.Kind) iter.Seq2[policy.Node, error] {
	return func(yield func(policy.Node, error) bool) {
		for _, t := range l.tries {
			if t.kindOf() != kind {
				continue
			}
			for n, err := range t.nodes() {
				if !yield(n, err) || err != nil {
					return
				}
			}
		}
	}
}

// Apply writes a delta to the kernel. It puts limits first, then nodes, allows before
// blocks. Then it deletes nodes, blocks first, and frees limits. So a block is never in
// force without the allow that beats it, or the limit that it refers to. It is not an error to
// delete a node that is not there.
//
// An error is an *ApplyError, which tells how many changes were made. It is safe to apply
// the same delta again.
func (l *Loader) Apply(ctx context.Context, d policy.Delta) error {
	total := len(d.Put) + len(d.Delete)
	done := 0
	fail := func(err error) error { return &ApplyError{Applied: done, Total: total, Err: err} }
	for _, nodes := range [][]policy.Node{d.Put, d.Delete} {
		if err := checkNodes(nodes); err != nil {
			return fail(err)
		}
	}
	if len(d.Limits) > 0 {
		if err := l.putLimits(d.Limits); err != nil {
			return fail(err)
		}
	}
	for _, t := range l.tries {
		n, err := t.put(ctx, held(t, d.Put))
		if done += n; err != nil {
			return fail(err)
		}
	}
	for _, t := range slices.Backward(l.tries) {
		n, err := t.delete(ctx, held(t, d.Delete))
		if done += n; err != nil {
			return fail(err)
		}
	}
	l.freeLimits(d.FreeLimits)
	return nil
}

// held yields the nodes that belong into t.
func held(t table, nodes []policy.Node) iter.Seq[policy.Node] {
	return func(yield func(policy.Node) bool) {
		for _, n := range nodes {
			if t.holds(n) && !yield(n) {
				return
			}
		}
	}
}

// checkNodes returns an error for a node that belongs into no trie.
func checkNodes(nodes []policy.Node) error {
	for _, n := range nodes {
		if n.Kind != policy.Block && n.Kind != policy.Allow {
			return fmt.Errorf("prefix %s: neither block nor allow", n.Prefix)
		}
		if !n.Prefix.IsValid() || n.Prefix.Addr().Is4In6() {
			return fmt.Errorf("prefix %s: not a plain IPv4 or IPv6 prefix", n.Prefix)
		}
	}
	return nil
}
