package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/tests/lab"
)

// count returns what an environment variable says, or what is enough for a test
// that runs with all others.
func count(t *testing.T, variable string, enough int) int {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return enough
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", variable, err)
	}
	return n
}

// steady is a host under packets of a blocked and of a free source, which do not
// pause while the daemon comes and goes.
type steady struct {
	*host
	server *lab.Server
	stop   func() int
	seen   uint64 // packets that the interface had counted when it was last looked
}

const steadyBlocked, steadyFree = "203.0.113.99", "198.51.100.99"

func newSteady(t *testing.T) *steady {
	t.Helper()
	h := newHost(t)
	s := &steady{host: h, server: h.serve()}
	h.start()
	h.ctl(0, "block", steadyBlocked)
	s.stop = h.sendAllAlong(steadyBlocked, steadyFree)
	return s
}

// look checks that the block is there, that the interface is protected, and that
// counting went on.
func (s *steady) look(what string) {
	s.Helper()
	status := ctlJSON[control.Status](s.host, "status")
	if status.Blocks != 1 || !status.Interfaces[0].Protected {
		s.Fatalf("%s: %+v", what, status)
	}
	stats := ctlJSON[control.Stats](s.host, "stats")
	if n := stats.Interfaces[0].Packets; n <= s.seen {
		s.Errorf("%s: %d packets are counted, and %d were before", what, n, s.seen)
	} else {
		s.seen = n
	}
}

// finish checks that not a packet of the blocked source has arrived, and enough
// of the other.
func (s *steady) finish() {
	s.Helper()
	sent := s.stop()
	s.server.Settle(1<<62, 200*time.Millisecond)
	arrived := s.server.Sources()
	blocked, free := arrived[netip.MustParseAddr(steadyBlocked)], arrived[netip.MustParseAddr(steadyFree)]
	s.Logf("%d packets of each source sent; of the blocked one %d arrived, of the free one %d", sent, blocked, free)
	if blocked > 0 {
		s.Errorf("%d of %d packets of the blocked source got through", blocked, sent)
	}
	if free < sent*9/10 {
		s.Errorf("only %d of %d packets of the free source arrived", free, sent)
	}
}

// The daemon is stopped and killed, over and over.
func TestRestarts(t *testing.T) {
	s := newSteady(t)
	random := rand.New(rand.NewPCG(rand.Uint64(), 0))
	for i := range count(t, "PARAXIAL_RESTARTS", 10) {
		how := "stop"
		if random.IntN(2) == 0 {
			how = "kill"
			s.kill()
		} else if err := s.run.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.start()
		s.look(fmt.Sprintf("restart %d after a %s", i, how))
	}
	s.finish()
}

// The daemon is replaced by one of another version, whose maps are the same or
// have another shape, so that they have to be made anew beside those in force.
func TestUpgrades(t *testing.T) {
	s := newSteady(t)
	versions := []string{"1.0.0", "1.1.0"}
	binaries := buildVersions(t, versions)
	capacities := []int{1 << 20, 1 << 20, 1 << 16}
	for i := range count(t, "PARAXIAL_UPGRADES", 6) {
		version, capacity := versions[i%len(versions)], capacities[i%len(capacities)]
		config := filepath.Join(t.TempDir(), "paraxiald.yaml")
		if err := os.WriteFile(config, fmt.Appendf(nil, "max_entries: %d\n", capacity), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := s.run.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.daemon.Binaries, s.daemon.Flags = binaries[i%len(binaries)], []string{"--config", config}
		s.start()
		s.look(fmt.Sprintf("upgrade %d", i))
		if got := ctlJSON[control.Status](s.host, "status").Version; got != version {
			t.Fatalf("version %s runs, not %s", got, version)
		}
	}
	s.finish()
}

// buildVersions builds the programs once for each version.
func buildVersions(t *testing.T, versions []string) (all []lab.Binaries) {
	t.Helper()
	for _, v := range versions {
		dir := t.TempDir()
		out, err := exec.CommandContext(t.Context(), "go", "build", "-ldflags", "-X main.version="+v, "-o", dir, "../../cmd/paraxiald", "../../cmd/paraxialctl").CombinedOutput()
		if err != nil {
			t.Fatalf("build version %s: %v\n%s", v, err, out)
		}
		all = append(all, lab.InDir(dir))
	}
	return all
}
