package loader

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/paraxial/paraxial/policy"
)

func nodesOf(tb testing.TB, l *Loader, kind policy.Kind) []policy.Node {
	tb.Helper()
	var nodes []policy.Node
	for n, err := range l.Nodes(kind) {
		check(tb, err)
		nodes = append(nodes, n)
	}
	sortNodes(nodes)
	return nodes
}

func sortNodes(nodes []policy.Node) {
	slices.SortFunc(nodes, func(a, b policy.Node) int { return a.Prefix.Compare(b.Prefix) })
}

func expectNodes(tb testing.TB, l *Loader, kind policy.Kind, want ...policy.Node) {
	tb.Helper()
	got := nodesOf(tb, l, kind)
	if slices.Equal(want, got) {
		return // a diff of so many nodes takes seconds
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Prefix{}), cmpopts.EquateEmpty()); diff != "" {
		tb.Errorf("nodes of kind %s (-want +got):\n%s", kind, diff)
	}
}

// manyNodes returns n blocks, or allows, half of each family, sorted.
func manyNodes(kind policy.Kind, n int) []policy.Node {
	nodes := make([]policy.Node, 0, n)
	for i := range n / 2 {
		x := uint32(i) * 2654435761 // a bijection that spreads over the addresses
		a4 := netip.AddrFrom4([4]byte{byte(x >> 24), byte(x >> 16), byte(x >> 8), byte(x)})
		a6 := netip.AddrFrom16([16]byte{0: 0x20, 1: 1, 4: byte(x >> 24), 5: byte(x >> 16), 6: byte(x >> 8), 7: byte(x)})
		v := policy.Verdict{Allow: policy.Tick(x | 1)}
		if kind == policy.Block {
			v = policy.Verdict{Drop: policy.Tick(x), Limit: 3, Shadow: policy.Tick(i), LimitID: 4, HitID: uint32(i)}
		}
		nodes = append(nodes,
			policy.Node{Kind: kind, Prefix: netip.PrefixFrom(a4, 32), Verdict: v},
			policy.Node{Kind: kind, Prefix: netip.PrefixFrom(a6, 64), Verdict: v})
	}
	sortNodes(nodes)
	return nodes
}

func TestApplyRoundTrip(t *testing.T) {
	const n = 100_000
	for _, batches := range []bool{true, false} {
		t.Run(map[bool]string{true: "batches", false: "single"}[batches], func(t *testing.T) {
			l := open(t, bpffs(t), n)
			if !batches {
				disableBatches(l)
			}
			blocks, allows := manyNodes(policy.Block, n), manyNodes(policy.Allow, 10)
			apply(t, l, slices.Concat(blocks, allows)...)
			expectNodes(t, l, policy.Block, blocks...)
			expectNodes(t, l, policy.Allow, allows...)

			// Replace one node and delete all but ten. Some are deleted twice.
			blocks[3].Verdict.Drop = 12345
			gone := slices.Concat(blocks[10:], blocks[20:30], allows[:1])
			check(t, l.Apply(t.Context(), policy.Delta{Put: blocks[3:4], Delete: gone}))
			expectNodes(t, l, policy.Block, blocks[:10]...)
			expectNodes(t, l, policy.Allow, allows[1:]...)
		})
	}
}

func disableBatches(l *Loader) {
	for _, t := range l.tries {
		switch t := t.(type) {
		case *trie[plainLpmV4, plainVerdict]:
			t.noBatch.Store(true)
		case *trie[plainLpmV6, plainVerdict]:
			t.noBatch.Store(true)
		}
	}
}

func TestApplyFull(t *testing.T) {
	l := open(t, bpffs(t), 5)
	nodes := slices.DeleteFunc(manyNodes(policy.Block, 20), func(n policy.Node) bool { return n.Prefix.Addr().Is6() })
	err := l.Apply(t.Context(), policy.Delta{Put: nodes})
	apply, ok := errors.AsType[*ApplyError](err)
	if !ok || apply.Applied != 5 || apply.Total != 10 {
		t.Errorf("error %+v, want 5 of 10 applied", err)
	}
	full, ok := errors.AsType[*FullError](err)
	if !ok || full.Map != plainMapBlockV4 || full.Capacity != 5 {
		t.Errorf("error %+v, want block_v4 full at 5", err)
	}
	for _, want := range []string{"block_v4", "max_entries", "5 of 10"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q, want %q in it", err, want)
		}
	}
	if got := len(nodesOf(t, l, policy.Block)); got != 5 {
		t.Errorf("%d nodes in the kernel, want 5", got)
	}
}

func TestApplyRefusals(t *testing.T) {
	l := open(t, bpffs(t), 5)
	good := block("192.0.2.1/32", 1, 0, 0)
	tests := []struct {
		name string
		d    policy.Delta
	}{
		{"no kind", policy.Delta{Put: []policy.Node{good, {Prefix: good.Prefix}}}},
		{"no prefix", policy.Delta{Put: []policy.Node{good, {Kind: policy.Block}}}},
		{"mapped", policy.Delta{Put: []policy.Node{good, block("::ffff:192.0.2.1/128", 1, 0, 0)}}},
		{"bad delete", policy.Delta{Put: []policy.Node{good}, Delete: []policy.Node{{Kind: policy.Allow}}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := l.Apply(t.Context(), tt.d); err == nil {
				t.Error("no error")
			}
			expectNodes(t, l, policy.Block)
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Apply(ctx, policy.Delta{Put: []policy.Node{good}}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
