package policy

import "sync/atomic"

// nodeID numbers a node of the book. 0 is none.
type nodeID uint32

// sent holds, for every node, the verdict that was sent to the kernel last. It is
// apart from the tables so that a change that recompiles many nodes changes no
// table: it neither keeps readers of the book waiting nor copies the parts of the
// tables that a snapshot shares.
type sent struct {
	chunks  []*sentChunk
	used    nodeID // the highest number handed out
	free    []nodeID
	resting []nodeID // freed while a snapshot may read them
}

const sentPerChunk = 4096

// sentChunk has the verdicts of some nodes. Most nodes only drop. Memory for the fields that these do
// not have is allocated with the first other node.
type sentChunk struct {
	drops  [sentPerChunk]atomicDrop
	others atomic.Pointer[[sentPerChunk]atomicOther]
}

// atomicDrop and atomicOther together are a Verdict that is read while it is written. A reader may
// get some fields from before a change and others from after it.
type (
	atomicDrop  struct{ drop, hit atomic.Uint32 }
	atomicOther struct{ limit, shadow, allow, strict, limitID atomic.Uint32 }
)

// The upper bits beside a HitID say what Strict is: with neither it is the deadline of the drop.
const (
	strictNever = 1 << 31 // it is 0
	strictApart = 1 << 30 // atomicOther has it
	strictBits  = strictNever | strictApart
)

func strictOf(v Verdict) uint32 {
	switch v.Strict {
	case v.Drop:
		return 0
	case 0:
		return strictNever
	}
	return strictApart
}

func (c *sentChunk) load(i nodeID) Verdict {
	hit := c.drops[i].hit.Load()
	v := Verdict{Drop: Tick(c.drops[i].drop.Load()), HitID: hit &^ strictBits}
	if hit&strictNever == 0 {
		v.Strict = v.Drop
	}
	if others := c.others.Load(); others != nil {
		o := &others[i]
		v.Limit, v.Shadow, v.Allow = Tick(o.limit.Load()), Tick(o.shadow.Load()), Tick(o.allow.Load())
		v.LimitID = o.limitID.Load()
		if hit&strictApart != 0 {
			v.Strict = Tick(o.strict.Load())
		}
	}
	return v
}

func (c *sentChunk) store(i nodeID, v Verdict) {
	strict := strictOf(v)
	c.drops[i].drop.Store(uint32(v.Drop))
	c.drops[i].hit.Store(v.HitID | strict)
	others := c.others.Load()
	if others == nil {
		if strict != strictApart && v == (Verdict{Drop: v.Drop, HitID: v.HitID, Strict: v.Strict}) {
			return
		}
		others = new([sentPerChunk]atomicOther)
		c.others.Store(others)
	}
	o := &others[i]
	o.limit.Store(uint32(v.Limit))
	o.shadow.Store(uint32(v.Shadow))
	o.allow.Store(uint32(v.Allow))
	o.strict.Store(uint32(v.Strict))
	o.limitID.Store(v.LimitID)
}

// take returns a number with the zero verdict.
func (s *sent) take() nodeID {
	if n := len(s.free); n > 0 {
		id := s.free[n-1]
		s.free = s.free[:n-1]
		s.set(id, Verdict{})
		return id
	}
	s.used++
	if int(s.used/sentPerChunk) == len(s.chunks) {
		s.chunks = append(s.chunks, new(sentChunk))
	}
	return s.used
}

// give frees a number. While a snapshot is in use it is not handed out again: the
// snapshot has the node that it belonged to.
func (s *sent) give(id nodeID, snapshots bool) {
	if snapshots {
		s.resting = append(s.resting, id)
		return
	}
	s.free = append(s.free, id)
}

// released ends the rest of numbers when the last snapshot is released.
func (s *sent) released() {
	s.free = append(s.free, s.resting...)
	s.resting = nil
}

func (s *sent) at(id nodeID) Verdict { return sentAt(s.chunks, id) }

func sentAt(chunks []*sentChunk, id nodeID) Verdict {
	return chunks[id/sentPerChunk].load(id % sentPerChunk)
}

func (s *sent) set(id nodeID, v Verdict) { s.chunks[id/sentPerChunk].store(id%sentPerChunk, v) }
