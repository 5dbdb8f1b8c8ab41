package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/tests/lab"
)

const (
	nobody      = 65534
	socketGroup = 7007 // a group id that no group has
)

// as runs a command as another user with the given groups, and returns its output and exit code.
func (h *host) as(groups []uint32, command string, args ...string) lab.Result {
	h.Helper()
	var stdout, stderr bytes.Buffer
	// A limit, because watch does not end by itself if the user is admitted.
	ctx, cancel := context.WithTimeout(h.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, command, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = "/", &stdout, &stderr
	cmd.Env = []string{"PATH=/usr/bin:/bin", "PARAXIAL_SOCKET=" + h.daemon.Socket}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody, Groups: groups}}
	if err := cmd.Run(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		h.Fatalf("%s as nobody: %v", command, err)
	}
	return lab.Result{Stdout: stdout.String(), Stderr: stderr.String(), Code: cmd.ProcessState.ExitCode()}
}

// newSharedHost returns a host whose daemon has a socket for a group, and whose files are protected
// only by their own modes.
func newSharedHost(t *testing.T) *host {
	t.Helper()
	h := newHost(t)
	h.configured("interfaces: [up0]\nsocket_group: \"7007\"\n")
	h.daemon.Flags = append(h.daemon.Flags, "--metrics", "127.0.0.1:19799")
	h.daemon.StateDir = "/run/paraxial-state"
	t.Cleanup(func() { os.RemoveAll(h.daemon.StateDir) })
	if err := os.Chmod(filepath.Dir(h.daemon.BPFFS), 0o755); err != nil {
		t.Fatal(err)
	}
	h.start()
	return h
}

// Users outside the group can do nothing on the socket.
func TestStrangerIsKeptOut(t *testing.T) {
	h := newSharedHost(t)
	h.ctl(0, "block", "203.0.113.1")
	for _, args := range [][]string{
		{"status"}, {"list"}, {"stats"}, {"why", "203.0.113.1"}, {"unblock", "203.0.113.1"}, {"block", "203.0.113.2"},
		{"allow", "203.0.113.1"}, {"detectors"}, {"top", "-o", "json"}, {"watch"}, {"export"}, {"confirm"},
	} {
		r := h.as(nil, h.daemon.Ctl, args...)
		if r.Code == 0 || r.Stdout != "" || !strings.Contains(r.Stderr, "join the group") {
			t.Errorf("%s by a stranger: exit code %d\nstdout: %s\nstderr: %s", args, r.Code, r.Stdout, r.Stderr)
		}
	}
	if r := h.as(nil, h.daemon.Binaries.Daemon, "detach", "--socket", h.daemon.Socket, "--state-dir", h.daemon.StateDir,
		"--bpffs", h.daemon.BPFFS); r.Code == 0 {
		t.Errorf("a stranger may detach: %+v", r)
	}
	h.expectUntouched("203.0.113.1/32")
}

// Members of the group may change entries, under their own name, and nothing else.
func TestMemberOfTheGroup(t *testing.T) {
	h := newSharedHost(t)
	groups := []uint32{socketGroup}
	if r := h.as(groups, h.daemon.Ctl, "block", "203.0.113.1"); r.Code != 0 {
		t.Fatalf("block: %+v", r)
	}
	if e := ctlJSON[[]control.Entry](h, "list", "blocks"); e[0].Author != "uid:65534" {
		t.Errorf("the author is %s, not the caller", e[0].Author)
	}
	if r := h.as(groups, h.daemon.Ctl, "why", "203.0.113.1"); !strings.Contains(r.Stdout, "203.0.113.1") ||
		r.Code != 0 {
		t.Errorf("why: %+v", r)
	}
	detach := []string{"detach", "--socket", h.daemon.Socket, "--state-dir", h.daemon.StateDir, "--bpffs",
		h.daemon.BPFFS}
	if r := h.as(groups, h.daemon.Binaries.Daemon, detach...); r.Code == 0 ||
		!strings.Contains(r.Stderr, "only root may") {
		t.Errorf("detach: %+v", r)
	}
	h.expectUntouched("203.0.113.1/32")
}

// Only root, and not the group, may use files, pins, and the folder of the socket.
func TestFilesAreRoots(t *testing.T) {
	h := newSharedHost(t)
	h.ctl(0, "block", "203.0.113.1")
	link := filepath.Join(h.daemon.BPFFS, "links", interfaceName)
	for _, groups := range [][]uint32{nil, {socketGroup}} {
		for _, script := range []string{
			"ls " + h.daemon.StateDir, "cat " + filepath.Join(h.daemon.StateDir, "state.db"),
			"echo > " + filepath.Join(h.daemon.StateDir, "new"),
			"ls " + h.daemon.BPFFS, "ls " + filepath.Dir(link), "rm -f " + link,
			"mkdir " + filepath.Join(h.daemon.BPFFS, "gen-99"),
			"rm -f " + h.daemon.Socket, "mv " + h.daemon.Socket + " /tmp/stolen",
			"touch " + filepath.Join(filepath.Dir(h.daemon.Socket), "x"),
			fmt.Sprintf("kill -9 %d", h.run.PID()),
		} {
			if r := h.as(groups, "/bin/sh", "-c", script); r.Code == 0 || r.Stdout != "" {
				t.Errorf("%s, in groups %v: exit code %d\n%s%s", script, groups, r.Code, r.Stdout, r.Stderr)
			}
		}
	}
	h.expectUntouched("203.0.113.1/32")
}

// Every user of the machine can read the metrics, so they contain no source, no reason and no
// author.
func TestMetricsTellNoSecrets(t *testing.T) {
	h := newSharedHost(t)
	h.ctl(0, "block", "203.0.113.77", "--reason", "a-secret-reason")
	h.ctl(0, "allow", "2001:db8:77::/48", "--reason", "a-secret-reason")
	r, err := http.Get("http://127.0.0.1:19799/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), `paraxial_entries{family="ipv4",kind="block",origin="cli"} 1`) {
		t.Errorf("the response contains no metrics:\n%s", text)
	}
	for _, secret := range []string{"203.0.113", "2001:db8", "secret", "uid:", h.daemon.StateDir} {
		if strings.Contains(string(text), secret) {
			t.Errorf("the metrics contain %q:\n%s", secret, text)
		}
	}
	post, err := http.Post("http://127.0.0.1:19799/metrics", "text/plain", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	post.Body.Close()
	if post.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("a POST to the metrics: %s", post.Status)
	}
}

// expectUntouched checks that the daemon filters and has exactly one block.
func (h *host) expectUntouched(prefix string) {
	h.Helper()
	s := ctlJSON[control.Status](h, "status")
	if len(s.Interfaces) != 1 || !s.Interfaces[0].Protected {
		h.Errorf("interfaces: %+v", s.Interfaces)
	}
	if e := ctlJSON[[]control.Entry](h, "list"); len(e) != 1 || e[0].Prefix != prefix {
		h.Errorf("entries: %+v, want %s alone", e, prefix)
	}
}
