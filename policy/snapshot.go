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

// Snapshot holds the nodes that a book had at one moment. It may be read while the
// book changes. A node whose verdict has changed since has its verdict of then, or a
// later one, or fields of both: its reader must look at such nodes again, which the
// deltas of the changes name. The snapshot needs memory for the parts of the tables
// that change meanwhile.
type Snapshot struct{ reader }

// Snapshot returns the present nodes. Until the snapshot is released, each change
// copies the parts of the tables that it touches, which takes some microseconds.
func (b *Book) Snapshot() *Snapshot {
	b.snapshots++
	return &Snapshot{b.reader()}
}

// Release ends the use of a snapshot, which must not be read afterwards. A second
// call for the same snapshot does nothing.
func (b *Book) Release(s *Snapshot) {
	if !s.Released() {
		b.snapshots--
		s.reader = reader{}
		if b.snapshots == 0 {
			b.sent.released()
		}
	}
}

// Released reports whether Release was called for the snapshot.
func (s *Snapshot) Released() bool { return s.blocks == nil }

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
