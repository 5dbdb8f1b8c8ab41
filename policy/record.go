package policy

import (
	"encoding/binary"
	"math"
	"net/netip"
	"time"
)

// record is an Entry as the book stores it. It has only 32 bytes because a million
// records are normal. It has no pointer, so that the garbage collector does not
// scan it. Fields that few entries have are in maps of the slab.
type record struct {
	deadline Deadline
	addr     uint32 // an IPv4 address, or the number of an IPv6 address in slab.addrs
	created  uint32 // Unix seconds
	source   sourceRef
	next     ref    // next record at the same prefix
	heap     uint32 // position in the expiry queue plus one; 0 if not in it
	bits     uint8
	kind     Kind // 0 in a free record
	action   Action
	flags    recordFlags
}

type recordFlags uint8

const (
	isIPv4 recordFlags = 1 << iota
	isForced
	isPending   // slab.pending has the rest
	hasEvidence // slab.evidence has it
	isUndated   // Created is zero
	passReplies
)

func flagIf(set bool, f recordFlags) recordFlags {
	if set {
		return f
	}
	return 0
}

// ref is the number of a record in the slab; 0 is none.
type ref uint32

func (r *record) isPending() bool { return r.flags&isPending != 0 }

// createdAt returns when the entry was created. Times before 1970 and after 2106, which are no
// real ones, have become the first and the last of the others.
func (r *record) createdAt() time.Time {
	if r.flags&isUndated != 0 {
		return time.Time{}
	}
	return time.Unix(int64(r.created), 0).UTC()
}

// slab hands out records by number. It grows in chunks, so that it never copies or
// moves a record.
type slab struct {
	chunks   []*[chunkRecords]record
	free     []ref
	used     ref // the highest ref handed out so far
	addrs    addrs
	sources  sources
	pending  map[ref]*Pending
	limits   map[ref]*limited
	evidence map[ref]*Evidence
	replies  int // records that let answers pass
}

const chunkRecords = 4096

func newSlab() slab {
	return slab{
		sources:  newSources(),
		pending:  make(map[ref]*Pending),
		limits:   make(map[ref]*limited),
		evidence: make(map[ref]*Evidence),
	}
}

func (s *slab) at(r ref) *record {
	return &s.chunks[r/chunkRecords][r%chunkRecords]
}

// add stores an entry under a new number.
func (s *slab) add(e Entry) ref {
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
	s.set(r, e)
	return r
}

// set stores e in the record r. The record keeps its place in the list of its
// prefix. It must not be in the expiry queue.
func (s *slab) set(r ref, e Entry) {
	rec := s.at(r)
	old := *rec
	*rec = record{
		addr:     s.addrOf(e.Prefix.Addr(), old),
		deadline: e.Deadline,
		created:  uint32(min(max(e.Created.Unix(), 0), math.MaxUint32)),
		source:   s.sources.take(source{e.Origin, e.Reason, e.Author}),
		next:     old.next,
		bits:     uint8(e.Prefix.Bits()),
		kind:     e.Kind,
		action:   e.Action,
		flags: flagIf(e.Prefix.Addr().Is4(), isIPv4) | flagIf(e.Forced, isForced) |
			flagIf(e.Pending != nil, isPending) | flagIf(e.Evidence != nil, hasEvidence) |
			flagIf(e.Created.IsZero(), isUndated) | flagIf(e.Replies, passReplies),
	}
	s.forget(r, old)
	if e.Replies {
		s.replies++
	}
	if e.Pending != nil {
		s.pending[r] = e.Pending
	}
	if e.Evidence != nil {
		s.evidence[r] = e.Evidence
	}
}

// addrOf returns what record.addr is for a. old is the record before, which has the same prefix if it
// is in use.
func (s *slab) addrOf(a netip.Addr, old record) uint32 {
	switch {
	case old.kind != 0:
		return old.addr
	case a.Is4():
		b := a.As4()
		return binary.BigEndian.Uint32(b[:])
	}
	return s.addrs.take(a.As16())
}

func (s *slab) remove(r ref) {
	if rec := s.at(r); rec.flags&isIPv4 == 0 {
		s.addrs.give(rec.addr)
	}
	s.forget(r, *s.at(r))
	*s.at(r) = record{}
	s.free = append(s.free, r)
}

// forget drops the data of a removed or replaced record that is stored outside of
// it: its source, confirmation and evidence.
func (s *slab) forget(r ref, old record) {
	if old.source != 0 {
		s.sources.give(old.source)
	}
	if old.flags&passReplies != 0 {
		s.replies--
	}
	if old.isPending() {
		delete(s.pending, r)
	}
	if old.flags&hasEvidence != 0 {
		delete(s.evidence, r)
	}
}

func (s *slab) prefix(r ref) netip.Prefix {
	rec := s.at(r)
	if rec.flags&isIPv4 == 0 {
		return netip.PrefixFrom(netip.AddrFrom16(s.addrs.at(rec.addr)), int(rec.bits))
	}
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], rec.addr)
	return netip.PrefixFrom(netip.AddrFrom4(b), int(rec.bits))
}

func (s *slab) site(r ref) site { return site{s.at(r).kind, s.prefix(r)} }

func (s *slab) origin(r ref) string { return s.sources.at(s.at(r).source).origin }

func (s *slab) pendingID(r ref) string {
	if !s.at(r).isPending() {
		return ""
	}
	return s.pending[r].ID
}

func (s *slab) entry(r ref) Entry {
	rec := s.at(r)
	src := s.sources.at(rec.source)
	e := Entry{
		Prefix:   s.prefix(r),
		Kind:     rec.kind,
		Action:   rec.action,
		Origin:   src.origin,
		Reason:   src.reason,
		Author:   src.author,
		Created:  rec.createdAt(),
		Deadline: rec.deadline,
		Forced:   rec.flags&isForced != 0,
		Replies:  rec.flags&passReplies != 0,
	}
	if rec.isPending() {
		e.Pending = s.pending[r]
	}
	if rec.action == Limit {
		e.Rate = s.limits[r].rate
	}
	if rec.flags&hasEvidence != 0 {
		e.Evidence = s.evidence[r]
	}
	return e
}

// addrs holds the IPv6 addresses of records. It grows in chunks, like the slab.
type addrs struct {
	chunks []*[chunkRecords][16]byte
	free   []uint32
	used   uint32
}

func (a *addrs) at(i uint32) [16]byte { return a.chunks[i/chunkRecords][i%chunkRecords] }

// take stores an address, and returns its number.
func (a *addrs) take(addr [16]byte) (i uint32) {
	if n := len(a.free); n > 0 {
		i, a.free = a.free[n-1], a.free[:n-1]
	} else {
		i = a.used
		a.used++
		if int(i/chunkRecords) == len(a.chunks) {
			a.chunks = append(a.chunks, new([chunkRecords][16]byte))
		}
	}
	a.chunks[i/chunkRecords][i%chunkRecords] = addr
	return i
}

func (a *addrs) give(i uint32) { a.free = append(a.free, i) }
