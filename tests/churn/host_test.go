package churn

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/paraxial/paraxial/tests/lab"
)

const interfaceName = "churn0"

// host is an interface with the real daemon, which is killed and restarted.
type host struct {
	wire     *lab.Wire
	dir      string
	daemon   lab.Daemon
	run      *lab.Process // nil while no daemon runs
	family   string
	config   string
	roomy    bool // which of two trie capacities is in use
	capacity string

	kills, killedStarts, built, resized int
	complaints                          []string // errors in the daemons' logs
}

func newHost(t *testing.T, f family) *host {
	t.Helper()
	binaries, err := lab.Build(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	wire, err := lab.NewWire(interfaceName)
	if err != nil {
		t.Fatal(err)
	}
	// In memory: only the daemon dies here, not the machine, and without waiting for a disk the
	// test makes many more changes.
	dir, err := os.MkdirTemp("/run", "churn")
	if err != nil {
		t.Fatal(err)
	}
	h := &host{wire: wire, dir: dir, daemon: lab.NewDaemon(binaries, filepath.Join(dir, "state"), interfaceName),
		family: f.name, config: filepath.Join(dir, "paraxiald.yaml")}
	h.daemon.Flags = []string{"--config", h.config, "--log-level", "debug"}
	t.Cleanup(func() {
		if err := h.tearDown(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// tearDown leaves nothing behind for the next test.
func (h *host) tearDown() error {
	errs := []error{h.kill()}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, h.daemon.Daemon, "detach", "--socket", h.daemon.Socket, "--state-dir",
		h.daemon.StateDir, "--bpffs", h.daemon.BPFFS).CombinedOutput()
	if err != nil {
		errs = append(errs, fmt.Errorf("detach: %w\n%s", err, out))
	}
	return errors.Join(append(errs, h.wire.Close(), os.RemoveAll(h.dir))...)
}

// pin returns the path of the interface's pinned link.
func (h *host) pin() string { return filepath.Join(h.daemon.BPFFS, "links", interfaceName) }

// start starts the daemon, sometimes with another capacity, for which it makes new maps and fills
// them while the old ones are in force.
func (h *host) start(ctx context.Context, otherCapacity bool) error {
	if otherCapacity {
		h.roomy = !h.roomy
	}
	entries := 400_000
	if h.roomy {
		entries = 500_000
	}
	if err := os.WriteFile(h.config, fmt.Appendf(nil, "max_entries: %d\n", entries), 0o600); err != nil {
		return err
	}
	run, err := h.daemon.Start(ctx)
	if err != nil {
		h.readLog(err.Error())
		return err
	}
	h.run = run
	return nil
}

// kill sends kill -9 to a running daemon.
func (h *host) kill() error {
	if h.run == nil {
		return nil
	}
	if err := h.run.Kill(); err != nil {
		return err
	}
	h.kills++
	h.readLog(h.run.Log())
	h.run = nil
	return nil
}

// restart leaves the filter alone for a moment, and starts the daemon, which may be killed during
// its start, too.
func (h *host) restart(ctx context.Context, r *rand.Rand) error {
	const (
		alone    = 50 * time.Millisecond
		starting = 400 * time.Millisecond
	)
	time.Sleep(time.Duration(r.Int64N(int64(alone)))) // a random moment, on purpose
	for h.killedStarts == 0 || r.IntN(3) == 0 {
		short, cancel := context.WithTimeout(ctx, time.Duration(1+r.Int64N(int64(starting))))
		err := h.start(short, r.IntN(2) == 0)
		cut := short.Err() != nil
		cancel()
		switch {
		case err == nil:
			return nil // the daemon was faster
		case !cut:
			return err
		}
		h.killedStarts++
	}
	return h.start(ctx, r.IntN(2) == 0)
}

var (
	builtLine     = regexp.MustCompile(`msg="index built" family=(\w+).* capacity=(\d+)`)
	complaintLine = regexp.MustCompile(`.*level=ERROR.*`)
)

// readLog records what a dead daemon has logged about its index and its errors: without an index
// the filter is right but slow, which no verdict would show.
func (h *host) readLog(log string) {
	for _, m := range builtLine.FindAllStringSubmatch(log, -1) {
		if m[1] != h.family {
			continue
		}
		h.built++
		if h.capacity != "" && h.capacity != m[2] {
			h.resized++
		}
		h.capacity = m[2]
	}
	h.complaints = append(h.complaints, complaintLine.FindAllString(strings.TrimSpace(log), -1)...)
}
