package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/tests/lab"
)

// manyConnections is how many connections make changes at the same time.
const manyConnections = 16

// A changesRow is the number of single blocks that a daemon acknowledges in a second, durable and
// enforced, from one connection and from many.
type changesRow struct {
	Disk        string   `json:"disk"` // the file system of the state directory
	One         float64  `json:"one_per_second"`
	OneLatency  quantile `json:"one_ms"`
	Many        float64  `json:"many_per_second"`
	ManyLatency quantile `json:"many_ms"`
}

func (r *report) measureChanges(ctx context.Context, quick bool, bin lab.Binaries, log logger) error {
	r.Changes = nil
	period := 5 * time.Second
	if quick {
		period = time.Second
	}
	for _, base := range []string{"/run", "/var/tmp"} {
		row, err := measureChangesIn(ctx, base, bin, period)
		if err != nil {
			return fmt.Errorf("measure changes with the state in %s: %w", base, err)
		}
		log("changes: %s, %d connections: %.1f times the rate of one", row.Disk, manyConnections, row.Many/row.One)
		r.Changes = append(r.Changes, row)
	}
	return nil
}

func measureChangesIn(ctx context.Context, base string, bin lab.Binaries,
	period time.Duration) (row changesRow, err error) {
	dir, err := os.MkdirTemp(base, "changes")
	if err != nil {
		return row, fmt.Errorf("make a state directory: %w", err)
	}
	defer os.RemoveAll(dir)
	if row.Disk, err = fileSystem(dir); err != nil {
		return row, err
	}
	wire, err := lab.NewWire(hostName)
	if err != nil {
		return row, err
	}
	defer func() { err = errors.Join(err, wire.Close()) }()
	d := lab.NewDaemon(bin, filepath.Join(dir, "state"), wire.Host)
	p, err := d.Start(ctx)
	if err != nil {
		return row, err
	}
	defer func() { err = errors.Join(err, p.Kill(), detach(ctx, d)) }()
	b := blocker{socket: d.Socket}
	if _, _, err := b.run(ctx, manyConnections, period/5); err != nil { // warm up
		return row, err
	}
	if row.One, row.OneLatency, err = b.run(ctx, 1, period); err != nil {
		return row, err
	}
	row.Many, row.ManyLatency, err = b.run(ctx, manyConnections, period)
	return row, err
}

// fileSystem returns the kind of file system that a folder is on.
func fileSystem(dir string) (string, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return "", fmt.Errorf("read the file system of %s: %w", dir, err)
	}
	if s.Type == unix.TMPFS_MAGIC {
		return "tmpfs", nil
	}
	return "disk", nil
}

// blocker blocks a different address with each request.
type blocker struct {
	socket string
	last   atomic.Uint32
}

// run blocks from n connections for a period.
func (b *blocker) run(ctx context.Context, n int,
	period time.Duration) (perSecond float64, latency quantile, err error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var running sync.WaitGroup
	took := make([][]time.Duration, n)
	begin := time.Now()
	for i := range n {
		running.Go(func() {
			client := b.connection()
			defer client.CloseIdleConnections()
			for time.Since(begin) < period && ctx.Err() == nil {
				start := time.Now()
				if err := b.block(ctx, client); err != nil {
					stop(err)
					return
				}
				took[i] = append(took[i], time.Since(start))
			}
		})
	}
	running.Wait()
	elapsed := time.Since(begin)
	if err := context.Cause(ctx); err != nil {
		return 0, quantile{}, err
	}
	var all []time.Duration
	for _, t := range took {
		all = append(all, t...)
	}
	return float64(len(all)) / elapsed.Seconds(), quantiles(all), nil
}

// connection returns a client that keeps its connection open.
func (b *blocker) connection() *http.Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", b.socket)
	}
	return &http.Client{Transport: &http.Transport{DialContext: dial}}
}

func (b *blocker) block(ctx context.Context, client *http.Client) error {
	n := b.last.Add(1)
	a := netip.AddrFrom4([4]byte{198, 18 + byte(n>>16&1), byte(n >> 8), byte(n)})
	body, err := json.Marshal(control.BlockRequest{Prefixes: []string{a.String()}, Origin: "bench"})
	if err != nil {
		return fmt.Errorf("encode a request: %w", err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://paraxial/v1/block", bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("make a request: %w", err)
	}
	answer, err := client.Do(r)
	if err != nil {
		return fmt.Errorf("block %s: %w", a, err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		return errors.Join(fmt.Errorf("block %s: %s: %s", a, answer.Status, text), err)
	}
	return nil
}
