package policy

import (
	"iter"
	"net/netip"
)

// NodesCovering yields the nodes of a kind whose prefix is p or covers it,
// longest prefix first.
func (t tables) NodesCovering(k Kind, p netip.Prefix) iter.Seq[Node] {
	return nodesOf(k, t.table(k).Supernets(p))
}

// NodesInside yields the nodes of a kind whose prefix is p or lies inside it, in
// ascending order.
func (t tables) NodesInside(k Kind, p netip.Prefix) iter.Seq[Node] {
	return nodesOf(k, t.table(k).Subnets(p))
}

// SortedNodes yields all nodes of a kind and family in ascending order: by
// address, the shorter prefix first.
func (t tables) SortedNodes(k Kind, f Family) iter.Seq[Node] {
	if f == IPv6 {
		return nodesOf(k, t.table(k).AllSorted6())
	}
	return nodesOf(k, t.table(k).AllSorted4())
}

func nodesOf(k Kind, places iter.Seq2[netip.Prefix, node]) iter.Seq[Node] {
	return func(yield func(Node) bool) {
		for p, n := range places {
			if !yield(Node{Kind: k, Prefix: p, Verdict: n.verdict}) {
				return
			}
		}
	}
}
