package daemon

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/paraxial/paraxial/loader/hostinfo"
	"github.com/paraxial/paraxial/policy"
)

// readTimeout bounds one reading of the facts for the guard.
const readTimeout = 30 * time.Second

// reading is one reading of the facts, and the guard that is made from it.
type reading struct {
	done  chan struct{} // closed when the fields below are set
	list  []policy.Protected
	guard *policy.Guard
	err   error // names facts that could not be read; list and guard have the rest
}

// factReader reads the facts for the guard. A reading lists all processes, and after
// a new session all TCP connections, which takes milliseconds. So requests that wait
// at the same time share one. A request never gets a reading that began before the request: it
// would not know of a session that was opened in between.
type factReader struct {
	read func(context.Context) ([]policy.Protected, error)
	note func(error) // gets the error of each reading

	mu   sync.Mutex
	next *reading // has not begun; nil if no request waits
	busy bool     // run is reading
}

// guard returns the guard for the host as it is now. It is never nil. The error
// tells which facts are missing.
func (r *factReader) guard(ctx context.Context) (*policy.Guard, error) {
	_, guard, err := r.facts(ctx)
	return guard, err
}

// facts returns the protected addresses of the host as it is now, and the guard for them.
func (r *factReader) facts(ctx context.Context) ([]policy.Protected, *policy.Guard, error) {
	waited := r.join()
	select {
	case <-waited.done:
		return waited.list, waited.guard, waited.err
	case <-ctx.Done():
		return nil, policy.NewGuard(nil), fmt.Errorf("read the addresses that must not be blocked: %w", ctx.Err())
	}
}

// join returns the next reading. It starts run if no reading is under way.
func (r *factReader) join() *reading {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.next == nil {
		r.next = &reading{done: make(chan struct{})}
	}
	if !r.busy {
		r.busy = true
		go r.run()
	}
	return r.next
}

// run reads until no request waits.
func (r *factReader) run() {
	for {
		r.mu.Lock()
		now := r.next
		r.next, r.busy = nil, now != nil
		r.mu.Unlock()
		if now == nil {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), readTimeout)
		now.list, now.err = r.read(ctx)
		cancel()
		r.note(now.err)
		now.guard = policy.NewGuard(now.list)
		close(now.done)
	}
}

// protected returns the addresses that blocks must not cover on this host now. The
// error names facts that cannot be read; the list has the rest.
func (d *Daemon) protected(ctx context.Context) ([]policy.Protected, error) {
	cfg := d.settings().Guard
	facts, err := d.host.Read(ctx, hostinfo.Options{SSHSessions: len(cfg.SSHPorts) > 0})
	var list []policy.Protected
	add := func(a netip.Addr, format string, args ...any) {
		what := fmt.Sprintf(format, args...)
		list = append(list, policy.Protected{Prefix: netip.PrefixFrom(a, a.BitLen()), What: what})
	}
	// If an address is in several lists, a refusal names the first.
	for _, a := range facts.SSHPeers {
		add(a, "from where an SSH session to this host is open")
		list[len(list)-1].Session = true
	}
	for _, g := range facts.Gateways {
		add(g.Addr, "the gateway of %s", g.Interface)
	}
	for _, a := range facts.Addresses {
		add(a.Addr, "an address of %s", a.Interface)
	}
	for _, a := range facts.Resolvers {
		add(a, "a DNS resolver of this host")
	}
	for _, t := range facts.Tunnels {
		add(t.Addr, "the other end of the tunnel %s (%s)", t.Interface, t.Kind)
	}
	for _, s := range facts.Servers {
		add(s.Addr, "%s", s.What)
	}
	d.warnOfUnknown(facts.Problems)
	for _, p := range cfg.NeverBlock {
		list = append(list, policy.Protected{Prefix: p, What: "in never_block"})
	}
	if err != nil {
		return list, fmt.Errorf("read the addresses that must not be blocked: %w", err)
	}
	return list, nil
}
