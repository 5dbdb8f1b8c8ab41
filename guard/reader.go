// Package guard keeps blocks away from the addresses that this host and its operators
// depend on. It reads these addresses, spares open sessions inside blocked prefixes, and finds
// blocks that cover a protected address.
package guard

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/paraxial/paraxial/config"
	"github.com/paraxial/paraxial/loader/hostinfo"
	"github.com/paraxial/paraxial/policy"
	"github.com/paraxial/paraxial/warnings"
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

// Reader reads the addresses that must not be blocked, and makes the guard from them. A reading
// lists all processes, and after a new session all TCP connections, which takes milliseconds. So
// requests that wait at the same time share one. A request never gets a reading that began before
// the request: it would not know of a session that was opened in between.
type Reader struct {
	read     func(context.Context) ([]policy.Protected, error)
	sessions func() bool // whether sessions are protected
	host     *hostinfo.Reader
	log      *slog.Logger

	problem warnings.Problem // why the last reading is incomplete
	logged  time.Time        // when problem was logged; used by note only
	unknown warnings.Board   // servers and tunnels whose addresses the last reading lacks

	mu   sync.Mutex
	next *reading // has not begun; nil if no request waits
	busy bool     // run is reading
}

// NewReader returns a Reader for this host. settings returns the configuration in force.
func NewReader(log *slog.Logger, settings func() config.Guard) *Reader {
	r := &Reader{log: log, host: hostinfo.NewReader(), sessions: func() bool { return len(settings().SSHPorts) > 0 }}
	r.read = func(ctx context.Context) ([]policy.Protected, error) { return r.protected(ctx, settings()) }
	return r
}

// Close ends the use of the host's facts.
func (r *Reader) Close() error { return r.host.Close() }

// Guard returns the guard for the host as it is now. It is never nil. The error
// tells which facts are missing.
func (r *Reader) Guard(ctx context.Context) (*policy.Guard, error) {
	_, guard, err := r.facts(ctx)
	return guard, err
}

// Protected returns the protected addresses of the host as it is now. The error tells which
// are missing.
func (r *Reader) Protected(ctx context.Context) ([]policy.Protected, error) {
	list, _, err := r.facts(ctx)
	return list, err
}

// facts returns the protected addresses of the host as it is now, and the guard for them.
func (r *Reader) facts(ctx context.Context) ([]policy.Protected, *policy.Guard, error) {
	waited := r.join()
	select {
	case <-waited.done:
		return waited.list, waited.guard, waited.err
	case <-ctx.Done():
		return nil, policy.NewGuard(nil), fmt.Errorf("read the addresses that must not be blocked: %w", ctx.Err())
	}
}

// join returns the next reading. It starts run if no reading is under way.
func (r *Reader) join() *reading {
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
func (r *Reader) run() {
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

// note records and logs whether the guard could be read. It is called after each reading.
func (r *Reader) note(err error) {
	was := r.Problem()
	r.problem.Set(err)
	switch now := r.Problem(); {
	case now == "" && was != "":
		r.log.Info("guard is complete again: detectors act")
	case now != "" && (was == "" || time.Since(r.logged) >= warnings.Every):
		r.logged = time.Now()
		r.log.Error("guard is incomplete: detectors take no decisions, and blocks need --force", "error", now)
	}
}

// Problem returns why the guard could not be read at the last attempt, or "".
func (r *Reader) Problem() string { return r.problem.String() }
