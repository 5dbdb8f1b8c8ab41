package conns

import (
	"context"
	"fmt"
	"slices"
	"sync"
)

// Gate bounds how many requests are worked on at a time. The others wait, and the uids
// take turns: however many requests one uid has sent, a request of another uid waits
// for at most one of them. Root has room of its own, and waits for no other uid.
type Gate struct {
	root, others, perUID int // requests of root, of all other uids together, and of each of these

	mu      sync.Mutex
	running map[uint32]int // by uid
	busy    int            // requests of uids other than root
	lanes   []*lane        // one for each uid with waiting requests, in the order of their turns
}

// lane holds the waiting requests of one uid, in the order of their arrival.
type lane struct {
	uid     uint32
	waiting []chan struct{} // closed when the request may go on
}

// NewGate returns a gate for requests of root, of all other uids together, and of each of
// these.
func NewGate(root, others, perUID int) *Gate {
	return &Gate{root: root, others: others, perUID: perUID, running: map[uint32]int{}}
}

// Enter waits until a request of uid may be worked on. Leave must be called after it,
// unless Enter fails because ctx has ended.
func (g *Gate) Enter(ctx context.Context, uid uint32) error {
	turn := make(chan struct{})
	g.mu.Lock()
	i := slices.IndexFunc(g.lanes, func(l *lane) bool { return l.uid == uid })
	if i < 0 {
		g.lanes, i = append(g.lanes, &lane{uid: uid}), len(g.lanes)
	}
	l := g.lanes[i]
	l.waiting = append(l.waiting, turn)
	g.admit()
	g.mu.Unlock()
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if i := slices.Index(l.waiting, turn); i >= 0 {
		l.waiting = slices.Delete(l.waiting, i, i+1)
		g.sweep()
	} else {
		g.release(uid)
	}
	return fmt.Errorf("nothing was done: it waited behind %d other requests of uid %d that are worked on, "+
		"and those of other users: send fewer at a time: %w", g.running[uid], uid, ctx.Err())
}

// Leave ends the work on a request of uid.
func (g *Gate) Leave(uid uint32) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.release(uid)
}

func (g *Gate) release(uid uint32) {
	if g.running[uid]--; g.running[uid] == 0 {
		delete(g.running, uid)
	}
	if uid != 0 {
		g.busy--
	}
	g.admit()
}

// admit lets as many requests go on as there is room for.
func (g *Gate) admit() {
	for {
		i := slices.IndexFunc(g.lanes, func(l *lane) bool { return g.mayRun(l.uid) })
		if i < 0 {
			return
		}
		l := g.lanes[i]
		close(l.waiting[0])
		l.waiting = l.waiting[1:]
		if g.running[l.uid]++; l.uid != 0 {
			g.busy++
		}
		g.lanes = append(slices.Delete(g.lanes, i, i+1), l) // its next turn comes after all others'
		g.sweep()
	}
}

func (g *Gate) mayRun(uid uint32) bool {
	if uid == 0 {
		return g.running[uid] < g.root
	}
	return g.running[uid] < g.perUID && g.busy < g.others
}

// sweep removes the lanes in which no request waits.
func (g *Gate) sweep() {
	g.lanes = slices.DeleteFunc(g.lanes, func(l *lane) bool { return len(l.waiting) == 0 })
}

// Waiting returns the number of requests that wait.
func (g *Gate) Waiting() (n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, l := range g.lanes {
		n += len(l.waiting)
	}
	return n
}
