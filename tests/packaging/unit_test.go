package packaging

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/paraxial/paraxial/tests/lab"
	"github.com/paraxial/paraxial/tests/testenv"
)

const (
	unit      = repository + "/packaging/paraxiald.service"
	agentUnit = repository + "/packaging/paraxial-agent-feeds.service"
	logsUnit  = repository + "/packaging/paraxial-agent-logs.service"
)

// TestUnitIsValid checks the units, and their exposure, in tenths: of the daemon 2.7 of 10 at most,
// 0.3 of it for CAP_SYS_PTRACE.
func TestUnitIsValid(t *testing.T) {
	s := newMachine(t)
	s.chrooted()
	need(t, "systemd-analyze")
	for _, u := range []struct{ file, program, exposure string }{
		{unit, "paraxiald", "27"}, {agentUnit, "paraxial-agent", "13"}, {logsUnit, "paraxial-agent", "6"},
	} {
		s.do("cp", "/bin/true", "/usr/sbin/"+u.program)
		installed := "/usr/lib/systemd/system/" + filepath.Base(u.file)
		s.copy(u.file, installed)
		if out := s.do("systemd-analyze", "verify", "--man=no", installed); strings.Contains(out, "paraxial") {
			t.Errorf("systemd-analyze verify says:\n%s", out)
		}
		if out, err := s.try("systemd-analyze", "security", "--offline=true", "--threshold="+u.exposure,
			installed); err != nil {
			t.Errorf("systemd-analyze security says:\n%s", out)
		}
	}
}

// TestUnitBounds: other users cannot have the daemon ended for want of memory, and it
// cannot take all that a host has.
func TestUnitBounds(t *testing.T) {
	content := read(t, unit)
	setting := func(name string) string {
		m := regexp.MustCompile(`(?m)^` + name + `=(.+)$`).FindSubmatch(content)
		if m == nil {
			t.Errorf("the unit does not set %s", name)
			return ""
		}
		return string(m[1])
	}
	number := func(name string) int {
		n, err := strconv.Atoi(setting(name))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		return n
	}
	if n := number("OOMScoreAdjust"); n > -900 || n == -1000 {
		t.Errorf("OOMScoreAdjust=%d: want the daemon to be among the last that the kernel ends, but not exempt", n)
	}
	if m := setting("MemoryMax"); !strings.HasSuffix(m, "%") {
		t.Errorf("MemoryMax=%s: want a share, because max_entries may need several GiB", m)
	}
	const connections = 512 + 64 // of control and metrics
	if n := number("LimitNOFILE"); n < 4*connections {
		t.Errorf("LimitNOFILE=%d is not far above the %d connections that there may be", n, connections)
	}
	if n := number("TasksMax"); n < connections {
		t.Errorf("TasksMax=%d is less than the %d requests that there may be", n, connections)
	}
}

