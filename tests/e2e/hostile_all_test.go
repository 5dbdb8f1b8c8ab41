package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/paraxial/paraxial/tests/lab"
	"github.com/paraxial/paraxial/tests/testenv"
)

const (
	hostileMetrics = "127.0.0.1:19798"
	hostileEntries = 100_000 // max_entries
	hostileMemory  = 512 << 20

	floodSource  = "203.0.113.66"  // goes on above the limit of the detector
	taggedSource = "203.0.113.210" // is blocked, and sends frames with VLAN tags
	sshSource    = "198.51.100.66" // has a silent connection to port 22
	calmSource   = "198.51.100.200"
)

// hostileConfig has one detector, which the traffic of calmSource does not concern, and room for
// few bans, so that a flood of forged sources soon exceeds it.
const hostileConfig = `
interfaces: [up0, alarm0]
max_entries: %d
socket_group: "%d"
detection: {max_bans: 300, breaker: {bans_per_minute: 60}}
detectors:
  - name: syn-flood
    match: {proto: tcp, flags: syn}
    limit: 50/s
    window: 1s
    action: block
    for: 1h
`

// storm is a host that everybody attacks at once, and a record of what was expected of its daemon.
type storm struct {
	*host
	server *lab.Server
	shell  *rootShell
	cgroup *memoryGroup // nil if none can be made
	pid    int          // of the daemon at the beginning
	ended  string       // what daemons logged that have ended
	begun  time.Time
	over   time.Time // when root stops to work, even if little was answered
	period time.Duration
	took   map[string][]time.Duration // by commands of root, with their scrapes
	alone  []time.Duration            // of a command that asks no daemon, meanwhile

	mu       sync.Mutex
	examined map[string]int      // how often, by expectation
	broken   map[string][]string // how, by expectation
	acked    map[string]bool     // prefixes whose block was acknowledged
	notes    map[string]int      // what the actors did
}

// actor attacks until ctx is done. Each has a goroutine of its own.
type actor struct {
	name string
	run  func(ctx context.Context, s *storm)
}

func actors() []actor {
	return []actor{
		{"scrapers", scrapeWithoutEnd},
		{"members", floodAsMember},
		{"greedy", attackAsMembers},
		{"spoofer", forgeSources},
		{"tagger", sendTagged},
		{"router", flapRoutes},
		{"stranger", tryAsStranger},
	}
}

// Everybody attacks one daemon at once, under traffic and with little memory: the filter is never off,
// root is answered, and nothing that was acknowledged is lost. Each expectation is a subtest.
// PARAXIAL_HOSTILE_SECONDS sets how long, PARAXIAL_HOSTILE_ACTORS names a part of the actors.
func TestHostileAllAtOnce(t *testing.T) {
	testenv.Root(t)
	s := newStorm(t)
	s.prepare()
	files, memory := s.files(), s.anonymous()
	stop := s.traffic()
	s.rage()
	sent := stop()
	s.judgeFilter(sent)
	s.judgeLog()
	s.judgeMemory()
	s.flat(files, memory)
	s.expectAcknowledged("at the end")
	s.restartBesideStranger()
	s.expectAcknowledged("after kill -9 and a restart")
	s.judgeWaits()
	s.report()
}

