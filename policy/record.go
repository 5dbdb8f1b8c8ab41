package policy

import (
	"net/netip"
	"time"
	"unique"
)

// record is an Entry as the book keeps it: 80 bytes, strings shared, because a
// million of them are normal.
type record struct {
	addr     [16]byte
	deadline Deadline
	created  int64 // Unix seconds
	origin   unique.Handle[string]
	reason   unique.Handle[string]
	author   unique.Handle[string]
	pending  *Pending
	next     ref    // next record at the same prefix
	heap     uint32 // position in the expiry queue plus one; 0 = not in it
	bits     uint8
	is4      bool
	kind     Kind
	action   Action
	forced   bool
}

// ref names a record in the slab; 0 is none.
type ref uint32

func newRecord(e Entry) record {
	return record{
		addr:     e.Prefix.Addr().As16(),
		deadline: e.Deadline,
		created:  e.Created.Unix(),
		origin:   unique.Make(e.Origin),
		reason:   unique.Make(e.Reason),
		author:   unique.Make(e.Author),
		pending:  e.Pending,
		bits:     uint8(e.Prefix.Bits()),
		is4:      e.Prefix.Addr().Is4(),
		kind:     e.Kind,
		action:   e.Action,
		forced:   e.Forced,
	}
}

func (r *record) prefix() netip.Prefix {
	a := netip.AddrFrom16(r.addr)
	if r.is4 {
		a = a.Unmap()
	}
	return netip.PrefixFrom(a, int(r.bits))
}

func (r *record) pendingID() string {
	if r.pending == nil {
		return ""
	}
	return r.pending.ID
}

func (r *record) entry() Entry {
	return Entry{
		Prefix:   r.prefix(),
		Kind:     r.kind,
		Action:   r.action,
		Origin:   r.origin.Value(),
		Reason:   r.reason.Value(),
		Author:   r.author.Value(),
		Created:  time.Unix(r.created, 0).UTC(),
		Deadline: r.deadline,
		Forced:   r.forced,
		Pending:  r.pending,
	}
}

// slab hands out records by number. It grows in chunks, so that growing never
// copies, and never moves a record.
type slab struct {
	chunks []*[chunkRecords]record
	free   []ref
	used   ref // highest ref ever handed out
}

const chunkRecords = 4096

func (s *slab) at(r ref) *record {
	return &s.chunks[r/chunkRecords][r%chunkRecords]
}

func (s *slab) add(rec record) ref {
	var r ref
	if n := len(s.free); n > 0 {
		r, s.free = s.free[n-1], s.free[:n-1]
	} else {
		s.used++
		r = s.used
		if int(r/chunkRecords) == len(s.chunks) {
			s.chunks = append(s.chunks, new([chunkRecords]record))
		}
	}
	*s.at(r) = rec
	return r
}

func (s *slab) remove(r ref) {
	*s.at(r) = record{}
	s.free = append(s.free, r)
}
