package e2e

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/tests/lab"
	"github.com/paraxial/paraxial/tests/testenv"
)

// previous returns another version of the programs, and reports whether the layout of its maps
// differs: the programs in the folder PARAXIAL_PREVIOUS, or else those of lab.BuildPast.
func (h *host) previous() (b lab.Binaries, otherShape bool) {
	h.Helper()
	if dir := os.Getenv("PARAXIAL_PREVIOUS"); dir != "" {
		return lab.InDir(dir), false
	}
	return h.past(), true
}

// past returns the version of lab.BuildPast.
func (h *host) past() lab.Binaries {
	h.Helper()
	b, err := lab.BuildPast(h.Context())
	if err != nil {
		h.Fatal(err)
	}
	return b
}

func (h *host) stop() {
	h.Helper()
	if err := h.run.Stop(h.Context()); err != nil {
		h.Fatal(err)
	}
	h.run = nil
}

// counted returns the packets counted as dropped by the interface, and the drops of the blocked
// source's entry.
func (h *host) counted() (packets, drops uint64, estimated bool) {
	h.Helper()
	packets = ctlJSON[control.Stats](h, "stats").Interfaces[0].Reasons["blocked"].Packets
	for _, e := range ctlJSON[[]control.Entry](h, "list", "blocks") {
		if e.Prefix == blockedSource+"/32" {
			return packets, e.Drops, e.DropsEstimated
		}
	}
	h.Fatalf("%s is not listed", blockedSource)
	return 0, 0, false
}

// judge ends the traffic of a test, and checks that no packet of the blocked source arrived.
func (h *host) judge(s *lab.Server, stop func() int) (sent int) {
	h.Helper()
	sent = stop()
	h.settle(s)
	arrived := s.Sources()
	if n := arrived[netip.MustParseAddr(blockedSource)]; n > 0 {
		h.Errorf("%d of %d packets of the blocked source got through", n, sent)
	}
	n := arrived[netip.MustParseAddr(freeSource)]
	// A few packets are lost if the receiver does not get a CPU in time.
	if n < sent*9/10 || n == 0 {
		h.Errorf("%d of %d packets of the clean source arrived", n, sent)
	}
	h.Logf("%d packets of the blocked source dropped; %d of %d of the clean one arrived", sent, n, sent)
	return sent
}

// One version takes over from another while traffic of both families flows: with the same maps, with
// other maps, and back. Nothing gets through, and the counters are kept.
func TestUpgrade(t *testing.T) {
	h := newHost(t)
	s := h.serve()
	present := h.daemon.Binaries
	past, otherShape := h.previous()
	h.daemon.Binaries = past
	h.start()
	const blocked6, free6 = "2001:db8:b::1", "2001:db8:f::1"
	h.ctl(0, "block", blockedSource, "--for", "1h")
	h.ctl(0, "block", "2001:db8:b::/64", "2001:db8:a::/48", "2001:db8:b::2")
	stop := h.sendAllAlong(blockedSource, freeSource, blocked6, free6)
	for _, step := range []struct {
		name string
		to   lab.Binaries
		over bool // the maps are replaced
	}{
		{"to the present version", present, otherShape},
		{"to the same version", present, false},
		{"back to the previous version", past, otherShape},
		{"to the present version again", present, otherShape},
	} {
		time.Sleep(200 * time.Millisecond)
		packets, drops, _ := h.counted()
		h.stop()
		h.daemon.Binaries = step.to
		h.start()
		if log := h.run.Log(); step.over != strings.Contains(log, "are replaced by new ones") {
			t.Errorf("%s: maps replaced according to the log: %t, want %t:\n%s", step.name, !step.over, step.over, log)
		}
		packetsNow, dropsNow, _ := h.counted()
		if packetsNow <= packets || dropsNow <= drops || drops == 0 {
			t.Errorf("%s: %d packets and %d drops were counted, and then %d and %d", step.name, packets, drops,
				packetsNow, dropsNow)
		}
		if left, _ := filepath.Glob(filepath.Join(h.daemon.BPFFS, "gen-*")); len(left) != 1 {
			t.Errorf("%s: generations left: %v", step.name, left)
		}
	}
	sent := uint64(h.judge(s, stop))
	arrived := s.Sources()
	if n := arrived[netip.MustParseAddr(blocked6)]; n > 0 {
		t.Errorf("%d packets of the blocked IPv6 source got through", n)
	}
	if n := arrived[netip.MustParseAddr(free6)]; uint64(n) < sent*9/10 {
		t.Errorf("%d of %d packets of the clean IPv6 source arrived", n, sent)
	}
	packets, drops, estimated := h.counted()
	if drops != sent && !estimated {
		t.Errorf("%d drops counted for the entry, %d packets were sent", drops, sent)
	}
	// Packets between the last copy of the counters and the switch are not counted.
	if packets > 2*sent || packets < sent {
		t.Errorf("%d packets counted as blocked, %d were sent of each family", packets, sent)
	}
	testenv.Figure(t, packets >= sent*2*95/100, "%d packets counted as blocked, %d were sent of each family",
		packets, sent)
	t.Logf("%d packets counted for the interface and %d for the entry, of %d of each family", packets, drops, sent)
}

