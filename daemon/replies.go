package daemon

import (
	"sync"

	"github.com/paraxial/paraxial/loader"
	"github.com/paraxial/paraxial/loader/hostinfo"
	"github.com/paraxial/paraxial/policy"
)

// replies tells the filter at which local ports to look for answers to connections of this host.
// While no entry lets answers pass, there are none, so that a flood at these ports costs no look-up.
type replies struct {
	*Daemon
	set func(loader.Ports) error

	mu     sync.Mutex
	coming int // changes under way that put entries which let answers pass
	now    loader.Ports
}

// expect looks for answers from now on, until the entries of a change are in the book or the
// change has failed. It is called before the first of them lets an answer pass.
func (r *replies) expect() (done func()) {
	r.change(1)
	return func() { r.change(-1) }
}

// follow takes over a change of the ports of the host, and of the entries.
func (r *replies) follow() { r.change(0) }

func (r *replies) change(coming int) {
	entries := 0
	r.engine.Read(func(b *policy.Book) { entries = b.Replies() })
	r.mu.Lock()
	defer r.mu.Unlock()
	r.coming += coming
	var want loader.Ports
	var err error
	if r.coming > 0 || entries > 0 {
		want.First, want.Last, err = hostinfo.LocalPorts()
	}
	if err == nil && want != r.now {
		if err = r.set(want); err == nil {
			r.now = want
		}
	}
	r.tellProblem("answers", "entries with replies: pass drop answers, too, until this is mended: ", err)
}
