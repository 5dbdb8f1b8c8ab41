package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// stranger is a uid that no account has.
const stranger = 60001

// A stranger who makes the directory for pins could later remove the links. The daemon
// refuses it, doctor tells of it, and the command in the error mends it.
func TestDirectoryOfAStranger(t *testing.T) {
	h := newHost(t, "--metrics", metricsAddress)
	mount := filepath.Join("/run", "pins-of-a-stranger")
	check(t, os.Mkdir(mount, 0o755))
	check(t, unix.Mount("bpf", mount, "bpf", 0, "")) // mode 1777
	t.Cleanup(func() {
		h.detach()
		check(t, unix.Unmount(mount, unix.MNT_DETACH))
	})
	h.daemon.BPFFS = filepath.Join(mount, "paraxial")
	mkdir := exec.Command("mkdir", h.daemon.BPFFS)
	mkdir.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: stranger, Gid: stranger}}
	if out, err := mkdir.CombinedOutput(); err != nil {
		t.Fatalf("mkdir as a stranger: %v\n%s", err, out)
	}
	inBackquotes := regexp.MustCompile("run `([^`]+)`")
	for _, path := range []string{mount, h.daemon.BPFFS} {
		run, err := h.daemon.Start(h.Context())
		if err == nil {
			h.run = run
			t.Fatalf("the daemon starts although a stranger may change %s", path)
		}
		command := inBackquotes.FindStringSubmatch(err.Error())
		if command == nil || !strings.Contains(command[1], path) {
			t.Fatalf("the error does not say how to mend %s: %v", path, err)
		}
		if r := h.ctl(1, "doctor", interfaceName, "--bpffs", h.daemon.BPFFS); !strings.Contains(r.Stdout, command[1]) {
			t.Errorf("doctor does not say to run %s:\n%s", command[1], r.Stdout)
		}
		if out, err := exec.Command("sh", "-c", command[1]).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", command[1], err, out)
		}
	}
	h.start()
	h.protected(interfaceName)
}

// Files that are not ours among the pins stop neither a start nor detach.
func TestStrayFilesAmongPins(t *testing.T) {
	h := blocked(t)
	s := h.serve()
	h.kill()
	strays := []string{
		filepath.Join(h.daemon.BPFFS, "links", "notes"), filepath.Join(h.daemon.BPFFS, "gen-1", "prog_notes"),
		filepath.Join(h.daemon.BPFFS, "gen-notes"),
	}
	for _, path := range strays {
		check(t, os.Mkdir(path, 0o700))
	}
	h.start()
	for _, path := range strays {
		if !strings.Contains(h.run.Log(), path) {
			t.Errorf("the log does not name %s", path)
		}
	}
	h.protected(interfaceName)
	if !h.dropped(s, blockedSource) {
		t.Error("not dropped after the start")
	}
	h.kill()
	ctx, cancel := context.WithTimeout(h.Context(), time.Minute)
	defer cancel()
	out, err := h.paraxiald(ctx, "detach")
	if err != nil || !strings.Contains(out, "detached: "+interfaceName) {
		t.Errorf("detach: %v\n%s", err, out)
	}
	if h.dropped(s, blockedSource) {
		t.Error("still dropped after detach")
	}
	for _, path := range strays {
		if err := os.Remove(path); err != nil {
			t.Errorf("not ours: %v", err)
		}
		if !strings.Contains(out, path) {
			t.Errorf("detach does not name %s:\n%s", path, out)
		}
	}
}

// detach --all finds the pins without the configuration, and also if a daemon runs.
func TestDetachAll(t *testing.T) {
	for _, running := range []bool{false, true} {
		t.Run(fmt.Sprintf("running %t", running), func(t *testing.T) { detachAll(t, running) })
	}
}

func detachAll(t *testing.T, running bool) {
	h := blocked(t)
	s := h.serve()
	if !running {
		h.kill()
	}
	file := filepath.Join(t.TempDir(), "invalid.yaml")
	check(t, os.WriteFile(file, []byte("interfaces: [\n"), 0o600))
	detach := func(args ...string) (string, error) {
		ctx, cancel := context.WithTimeout(h.Context(), time.Minute)
		defer cancel()
		args = append([]string{"detach", "--config", file, "--socket", h.daemon.Socket}, args...)
		out, err := exec.CommandContext(ctx, h.daemon.Binaries.Daemon, args...).CombinedOutput()
		return string(out), err
	}
	if out, err := detach(); err == nil || !strings.Contains(out, "paraxiald detach --all") {
		t.Errorf("detach with an invalid configuration: %v\n%s", err, out)
	}
	out, err := detach("--all")
	if err != nil || !strings.Contains(out, "detached: ") {
		t.Errorf("detach --all: %v\n%s", err, out)
	}
	if h.dropped(s, blockedSource) {
		t.Error("still dropped after detach --all")
	}
	if _, err := os.Stat(h.daemon.BPFFS); !os.IsNotExist(err) {
		t.Errorf("the pins are still there: %v", err)
	}
	if out, err := detach("--all"); err != nil || !strings.Contains(out, "nothing to detach on any BPF file system") {
		t.Errorf("detach --all again: %v\n%s", err, out)
	}
	if running {
		ctx, cancel := context.WithTimeout(h.Context(), time.Minute)
		check(t, h.run.Wait(ctx))
		cancel()
		h.run = nil
	}
}