func newStorm(t *testing.T) *storm {
	t.Helper()
	cgroup, err := newMemoryGroup(hostileMemory)
	if err != nil {
		t.Logf("no memory cgroup, so the daemon's own memory is watched instead: %v", err)
	} else {
		t.Cleanup(func() { check(t, cgroup.remove()) }) // after the daemon has ended
	}
	s := &storm{
		host: newHost(t), cgroup: cgroup, took: map[string][]time.Duration{}, examined: map[string]int{},
		broken: map[string][]string{}, acked: map[string]bool{}, notes: map[string]int{},
		period: time.Duration(timesOf(t, "PARAXIAL_HOSTILE_SECONDS", 10)) * time.Second,
	}
	s.addLink(alarmName)
	s.configured(fmt.Sprintf(hostileConfig, hostileEntries, socketGroup))
	s.daemon.Flags = append(s.daemon.Flags, "--metrics", hostileMetrics)
	// On a disk: files in memory count for the cgroup, and can not be given back.
	dir, err := os.MkdirTemp("", "hostile")
	check(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	s.daemon.StateDir = filepath.Join(dir, "state")
	// Only their own modes protect the files and the pins.
	check(t, errors.Join(os.Chmod(dir, 0o755), os.Chmod(filepath.Dir(s.daemon.BPFFS), 0o755)))
	if cgroup != nil {
		s.daemon.Daemon = cgroup.wrap(t, s.daemon.Daemon)
	}
	s.start()
	s.server = s.serve()
	s.shell = newRootShell(t)
	return s
}

// prepare blocks, bans and fills the maps before the attacks begin.
func (s *storm) prepare() {
	s.Helper()
	first := []string{"block", blockedSource, taggedSource}
	for i := range 50 {
		first = append(first, fmt.Sprintf("100.126.0.%d/32", i))
	}
	s.ctl(0, first...)
	for _, prefix := range first[3:] {
		s.acknowledge(prefix)
	}
	s.Cleanup(s.banFlood())
	s.fill()
	s.ctl(0, "why", blockedSource) // the daemon keeps a second program to ask, from the first question on
}

// banFlood sends from floodSource until the end, and waits until it is banned.
func (s *storm) banFlood() (stop func()) {
	s.Helper()
	end := s.wire.Stream(s.syn(netip.MustParseAddr(floodSource)))
	s.within(floodSource+" is banned", patience, func() bool { return len(s.blocks("syn-flood")) > 0 })
	return func() {
		if _, err := end(); err != nil {
			s.Error(err)
		}
	}
}

// fill imports a list that leaves no room for another prefix of IPv6. If lists must leave some
// room, it imports a smaller one.
func (s *storm) fill() {
	s.Helper()
	for _, n := range []int{hostileEntries, hostileEntries * 15 / 16} {
		var list strings.Builder
		for i := range n {
			fmt.Fprintf(&list, "2a0e:%x:%x::/48\n", i>>16, i&0xffff)
		}
		r, err := s.daemon.Run(s.Context(), "import", writeFile(s.T, list.String()), "--origin", "full", "--force")
		check(s.T, err)
		s.Logf("a list of %d with max_entries %d: exit code %d %s", n, hostileEntries, r.Code,
			strings.TrimSpace(r.Stderr))
		if r.Code == 0 {
			return
		}
	}
	s.Fatal("no list fills the maps")
}

// traffic sends from a blocked and a clean source until stop is called.
func (s *storm) traffic() (stop func() int) {
	s.Helper()
	end := s.wire.Stream(s.datagram(netip.MustParseAddr(blockedSource)), s.datagram(netip.MustParseAddr(calmSource)))
	return func() int {
		sent, err := end()
		if err != nil {
			s.Error(err)
		}
		return sent
	}
}

// rage has all actors attack while root works.
func (s *storm) rage() {
	s.Helper()
	ctx, cancel := context.WithCancel(s.Context())
	defer cancel()
	only := os.Getenv("PARAXIAL_HOSTILE_ACTORS")
	var running sync.WaitGroup
	s.begun, s.pid = time.Now(), s.run.PID()
	s.over = s.begun.Add(s.period + 2*patience)
	for _, a := range actors() {
		if only == "" || slices.Contains(strings.Split(only, ","), a.name) {
			running.Go(func() { a.run(ctx, s) })
		}
	}
	stop := s.connectSilently()
	s.operate()
	stop()
	cancel()
	running.Wait()
}

// expect records whether an expectation holds this time.
func (s *storm) expect(name string, holds bool, format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.examined[name]++
	if !holds {
		at := time.Since(s.begun).Round(100 * time.Millisecond)
		s.broken[name] = append(s.broken[name], fmt.Sprintf("after %s: ", at)+fmt.Sprintf(format, args...))
	}
}

func (s *storm) note(what string, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notes[what] += n
}

// acknowledge records a block that the daemon has confirmed.
func (s *storm) acknowledge(prefix string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.acked[netip.MustParsePrefix(prefix).String()] = true
}

// report fails a subtest for each expectation that did not hold.
func (s *storm) report() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, what := range slices.Sorted(maps.Keys(s.notes)) {
		s.Logf("%s: %d", what, s.notes[what])
	}
	const shown = 5
	for _, name := range slices.Sorted(maps.Keys(s.examined)) {
		s.Run(name, func(t *testing.T) {
			t.Logf("examined %d times", s.examined[name])
			for _, how := range s.broken[name][:min(shown, len(s.broken[name]))] {
				t.Error(how)
			}
			if n := len(s.broken[name]) - shown; n > 0 {
				t.Errorf("and %d times more", n)
			}
		})
	}
}

// alive starts the daemon again if it has ended, which it must not do.
func (s *storm) alive() {
	s.Helper()
	ended := s.run.Signal(syscall.Signal(0)) != nil
	s.expect("the daemon is not killed", !ended, "the daemon ended; kills for lack of memory: %d", s.cgroup.kills())
	if !ended {
		return
	}
	s.ended += s.run.Log()
	s.Logf("log of the daemon that ended:\n%s", tail(s.run.Log(), 5))
	for end := time.Now().Add(patience); ; {
		ctx, cancel := context.WithTimeout(s.Context(), patience)
		run, err := s.daemon.Start(ctx)
		cancel()
		s.expect("the daemon starts under attack", err == nil, "%v", err)
		if err == nil {
			s.run = run
			return
		}
		if time.Now().After(end) {
			s.report()
			s.Fatal("the daemon does not start any more")
		}
	}
}

// log is what all daemons of the storm have logged.
func (s *storm) log() string { return s.ended + s.run.Log() }

// tail returns the last lines of a text.
func tail(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

func newRand(salt uint64) *rand.Rand { return rand.New(rand.NewPCG(rand.Uint64(), salt)) }
