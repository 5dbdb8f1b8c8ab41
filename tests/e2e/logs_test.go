package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestLogs: lines of a file become an entry that drops packets. Hostile names hold nobody else,
// and lines count once although the agent and the daemon are killed.
func TestLogs(t *testing.T) {
	h := newHost(t)
	dir := h.agentFiles()
	log := filepath.Join(dir, "auth.log")
	config := fmt.Sprintf(`
interfaces: [up0]
metrics: off
rules: [{name: login, limit: 3, window: 10m, action: block, for: 1h}]
logs: [{name: sshd, file: %s, format: sshd, rule: login}]
reports: {reporters: [{name: logs, user: "%d", rules: ["*"]}]}
`, log, reporterUID)
	h.configured(config)
	h.replace(filepath.Join(dir, "agent.yaml"), config)
	h.replace(log, "")
	h.start()
	server := h.serve()
	agent := h.startAgentFor("logs", dir)
	h.waitFor("the log", func() bool { return strings.Contains(h.ctl(0, "logs").Stdout, "sshd  read") })
	fail := func(addr, user string) {
		t.Helper()
		f, err := os.OpenFile(log, os.O_APPEND|os.O_WRONLY, 0)
		if err == nil {
			_, err = fmt.Fprintf(f, "%s h sshd[1]: Failed password for invalid user %s from %s port 4 ssh2\n",
				time.Now().Format(time.RFC3339Nano), user, addr)
			f.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for range 4 {
		fail("198.51.100.9", "a from 203.0.113.5 port 22 ssh2")
	}
	h.waitFor("the ban", func() bool { return len(h.entriesOf("rule:login")) == 1 })
	if !h.dropped(server, "198.51.100.9") || h.dropped(server, "203.0.113.5") {
		t.Errorf("entries %q", h.entriesOf("rule:login"))
	}
	if out := h.ctl(0, "why", "198.51.100.9").Stdout; !strings.Contains(out, log) {
		t.Errorf("why does not name the place of the lines:\n%s", out)
	}

	// Two lines before and one behind each kill are three, which is no ban. A line that
	// counts twice would be one. A restart of the daemon forgets the counts.
	for n := range 3 {
		source := fmt.Sprintf("198.51.100.%d", 20+n)
		fail(source, "b")
		fail(source, "c")
		agent.Process.Kill()
		agent.Wait()
		fail(source, "d")
		agent = h.startAgentFor("logs", dir)
	}
	h.kill()
	for range 4 {
		fail("198.51.100.30", "e")
	}
	h.start()
	h.waitFor("the ban of what was written meanwhile", func() bool {
		return slices.ContainsFunc(h.entriesOf("rule:login"), func(e string) bool {
			return strings.HasPrefix(e, "198.51.100.30")
		})
	})
	expectEqual(t, "entries", len(h.entriesOf("rule:login")), 2)
}