// capabilities returns those that the unit leaves the daemon.
func capabilities(t *testing.T) []string {
	t.Helper()
	content, err := os.ReadFile(unit)
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^CapabilityBoundingSet=(.+)$`).FindStringSubmatch(string(content))
	if m == nil {
		t.Fatal("the unit does not limit the capabilities")
	}
	var all []string
	for _, c := range strings.Fields(m[1]) {
		all = append(all, strings.ToLower(strings.TrimPrefix(c, "CAP_")))
	}
	return all
}

// TestCapabilities runs the daemon with the capabilities of the unit, which are sufficient, and
// with each of them missing in turn, which is not.
func TestCapabilities(t *testing.T) {
	testenv.Root(t)
	need(t, "setpriv")
	all := capabilities(t)
	t.Run("all", func(t *testing.T) {
		s := newBare(t, all)
		s.work(t)
	})
	for i, missing := range all {
		if missing == "sys_ptrace" {
			continue // only the guard needs it, and then says so
		}
		t.Run("without "+missing, func(t *testing.T) {
			s := newBare(t, slices.Delete(slices.Clone(all), i, i+1))
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			run, err := s.daemon.Start(ctx)
			if err == nil {
				run.Kill()
				t.Fatalf("it starts without %s", missing)
			}
			if !strings.Contains(err.Error(), "needs root, or CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON") {
				t.Errorf("the error does not say what is needed: %v", err)
			}
		})
	}
}

// bare is a daemon without a machine around it.
type bare struct {
	*site
	daemon lab.Daemon
}

// newBare returns a daemon that runs as root with these capabilities and no others.
func newBare(t *testing.T, caps []string) *bare {
	t.Helper()
	binaries, err := lab.Build(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	set := "-all"
	for _, c := range caps {
		set += ",+" + c
	}
	wrapper := filepath.Join(t.TempDir(), "paraxiald")
	script := "#!/bin/sh\nexec setpriv --bounding-set " + set +
		" --inh-caps -all --ambient-caps -all --no-new-privs --groups 0 " + binaries.Daemon + ` "$@"` + "\n"
	if err := os.WriteFile(wrapper, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	s := &site{machine: &machine{T: t}}
	s.wired()
	d := lab.NewDaemon(lab.Binaries{Daemon: wrapper, Ctl: binaries.Ctl}, t.TempDir(), "eth0")
	b := &bare{s, d}
	t.Cleanup(b.detach)
	return b
}

func (s *bare) detach() {
	s.Helper()
	args := []string{"detach", "--socket", s.daemon.Socket, "--state-dir", s.daemon.StateDir, "--bpffs", s.daemon.BPFFS}
	if out, err := exec.Command(s.daemon.Binaries.Daemon, args...).CombinedOutput(); err != nil {
		s.Errorf("detach: %v\n%s", err, out)
	}
}

// work exercises all that a daemon does.
func (s *bare) work(t *testing.T) {
	t.Helper()
	config := filepath.Join(t.TempDir(), "paraxiald.yaml")
	set := func(content string) {
		if err := os.WriteFile(config, []byte("interfaces: [eth0]\nmetrics: off\n"+content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	set("")
	s.daemon.Flags = []string{"--config", config}
	run, err := s.daemon.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer run.Kill()
	ctl := func(want string, args ...string) {
		t.Helper()
		r, err := s.daemon.Run(t.Context(), args...)
		if err != nil || r.Code != 0 || !strings.Contains(r.Stdout, want) {
			t.Errorf("paraxialctl %s: %v, exit code %d\n%s%s\n%s", strings.Join(args, " "), err, r.Code, r.Stdout,
				r.Stderr, run.Log())
		}
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", run.PID()))
	if err != nil {
		t.Fatal(err)
	}
	if bound := regexp.MustCompile(`CapBnd:\s+(\w+)`).FindStringSubmatch(string(status)); bound == nil ||
		bound[1] != "000000c000081000" {
		t.Errorf("the daemon's bounding set is %v, not that of bpf, perfmon, net_admin and sys_ptrace", bound)
	}
	ctl("blocked", "block", enemy)
	s.filtered("blocked")
	ctl("drop", "why", enemy)
	ctl("blocked", "stats")
	set("detectors:\n- {name: udp, match: {proto: udp}, limit: 10k/s, window: 2s, action: shadow}\n")
	if err := run.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	s.eventually("it is reloaded", func() error {
		r, err := s.daemon.Run(t.Context(), "detectors")
		if err == nil && !strings.Contains(r.Stdout, "udp") {
			err = errors.New(r.Stdout + r.Stderr)
		}
		return err
	})
	ctl("unblocked", "unblock", enemy)
	if n := s.arrivals(enemy); n != 50 {
		t.Errorf("unblocked: %d of 50 packets arrived", n)
	}
	if err := run.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if run, err = s.daemon.Start(t.Context()); err != nil {
		t.Fatalf("start over the running filter: %v", err)
	}
	s.detach()
	if err := run.Wait(t.Context()); err != nil {
		t.Errorf("detached: %v", err)
	}
	if _, err := os.Stat(s.daemon.BPFFS); err == nil {
		t.Error("detached, but pins still exist")
	}
}
