package e2e

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/paraxial/paraxial/control"
)

// judgeFilter looks at what has arrived.
func (s *storm) judgeFilter(sent int) {
	s.Helper()
	s.settle(s.server)
	arrived := s.server.Sources()
	blocked, tagged := arrived[netip.MustParseAddr(blockedSource)], arrived[netip.MustParseAddr(taggedSource)]
	s.Logf("%d packets of the blocked source sent, %d arrived; of the clean one %d arrived", sent, blocked,
		arrived[netip.MustParseAddr(calmSource)])
	s.expect("packets of blocked sources never arrive", sent > 0 && blocked == 0, "%d of %d arrived", blocked, sent)
	s.expect("tagged packets of blocked sources never arrive", tagged == 0, "%d of %d arrived", tagged,
		s.notes["tagged frames"])
}

// rootsWait is how long root's commands may take, in multiples of the time of a command that asks
// no daemon. It is measured at the same time, so the attackers and all other work on the machine
// slow both down. On a quiet machine it is about a quarter of a second.
const rootsWait = 20

// judgeWaits checks that root does not wait for the work of others.
func (s *storm) judgeWaits() {
	s.Helper()
	for _, part := range []int{50, 99} {
		alone := quantile(s.alone, part)
		most := rootsWait * alone
		s.Logf("%d%% of commands that ask no daemon took %s at most: root's may take %s", part, alone, most)
		for _, command := range slices.Sorted(maps.Keys(s.took)) {
			took := quantile(s.took[command], part)
			s.Logf("%d%% of %d times %s took %s at most", part, len(s.took[command]), command, took)
			s.expect("root's commands are answered soon", took <= most, "%d%% of %s took %s at most, want %s", part,
				command, took, most)
		}
	}
}

// quantile returns the time that a part of all, in percent, took at most.
func quantile(all []time.Duration, percent int) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[min(len(sorted)-1, len(sorted)*percent/100)]
}

// judgeLog checks that a storm of decisions has few lines, so that it does not bury an alarm.
func (s *storm) judgeLog() {
	s.Helper()
	const perSecond = 11 // ten decisions and a summary
	most := perSecond*(int(time.Since(s.begun).Seconds())+2) + 50
	decisions := strings.Count(s.log(), `msg="detector `)
	s.Logf("%d lines in the log, of these %d about decisions", strings.Count(s.log(), "\n"), decisions)
	s.expect("decisions do not flood the log", decisions <= most,
		"%d lines about decisions, want %d at most", decisions, most)
}

// judgeMemory checks that the memory sufficed.
func (s *storm) judgeMemory() {
	s.Helper()
	s.alive()
	if s.cgroup == nil {
		n := s.anonymous() << 10
		s.expect("the daemon is not killed", n < hostileMemory, "%d bytes of memory, want %d at most", n, hostileMemory)
		return
	}
	s.Logf("most memory of the daemon, with the kernel's for it: %d MiB of %d", s.cgroup.peak()>>20, hostileMemory>>20)
	n := s.cgroup.kills()
	s.expect("the daemon is not killed", n == 0, "killed %d times for lack of memory", n)
}

// flat waits until the entries of members have ended. Then memory and files are as before, except
// for maps of drop counters: each has 65,536 of them, and 65,536 that were freed rest before they
// are used again. Blocks of both families, and counters at rest, fill at most three more maps than
// the list of prepare.
func (s *storm) flat(files, memory int) {
	s.Helper()
	files += 3
	const spare = 48 << 10 // KiB, which Go keeps
	most := memory + memory/4 + spare
	is := func() bool { return s.files() <= files && s.anonymous() <= most }
	const pause = 100 * time.Millisecond
	for end := time.Now().Add(s.period + 2*patience); !is() && time.Now().Before(end); time.Sleep(pause) {
		_, _ = s.client().Status(s.Context()) // a daemon that is not asked has no reason to collect garbage
	}
	s.Logf("files: %d allowed, %d after; memory: %d KiB before, %d KiB after", files, s.files(), memory, s.anonymous())
	s.expect("files are flat", s.files() <= files, "%d files are open, %d are allowed: %v", s.files(), files,
		s.targets())
	s.expect("memory is flat", s.anonymous() <= most, "%d KiB of memory, %d KiB before", s.anonymous(), memory)
}

// targets counts the open files of the daemon by what they refer to.
func (s *storm) targets() map[string]int {
	targets := map[string]int{}
	fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", s.run.PID()))
	for _, fd := range fds {
		to, _ := os.Readlink(fd)
		targets[strings.TrimRight(to, "[0123456789]")]++
	}
	return targets
}

// expectAcknowledged checks that every block that was acknowledged is listed.
func (s *storm) expectAcknowledged(when string) {
	s.Helper()
	listed := map[string]bool{}
	err := s.client().Entries(s.Context(), "block", "", func(e control.Entry) error {
		listed[e.Prefix] = true
		return nil
	})
	check(s.T, err)
	var lost []string
	for prefix := range s.acked {
		if !listed[prefix] {
			lost = append(lost, prefix)
		}
	}
	slices.Sort(lost)
	s.Logf("%d blocks were acknowledged, %d of them are lost %s", len(s.acked), len(lost), when)
	s.expect("no acknowledged block is lost", len(lost) == 0, "%s, of %d blocks %d are lost: %v", when, len(s.acked),
		len(lost), lost[:min(5, len(lost))])
}

// restartBesideStranger kills the daemon. A stranger takes its metrics port before the next one starts.
func (s *storm) restartBesideStranger() {
	s.Helper()
	s.kill()
	var port net.Listener
	err := asUser(nobody, nil, func() (err error) {
		for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
			if port, err = net.Listen("tcp", hostileMetrics); err == nil || time.Now().After(end) {
				return err
			}
		}
	})
	check(s.T, err)
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	run, err := s.daemon.Start(ctx)
	s.expect("the daemon starts without its metrics port", err == nil, "%v", err)
	check(s.T, port.Close())
	if err != nil {
		s.start()
		return
	}
	s.run = run
	serves := func() error {
		status, err := getMetrics(ctx)
		if err == nil && status != 200 {
			err = fmt.Errorf("status %d", status)
		}
		return err
	}
	for err = serves(); err != nil && pause(ctx, 100*time.Millisecond); err = serves() {
	}
	s.expect("the metrics are back once the port is free", err == nil, "%v", err)
}
