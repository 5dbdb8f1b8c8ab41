package policy

import "github.com/gaissmai/bart"

// tables hold the node of every prefix, by kind.
type tables struct {
	blocks *bart.Table[node]
	allows *bart.Table[node]
}

func newTables() tables {
	return tables{blocks: new(bart.Table[node]), allows: new(bart.Table[node])}
}

func (t tables) table(k Kind) *bart.Table[node] {
	if k == Allow {
		return t.allows
	}
	return t.blocks
}

// Snapshot holds the nodes of a book as they were at one moment. It may be read
// while the book changes. It needs memory for the nodes that change meanwhile.
type Snapshot struct{ tables }

// Snapshot returns the present nodes. Until the snapshot is released, each change
// copies the parts of the tables that it touches, which takes some microseconds.
func (b *Book) Snapshot() *Snapshot {
	b.snapshots++
	return &Snapshot{b.tables}
}

// Release ends the use of a snapshot, which must not be read afterwards. A second
// call for the same snapshot does nothing.
func (b *Book) Release(s *Snapshot) {
	if s.blocks != nil {
		b.snapshots--
		s.tables = tables{}
	}
}

// modify calls f to change, create or delete the node at a site.
func (b *Book) modify(s site, f func(n node, exists bool) (_ node, del bool)) {
	if b.snapshots == 0 {
		b.table(s.kind).Modify(s.prefix, f)
		return
	}
	changed := b.table(s.kind).ModifyPersist(s.prefix, f)
	if s.kind == Allow {
		b.allows = changed
	} else {
		b.blocks = changed
	}
}