// A version that does not know the format on disk refuses to start, reports it, and changes
// nothing. The newer version then continues.
func TestOlderVersionIsRefused(t *testing.T) {
	h := newHost(t)
	s := h.serve()
	present, past := h.daemon.Binaries, h.past()
	h.start()
	h.ctl(0, "block", blockedSource)
	h.ctl(0, "block", "198.18.0.0/28", "--limit", "1/s")
	stop := h.sendAllAlong(blockedSource, freeSource)
	h.stop()
	file := filepath.Join(h.daemon.StateDir, "state.db")
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	h.daemon.Binaries = past
	_, err = h.daemon.Start(h.Context())
	if err == nil ||
		!strings.Contains(err.Error(),
			"written by a newer paraxiald (format 2, this one reads 1): start the newer version") {
		t.Errorf("an older version over a newer state file: %v", err)
	}
	if after, err := os.ReadFile(file); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the refused version has changed the state file, %v", err)
	}
	h.daemon.Binaries = present
	h.start()
	h.judge(s, stop)
	if n := len(ctlJSON[[]control.Entry](h, "list", "blocks")); n != 2 {
		t.Errorf("%d entries, want 2", n)
	}
}

// The daemon ends and restarts repeatedly: stopped or killed, also during its start, and sometimes
// as another version. PARAXIAL_RESTARTS and PARAXIAL_UPGRADES set how often.
func TestRestartsAndUpgrades(t *testing.T) {
	restarts, upgrades := timesOf(t, "PARAXIAL_RESTARTS", 8), timesOf(t, "PARAXIAL_UPGRADES", 4)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	h := newHost(t)
	s := h.serve()
	previous, _ := h.previous()
	versions := []lab.Binaries{h.daemon.Binaries, previous}
	h.start()
	h.ctl(0, "block", blockedSource)
	stop := h.sendAllAlong(blockedSource, freeSource)
	var last uint64
	killedStarts := 0
	for i := range restarts + upgrades {
		if r.IntN(2) == 0 {
			h.kill()
		} else {
			h.stop()
		}
		// Upgrades are spread evenly.
		if i*upgrades/(restarts+upgrades) != (i+1)*upgrades/(restarts+upgrades) {
			versions[0], versions[1] = versions[1], versions[0]
			h.daemon.Binaries = versions[0]
		}
		for r.IntN(4) == 0 && h.killedWhileStarting(time.Duration(1+r.IntN(400))*time.Millisecond) {
			killedStarts++
		}
		if h.run == nil {
			h.start()
		}
		packets, _, _ := h.counted()
		if packets < last {
			t.Errorf("restart %d: %d packets counted as blocked, and %d before", i, packets, last)
		}
		last = packets
	}
	t.Logf("%d restarts and %d upgrades, %d more were killed in the middle of the start", restarts, upgrades,
		killedStarts)
	h.judge(s, stop)
}

// killedWhileStarting starts the daemon and kills it after the given time, unless it is ready
// first.
func (h *host) killedWhileStarting(after time.Duration) bool {
	h.Helper()
	short, cancel := context.WithTimeout(h.Context(), after)
	defer cancel()
	run, err := h.daemon.Start(short)
	if err == nil {
		h.run = run
		return false
	}
	if !errors.Is(short.Err(), context.DeadlineExceeded) {
		h.Fatal(err)
	}
	return true
}

// timesOf reads a number from the environment.
func timesOf(t *testing.T, variable string, otherwise int) int {
	t.Helper()
	s := os.Getenv(variable)
	if s == "" {
		return otherwise
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatalf("%s: %v", variable, err)
	}
	return n
}
