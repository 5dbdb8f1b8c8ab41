package daemon

import (
	"log/slog"
	"sync"

	"github.com/paraxial/paraxial/loader"
	"github.com/paraxial/paraxial/loader/hostinfo"
	"github.com/paraxial/paraxial/policy"
)

// replies tells the filter at which local ports to look for answers to connections of this host.
// While no entry lets answers pass, there are none, so that a flood at these ports costs no look-up.
type replies struct {
	log     *slog.Logger
	count   func() int // of the entries that let answers pass
	set     func(loader.Ports) error
	problem string // logged last

	mu  sync.Mutex
	now loader.Ports
}

// open looks for answers from now on. It is called before an entry lets them pass.
func (r *replies) open() { r.change(true) }

// follow takes over a change of the ports of the host, and of the number of entries.
func (r *replies) follow() { r.change(r.count() > 0) }

func (r *replies) change(wanted bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var want loader.Ports
	var err error
	if wanted {
		want.First, want.Last, err = hostinfo.LocalPorts()
	}
	if err == nil && want != r.now {
		if err = r.set(want); err == nil {
			r.now = want
		}
	}
	r.note(err)
}

// letReplies returns the number of entries that let answers to connections of this host pass.
func (d *Daemon) letReplies() (n int) {
	d.engine.Read(func(b *policy.Book) { n = b.Replies() })
	return n
}

func (r *replies) note(err error) {
	problem := ""
	if err != nil {
		problem = err.Error()
	}
	if problem != r.problem && err != nil {
		r.log.Error("answers to connections of this host may be dropped", "error", err)
	}
	r.problem = problem
}
