// Package logs reads logs and reports their events: it connects files, the journal and sockets
// with formats and with a client of package report.
//
// Each log has a worker of its own, which reads, hands in and waits in turn. So a daemon that is
// away stops the reading, and nothing piles up. The position advances when events were taken.
package logs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os/user"
	"reflect"
	"strconv"
	"sync"
	"time"

	"github.com/paraxial/paraxial/config"
	"github.com/paraxial/paraxial/journal"
	"github.com/paraxial/paraxial/report"
)

// Sender takes events and states.
type Sender interface {
	// Send hands in a batch. With a source it may be called again with the same batch, which the
	// id names.
	Send(ctx context.Context, source, id string, b *report.Batch) (report.Taken, error)
	// Logs tells the states of all logs.
	Logs(ctx context.Context, states []report.LogState) error
}

// Options are what an Engine needs.
type Options struct {
	Dir        string // for the positions
	Sender     Sender
	Log        *slog.Logger
	Now        func() time.Time // default time.Now
	TellEvery  time.Duration    // between two reports of the states; default 5 s
	Journalctl []string         // the command and arguments for all its runs; default journalctl
}

// Engine reads logs. Configure may be called while Run runs.
type Engine struct {
	opts Options

	mu      sync.Mutex
	logs    []config.LogSource
	workers map[string]*running
}

// running is a worker at work.
type running struct {
	*worker
	log     config.LogSource
	proxies []netip.Prefix
	stop    func()
}

// New returns an Engine without logs.
func New(opts Options) *Engine {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	return &Engine{opts: opts, workers: map[string]*running{}}
}

// Configure replaces the logs. Those that stay as they are go on. A log that cannot be read is an
// error, and the others are read.
func (e *Engine) Configure(ctx context.Context, logs []config.LogSource, proxies []netip.Prefix) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	keep := map[string]bool{}
	for _, l := range logs {
		if r := e.workers[l.Name]; r != nil && reflect.DeepEqual(r.log, l) && reflect.DeepEqual(r.proxies, proxies) {
			keep[l.Name] = true
		}
	}
	for name, r := range e.workers {
		if !keep[name] {
			r.stop()
			delete(e.workers, name)
		}
	}
	var errs []error
	for _, l := range logs {
		if keep[l.Name] {
			continue
		}
		r, err := e.start(ctx, l, proxies)
		if err != nil {
			errs = append(errs, fmt.Errorf("log %s: %w", l.Name, err))
			continue
		}
		e.workers[l.Name] = r
	}
	e.logs = logs
	return errors.Join(errs...)
}

// start starts the worker of a log.
func (e *Engine) start(ctx context.Context, l config.LogSource, list []netip.Prefix) (*running, error) {
	reader, err := l.Reader()
	if err != nil {
		return nil, err
	}
	from := sourceOf(l)
	st := newStore(e.opts.Dir, l.Name)
	p, found, err := st.load(from)
	if err != nil {
		e.opts.Log.Error("a log is read from its end, because its position is not known", "log", l.Name, "error", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	src, err := e.open(ctx, l, from, p, found)
	if err != nil {
		cancel()
		return nil, err
	}
	w := &worker{
		log: l, reader: reader, source: src, proxies: newProxies(list), store: st, sender: e.opts.Sender,
		logger: e.opts.Log.With("log", l.Name), now: e.opts.Now, saves: l.Syslog.Socket == "",
	}
	w.caughtUp = w.now()
	w.tell()
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.run(ctx)
	}()
	return &running{worker: w, log: l, proxies: list, stop: func() {
		cancel()
		<-done
	}}, nil
}

func (e *Engine) open(
	ctx context.Context, l config.LogSource, from string, p position, found bool,
) (source, error) {
	switch {
	case l.File != "":
		return newFiles(from, p, !found), nil
	case l.Syslog.Socket != "":
		uids, err := uidsOf(l.Syslog.Users)
		if err != nil {
			return nil, err
		}
		return newDatagrams(ctx, l.Syslog.Socket, uids), nil
	}
	uids, err := uidsOf(l.Journal.Users)
	if err != nil {
		return nil, err
	}
	return newEntries(ctx, from, journal.Options{
		Units: l.Journal.Units, UIDs: uids, Command: e.opts.Journalctl,
	}, p), nil
}

// uidsOf returns the numbers of users.
func uidsOf(users []string) (uids []int, err error) {
	for _, name := range users {
		if u, err := user.Lookup(name); err == nil {
			name = u.Uid
		}
		uid, err := strconv.ParseUint(name, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("the user %s does not exist", name)
		}
		uids = append(uids, int(uid))
	}
	return uids, nil
}

// Run tells the states of the logs until ctx is done, and then stops the workers.
func (e *Engine) Run(ctx context.Context) {
	every := cmp.Or(e.opts.TellEvery, 5*time.Second)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for ctx.Err() == nil {
		if states := e.States(); len(states) > 0 {
			e.opts.Sender.Logs(ctx, states) // an error is that of the events, which wait
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, r := range e.workers {
		r.stop()
	}
}

// States returns the states of the logs, in the order of the configuration.
func (e *Engine) States() []report.LogState {
	e.mu.Lock()
	defer e.mu.Unlock()
	list := make([]report.LogState, 0, len(e.logs))
	for _, l := range e.logs {
		if r := e.workers[l.Name]; r != nil {
			list = append(list, r.current())
		} else {
			list = append(list, report.LogState{
				Name: l.Name, Source: sourceOf(l), At: e.opts.Now(), Error: "cannot be read; see the log of the agent",
			})
		}
	}
	return list
}
