package policy

import (
	"iter"
	"net/netip"
)

// reader reads the nodes of a book, or of a snapshot.
type reader struct {
	tables
	sent []*sentChunk
}

func (b *Book) reader() reader { return reader{b.tables, b.sent.chunks} }

// NodesCovering yields the nodes of a kind whose prefix is p or covers it,
// longest prefix first.
func (b *Book) NodesCovering(k Kind, p netip.Prefix) iter.Seq[Node] {
	return b.reader().NodesCovering(k, p)
}

// NodesInside yields the nodes of a kind whose prefix is p or lies inside it, in
// ascending order.
func (b *Book) NodesInside(k Kind, p netip.Prefix) iter.Seq[Node] {
	return b.reader().NodesInside(k, p)
}

// SortedNodes yields all nodes of a kind and family in ascending order: by
// address, the shorter prefix first.
func (b *Book) SortedNodes(k Kind, f Family) iter.Seq[Node] { return b.reader().SortedNodes(k, f) }

// NodesCovering yields the nodes of a kind whose prefix is p or covers it,
// longest prefix first.
func (t reader) NodesCovering(k Kind, p netip.Prefix) iter.Seq[Node] {
	return t.nodesOf(k, t.table(k).Supernets(p))
}

// NodesInside yields the nodes of a kind whose prefix is p or lies inside it, in
// ascending order.
func (t reader) NodesInside(k Kind, p netip.Prefix) iter.Seq[Node] {
	return t.nodesOf(k, t.table(k).Subnets(p))
}

// SortedNodes yields all nodes of a kind and family in ascending order: by
// address, the shorter prefix first.
func (t reader) SortedNodes(k Kind, f Family) iter.Seq[Node] {
	if f == IPv6 {
		return t.nodesOf(k, t.table(k).AllSorted6())
	}
	return t.nodesOf(k, t.table(k).AllSorted4())
}

func (t reader) nodesOf(k Kind, places iter.Seq2[netip.Prefix, node]) iter.Seq[Node] {
	return func(yield func(Node) bool) {
		for p, n := range places {
			if !yield(Node{Kind: k, Prefix: p, Verdict: sentAt(t.sent, n.id)}) {
				return
			}
		}
	}
}
