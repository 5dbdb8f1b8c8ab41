package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/paraxial/paraxial/control"
)

// agentFiles is a folder that the agent's user can use.
func (h *host) agentFiles() (dir string) {
	h.Helper()
	dir, err := os.MkdirTemp("/run", "agent")
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { os.RemoveAll(dir) })
	for _, name := range []string{dir, filepath.Join(dir, "state")} {
		if err := os.MkdirAll(name, 0o755); err != nil {
			h.Fatal(err)
		}
		if err := os.Chown(name, reporterUID, reporterUID); err != nil {
			h.Fatal(err)
		}
	}
	return dir
}

// replace replaces a file as a whole.
func (h *host) replace(path, text string) {
	h.Helper()
	if err := os.WriteFile(path+".new", []byte(text), 0o644); err != nil {
		h.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		h.Fatal(err)
	}
}

// startAgent starts paraxial-agent as the user of the reporter.
func (h *host) startAgent(dir string) *exec.Cmd { return h.startAgentFor("feeds", dir) }

// startAgentFor starts a command of paraxial-agent as the user of the reporter.
func (h *host) startAgentFor(command, dir string) *exec.Cmd {
	h.Helper()
	binary, err := os.Open(h.daemon.Agent) // the build directory may be closed to others
	if err != nil {
		h.Fatal(err)
	}
	defer binary.Close()
	cmd := exec.CommandContext(h.Context(), "/proc/self/fd/3", command,
		"--config", filepath.Join(dir, "agent.yaml"), "--state-dir", filepath.Join(dir, "state"))
	cmd.ExtraFiles, cmd.Dir, cmd.Stderr = []*os.File{binary}, "/", os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: reporterUID, Gid: reporterUID}}
	if err := cmd.Start(); err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd
}

// newAgentHost returns a host with a daemon and the feed x, a file in the folder.
func newAgentHost(t *testing.T) (h *host, dir string) {
	t.Helper()
	h = newHost(t)
	dir = h.agentFiles()
	config := fmt.Sprintf(`
interfaces: [up0]
metrics: off
feeds: [{name: x, url: %s/list, use: block, every: 1h, ttl: 2h}]
reports: {reporters: [{name: feeds, user: "%d", sets: ["*"]}]}
`, dir, reporterUID)
	h.configured(config)
	h.replace(filepath.Join(dir, "agent.yaml"), config)
	h.start()
	return h, dir
}

// TestAgent: a feed is in force, follows its file, is held, accepted and rolled back.
func TestAgent(t *testing.T) {
	h, dir := newAgentHost(t)
	list := filepath.Join(dir, "list")
	h.replace(list, strings.ReplaceAll(someHosts(200), "/32", ""))
	server := h.serve()
	h.startAgent(dir)
	h.waitFor("the set", func() bool { return h.feed("x").Condition == control.FeedFresh })
	if !h.dropped(server, "203.0.113.1") {
		t.Error("a source on the list passes")
	}
	expectEqual(t, "entries", len(h.entriesOf("feed:x")), 200)

	h.replace(list, "203.0.113.1\n")
	if out := h.ctl(0, "feeds", "refresh", "x").Stdout; !strings.Contains(out, "generation 2 is held") {
		t.Errorf("refresh says %q", out)
	}
	h.waitFor("the state", func() bool { return h.feed("x").Condition == control.FeedHeld })
	expectEqual(t, "entries while it is held", len(h.entriesOf("feed:x")), 200)
	if out := h.ctl(0, "feeds", "diff", "x").Stdout; !strings.Contains(out, "0 added, 199 removed") {
		t.Errorf("diff says %.200q", out)
	}
	h.ctl(0, "feeds", "accept", "x")
	expectEqual(t, "entries after accept", len(h.entriesOf("feed:x")), 1)
	h.ctl(0, "feeds", "rollback", "x")
	expectEqual(t, "entries after rollback", len(h.entriesOf("feed:x")), 200)
}

// TestAgentAndDaemonAreKilled: whenever they are killed within a refresh, the set is the old or
// the new one, and no source of both passes.
func TestAgentAndDaemonAreKilled(t *testing.T) {
	h, dir := newAgentHost(t)
	list := filepath.Join(dir, "list")
	all := strings.SplitAfter(someHosts(3000), "\n")
	versions := [2]string{strings.Join(all[:2000], ""), strings.Join(all[1000:3000], "")}
	h.replace(list, versions[0])
	server := h.serve()
	agent := h.startAgent(dir)
	h.waitFor("the set", func() bool { return len(h.entriesOf("feed:x")) == 2000 })
	both := netip.MustParsePrefix(strings.TrimSpace(all[1500])).Addr()
	for n := range 6 {
		h.waitFor("the agent", func() bool { return h.feed("x").Generation > 0 })
		h.replace(list, versions[(n+1)%2])
		refresh := exec.CommandContext(t.Context(), h.daemon.Ctl, "--socket", h.daemon.Socket, "feeds", "refresh", "x")
		if err := refresh.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(rand.IntN(300)) * time.Millisecond)
		if n%2 == 0 {
			agent.Process.Kill()
			agent.Wait()
		} else {
			h.kill()
		}
		refresh.Process.Kill() // it would wait a minute for an agent that is gone
		refresh.Wait()
		if n := h.arrivals(server, []netip.Addr{both})[both]; n > 0 {
			t.Errorf("%d packets of a source in both versions arrived", n)
		}
		if n%2 == 0 {
			agent = h.startAgent(dir)
		} else {
			h.start()
		}
		got := h.entriesOf("feed:x")
		if len(got) != 2000 || got[0] != blockOf(all[0]) && got[0] != blockOf(all[1000]) {
			t.Fatalf("%d entries from %q on: neither the old nor the new set", len(got), got[0])
		}
	}
	h.waitFor("the newest set", func() bool {
		exec.CommandContext(t.Context(), h.daemon.Ctl, "--socket", h.daemon.Socket, "feeds", "refresh", "x").Run()
		return h.entriesOf("feed:x")[0] == blockOf(all[0])
	})
}

// blockOf returns a line of a list as entriesOf returns it.
func blockOf(line string) string { return strings.TrimSpace(line) + " block drop reporter:feeds" }
