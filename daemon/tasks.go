package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/loader"
	"github.com/paraxial/paraxial/metrics"
	"github.com/paraxial/paraxial/policy"
)

const (
	sweepInterval      = time.Second            // expiry and the credit for drop events
	glanceInterval     = 250 * time.Millisecond // has something happened to a link
	attestInterval     = 2 * time.Second        // is the filter where it should be, in all detail
	checkpointInterval = 30 * time.Second       // what is lost of a TTL by a power cut
)

// housekeep does what is due from time to time, until ctx is done, and tells the
// service manager that all loops get on.
func (d *Daemon) housekeep(ctx context.Context, s *service) {
	sweep := time.NewTicker(sweepInterval)
	report := time.NewTicker(s.every())
	checkpoint := time.NewTicker(checkpointInterval)
	defer sweep.Stop()
	defer report.Stop()
	defer checkpoint.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-sweep.C:
			d.grantEvents()
			d.sweep(ctx)
		case <-report.C:
			d.report(s)
		case <-checkpoint.C:
			d.checkpoint(ctx)
		}
	}
}

// attend looks after the interfaces and the socket until ctx is done, apart from housekeeping,
// which waits for the disk.
func (d *Daemon) attend(ctx context.Context, socket *control.Listener) {
	glance := time.NewTicker(glanceInterval)
	attest := time.NewTicker(attestInterval)
	defer glance.Stop()
	defer attest.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-glance.C:
			d.nics.glance(ctx)
		case <-attest.C:
			d.nics.attest(ctx)
			d.keepSocket(socket)
			d.attending.beat()
		}
	}
}

// keepSocket puts the socket back where clients look for it.
func (d *Daemon) keepSocket(socket *control.Listener) {
	switch restored, err := socket.Restore(); {
	case err != nil && d.socketProblem != err.Error():
		d.socketProblem = err.Error()
		d.log.Error("paraxialctl cannot reach the daemon: its socket is gone and cannot be made again", "error", err)
	case restored:
		d.socketProblem = ""
		d.log.Warn("the socket was removed by somebody and has been made again", "socket", socket.Addr())
	}
}

// grantEvents lets the program report drops for the next second, if anyone
// looks.
func (d *Daemon) grantEvents() {
	var credit int64
	if d.broadcast.watched() {
		credit = int64(d.settings().Events.DropsPerSecond)
	}
	d.loader.SetEventCredit(credit)
}

// sweep removes what has expired, in steps between which others get their turn.
// What it does not get done is for the next one.
func (d *Daemon) sweep(ctx context.Context) {
	for start := time.Now(); ctx.Err() == nil && time.Since(start) < sweepInterval/2; {
		expired, err := d.engine.Expire(ctx)
		if err != nil {
			if d.sweepProblem != err.Error() { // it is tried every second
				d.log.Error("expired entries could not be removed; the kernel does not enforce them, and they are tried again", "error", err)
			}
			d.sweepProblem = err.Error()
			return
		}
		d.sweepProblem = ""
		if len(expired) == 0 {
			return
		}
		d.log.Debug("entries expired", "count", len(expired))
		d.announce(control.EventExpired, d.wireEntries(expired))
	}
}

// checkpoint keeps on disk how much time has passed, and corrects deadlines of
// an earlier boot once the wall clock is known to be right.
func (d *Daemon) checkpoint(ctx context.Context) {
	if err := d.saveOffenders(); err != nil {
		d.log.Error("repeat offenders would be forgotten by a restart", "error", err)
	}
	if err := d.enforcer.saveVolatile(ctx); err != nil {
		d.log.Error("volatile bans of detectors still cannot be saved", "error", err)
	}
	corrected, err := d.engine.Checkpoint(ctx)
	if err != nil {
		d.log.Error("checkpoint failed", "error", err)
		return
	}
	if corrected {
		d.log.Info("wall clock is synchronised: deadlines corrected for the time the machine was off")
	}
}

// recheckGuard warns of blocks that cover what must not be blocked.
func (d *Daemon) recheckGuard(ctx context.Context) {
	list, _, err := d.facts.facts(ctx)
	if err != nil {
		d.log.Warn("guard is incomplete", "error", err)
	}
	var found []string
	d.engine.Read(func(b *policy.Book) { found = violations(b, list, d.engine.Now()) })
	for _, w := range d.warnings.set(found) {
		d.log.Warn("guard: " + w)
	}
}

// warnings is what the operator should know, as status shows it.
type warnings struct {
	mu  sync.Mutex
	all []string
}

// set replaces the warnings and returns those that are new.
func (w *warnings) set(all []string) (fresh []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range all {
		if !slices.Contains(w.all, s) {
			fresh = append(fresh, s)
		}
	}
	w.all = all
	return fresh
}

func (w *warnings) list() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.all)
}

// relayDrops passes sampled drops to those who watch.
func (d *Daemon) relayDrops(ctx context.Context) error {
	return d.loader.Events(ctx, func(e loader.DropEvent) {
		kind := control.EventDrop
		if e.Reason.Verdict() != "drop" {
			kind = control.EventShadow
		}
		d.broadcast.send(control.Event{
			Time: d.engine.Moment(e.Boot), Type: kind,
			Packet: &control.Packet{
				Interface: d.nics.nameOf(e.Slot), Source: e.Source.String(), Protocol: protocolName(e.Protocol),
				SourcePort: e.SourcePort, DestinationPort: e.DestPort, Length: e.Length, Reason: e.Reason.String(),
			},
		})
	})
}

// protocolName returns the name of an IP protocol, or its number.
func protocolName(p uint8) string {
	names := map[uint8]string{1: "icmp", 4: "ipip", 6: "tcp", 17: "udp", 33: "dccp", 41: "ipv6", 47: "gre", 50: "esp", 51: "ah", 58: "icmpv6", 132: "sctp", 136: "udplite"}
	if name, ok := names[p]; ok {
		return name
	}
	return strconv.Itoa(int(p))
}

// serveMetrics serves Prometheus until ctx is done.
func (d *Daemon) serveMetrics(ctx context.Context, l net.Listener) error {
	handler, err := metrics.Handler(d.metrics, slog.NewLogLogger(d.log.Handler(), slog.LevelError))
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       time.Minute,
		WriteTimeout:      30 * time.Second,
	}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("%s: %w", l.Addr(), err)
	}
	return nil
}
