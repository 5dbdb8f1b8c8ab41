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

type sentChunk [sentPerChunk]atomicVerdict

// atomicVerdict is a Verdict that is read while it is written. A reader may get some
// fields from before a change and others from after it.
//
// Allow and Strict share a field: a verdict with Allow has neither Drop nor Limit, and one with
// Strict has at least one of them.
type atomicVerdict [6]atomic.Uint32

func (a *atomicVerdict) load() Verdict {
	v := Verdict{
		Drop: Tick(a[0].Load()), Limit: Tick(a[1].Load()), Shadow: Tick(a[2].Load()),
		LimitID: a[4].Load(), HitID: a[5].Load(),
	}
	if shared := Tick(a[3].Load()); v.Drop|v.Limit != 0 {
		v.Strict = shared
	} else {
		v.Allow = shared
	}
	return v
}

func (a *atomicVerdict) store(v Verdict) {
	for i, x := range [...]uint32{
		uint32(v.Drop), uint32(v.Limit), uint32(v.Shadow), uint32(v.Allow | v.Strict), v.LimitID, v.HitID,
	} {
		a[i].Store(x)
	}
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

func (s *sent) at(id nodeID) Verdict { return s.chunks[id/sentPerChunk][id%sentPerChunk].load() }

func (s *sent) set(id nodeID, v Verdict) { s.chunks[id/sentPerChunk][id%sentPerChunk].store(v) }
