// Package e2e runs the real paraxiald and paraxialctl on a veth pair between
// namespaces, with real packets.
package e2e

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/json"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/lists"
	"github.com/paraxial/paraxial/tests/lab"
	"github.com/paraxial/paraxial/tests/testenv"
)

func TestMain(m *testing.M) {
	if args := os.Getenv(reporterChild); args != "" {
		os.Exit(runReporter(args))
	}
	lab.MainEach(m)
}

// host is a machine with one wired interface and possibly a daemon.
type host struct {
	*testing.T
	wire   *lab.Wire
	daemon lab.Daemon
	run    *lab.Process // nil while no daemon runs
	filler int          // number of prefixes added only to use space
}

const interfaceName = "up0"

func newHost(t *testing.T, flags ...string) *host {
	t.Helper()
	return newHostOf(t, 1, flags...)
}

// newHostOf returns a host whose interface has several queues.
func newHostOf(t *testing.T, queues int, flags ...string) *host {
	t.Helper()
	testenv.Root(t)
	binaries, err := lab.Build(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	wire, err := lab.NewWireOf(interfaceName, queues)
	if err != nil {
		t.Fatal(err)
	}
	h := &host{T: t, wire: wire, daemon: lab.NewDaemon(binaries, t.TempDir(), interfaceName)}
	h.daemon.Flags = append(h.daemon.Flags, flags...)
	t.Cleanup(h.tearDown)
	return h
}

// tearDown leaves nothing behind for the next test.
func (h *host) tearDown() {
	if h.Failed() && h.run != nil {
		h.Logf("log of the daemon:\n%s", h.run.Log())
	}
	if h.run != nil {
		if err := h.run.Kill(); err != nil {
			h.Error(err)
		}
	}
	h.detach()
	if err := h.wire.Close(); err != nil {
		h.Error(err)
	}
}

func (h *host) detach() {
	h.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if out, err := h.paraxiald(ctx, "detach"); err != nil {
		h.Errorf("detach: %v\n%s", err, out)
	}
}

// paraxiald runs a subcommand of the daemon with the daemon's paths.
func (h *host) paraxiald(ctx context.Context, args ...string) (string, error) {
	args = append(args, "--socket", h.daemon.Socket, "--state-dir", h.daemon.StateDir, "--bpffs", h.daemon.BPFFS)
	out, err := exec.CommandContext(ctx, h.daemon.Binaries.Daemon, args...).CombinedOutput()
	return string(out), err
}

func (h *host) start() {
	h.Helper()
	run, err := h.daemon.Start(h.Context())
	if err != nil {
		h.Fatal(err)
	}
	h.run = run
}

func (h *host) kill() {
	h.Helper()
	if err := h.run.Kill(); err != nil {
		h.Fatal(err)
	}
	h.run = nil
}

// ctl runs paraxialctl, which must exit with the given code.
func (h *host) ctl(code int, args ...string) lab.Result {
	h.Helper()
	r, err := h.daemon.Run(h.Context(), args...)
	if err != nil {
		h.Fatalf("paraxialctl %s: %v", strings.Join(args, " "), err)
	}
	if r.Code != code {
		h.Fatalf("paraxialctl %s: exit code %d, want %d\nstdout: %s\nstderr: %s", strings.Join(args, " "), r.Code, code,
			r.Stdout, r.Stderr)
	}
	return r
}

func ctlJSON[T any](h *host, args ...string) T {
	h.Helper()
	var v T
	r := h.ctl(0, append(args, "-o", "json")...)
	if err := json.Unmarshal([]byte(r.Stdout), &v); err != nil {
		h.Fatalf("paraxialctl %s: %v\n%s", strings.Join(args, " "), err, r.Stdout)
	}
	return v
}

func (h *host) client() *control.Client { return control.NewClient(h.daemon.Socket) }

func (h *host) serve() *lab.Server {
	h.Helper()
	s, err := lab.Serve(serverPort)
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { s.Close() })
	return s
}

const (
	serverPort = 7777
	clientPort = 40000
)

// datagram returns a frame that the server counts.
func (h *host) datagram(src netip.Addr) []byte {
	return h.wire.From(src).UDP(clientPort, serverPort, []byte("hello"))
}

// arrivals sends a datagram from every source and returns the number that arrived from each.
func (h *host) arrivals(s *lab.Server, sources []netip.Addr) map[netip.Addr]int {
	h.Helper()
	const burst = 200
	before := s.Sources()
	for i := 0; i < len(sources); i += burst {
		var frames [][]byte
		for _, src := range sources[i:min(i+burst, len(sources))] {
			frames = append(frames, h.datagram(src))
		}
		if err := h.wire.Send(frames...); err != nil {
			h.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
	h.settle(s)
	arrived := s.Sources()
	for src, n := range before {
		if arrived[src] -= n; arrived[src] == 0 {
			delete(arrived, src)
		}
	}
	return arrived
}

// settle waits until every frame sent so far is dropped or counted by the server.
func (h *host) settle(s *lab.Server) {
	h.Helper()
	ctx, cancel := context.WithTimeout(h.Context(), patience)
	defer cancel()
	if err := h.wire.Settle(ctx, s); err != nil {
		h.Fatal(err)
	}
}

// dropped reports whether a datagram from src is dropped.
func (h *host) dropped(s *lab.Server, src string) bool {
	h.Helper()
	a := netip.MustParseAddr(src)
	return h.arrivals(s, []netip.Addr{a})[a] == 0
}

// list unpacks a list of testdata and returns its path and prefixes.
func list(t *testing.T, name string) (path string, prefixes []netip.Prefix) {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", name+".gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(bufio.NewReader(f))
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), name)
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	list, err := lists.Read(z, lists.Options{})
	if err != nil || list.Bad > 0 {
		t.Fatalf("%s: %v, %d bad lines", name, err, list.Bad)
	}
	for _, e := range list.Entries {
		prefixes = append(prefixes, e.Prefix)
		if _, err := out.WriteString(e.Prefix.String() + "\n"); err != nil {
			t.Fatal(err)
		}
	}
	return path, prefixes
}

func writeFile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "list.txt")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func ipv4(a, b, c, d byte) netip.Addr { return netip.AddrFrom4([4]byte{a, b, c, d}) }
