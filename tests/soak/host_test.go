package soak

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/tests/lab"
)

const (
	wireName   = "soak0" // carries the traffic
	flapName   = "soak1" // goes up and down, and is removed
	serverPort = 7777
	metricsAt  = "127.0.0.1:19797"

	settled = time.Minute // ongoing work ends within this time
)

// host is a machine with two interfaces and a daemon that is killed and restarted.
type host struct {
	wire     *lab.Wire
	server   *lab.Server
	dir      string
	daemon   lab.Daemon
	client   *control.Client
	run      *lab.Process // nil while no daemon runs
	config   settings
	restarts int
	errors   []string // logged by the daemons
}

// settings are the contents of the configuration file.
type settings struct {
	flap     bool // the second interface is filtered, too
	guarded  bool // a prefix must never be blocked
	detect   bool
	capacity int
}

func (s settings) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "interfaces: [%s%s]\nmax_entries: %d\n", wireName, map[bool]string{true: ", " + flapName}[s.flap],
		s.capacity)
	if s.guarded {
		b.WriteString("guard:\n  never_block: [198.51.100.0/24]\n")
	}
	if s.detect {
		// The traffic here does not reach the limit, so every packet is accounted for and none is
		// decided upon.
		b.WriteString("detectors:\n  - {name: quiet, match: {proto: udp}, limit: 1M/s, window: 2s, action: block, " +
			"for: 10s}\n")
	}
	return b.String()
}

func newHost(t *testing.T) *host {
	t.Helper()
	binaries, err := lab.Build(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// In memory: the machine does not die here, and without a disk there is more churn.
	dir, err := os.MkdirTemp("/run", "soak")
	if err != nil {
		t.Fatal(err)
	}
	h := &host{dir: dir, daemon: lab.NewDaemon(binaries, filepath.Join(dir, "state")),
		config: settings{flap: true, capacity: capacities[0]}}
	h.daemon.Flags = []string{"--config", filepath.Join(dir, "paraxiald.yaml"), "--metrics", metricsAt}
	h.client = control.NewClient(h.daemon.Socket)
	t.Cleanup(func() {
		if err := h.tearDown(); err != nil {
			t.Error(err)
		}
	})
	if h.wire, err = lab.NewWire(wireName); err == nil {
		h.server, err = lab.Serve(serverPort)
	}
	if err = errors.Join(err, h.addFlapping()); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *host) tearDown() error {
	errs := []error{h.kill(), h.detach()}
	if h.server != nil {
		errs = append(errs, h.server.Close())
	}
	if h.wire != nil {
		errs = append(errs, h.wire.Close())
	}
	return errors.Join(append(errs, h.removeFlapping(), os.RemoveAll(h.dir))...)
}

func (h *host) detach() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, h.daemon.Binaries.Daemon, "detach", "--socket", h.daemon.Socket, "--state-dir",
		h.daemon.StateDir, "--bpffs", h.daemon.BPFFS).CombinedOutput()
	if err != nil {
		return fmt.Errorf("detach: %w\n%s", err, out)
	}
	return nil
}

func (h *host) addFlapping() error {
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: flapName}, PeerName: flapName +
		"p"}); err != nil {
		return fmt.Errorf("add %s: %w", flapName, err)
	}
	return h.setFlapping(true)
}

func (h *host) removeFlapping() error {
	lk, err := netlink.LinkByName(flapName)
	if err != nil {
		return fmt.Errorf("find %s: %w", flapName, err)
	}
	return netlink.LinkDel(lk)
}

func (h *host) setFlapping(up bool) error {
	for _, name := range []string{flapName, flapName + "p"} {
		lk, err := netlink.LinkByName(name)
		if err != nil {
			return fmt.Errorf("find %s: %w", name, err)
		}
		set := netlink.LinkSetDown
		if up {
			set = netlink.LinkSetUp
		}
		if err := set(lk); err != nil {
			return fmt.Errorf("set %s up %t: %w", name, up, err)
		}
	}
	return nil
}

func (h *host) writeConfig() error {
	return os.WriteFile(filepath.Join(h.dir, "paraxiald.yaml"), []byte(h.config.String()), 0o600)
}

func (h *host) start(ctx context.Context) error {
	if err := h.writeConfig(); err != nil {
		return err
	}
	run, err := h.daemon.Start(ctx)
	if err != nil {
		return err
	}
	h.run = run
	h.restarts++
	return nil
}

// reload makes the daemon read its configuration again, and waits until it has.
func (h *host) reload() error {
	const done = "configuration reloaded"
	before := strings.Count(h.run.Log(), done)
	if err := errors.Join(h.writeConfig(), h.run.Signal(syscall.SIGHUP)); err != nil {
		return err
	}
	return within(settled, func() error {
		if strings.Count(h.run.Log(), done) > before {
			return nil
		}
		return fmt.Errorf("the configuration was not reloaded:\n%s\n%s", h.config, h.run.Log())
	})
}

func (h *host) stop(ctx context.Context) error {
	err := h.run.Stop(ctx)
	h.ended()
	return err
}

// kill sends kill -9 if a daemon runs.
func (h *host) kill() error {
	if h.run == nil {
		return nil
	}
	err := h.run.Kill()
	h.ended()
	return err
}

// ended reads the errors that the daemon has logged.
func (h *host) ended() {
	for line := range strings.Lines(h.run.Log()) {
		// Expected: the test removes the interface.
		if strings.Contains(line, "level=ERROR") && !strings.Contains(line, "interface="+flapName) {
			h.errors = append(h.errors, line)
		}
	}
	h.run = nil
}

func (h *host) frame(src netip.Addr) []byte {
	return h.wire.From(src).UDP(40000, serverPort, []byte("hello"))
}

// within calls f until it succeeds or the time has passed, and returns its last error.
func within(limit time.Duration, f func() error) error {
	const pause = 50 * time.Millisecond
	for deadline := time.Now().Add(limit); ; time.Sleep(pause) {
		err := f()
		if err == nil || time.Now().After(deadline) {
			return err
		}
	}
}
