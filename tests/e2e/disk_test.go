package e2e

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/tests/lab"
	"github.com/paraxial/paraxial/tests/testenv"
)

const quickDetector = `
detectors:
  - name: udp-flood
    match: {proto: udp, port: 7777}
    limit: 200/s
    window: 2s
    action: block
    for: 1h
`

// onDisk returns a host with detectors that keeps its state in dir.
func onDisk(t *testing.T, dir string) *host {
	t.Helper()
	h := newHost(t, "--config", writeConfig(t, filepath.Join(t.TempDir(), "paraxiald.yaml"), quickDetector))
	h.daemon.StateDir = dir
	h.daemon.Flags = append(h.daemon.Flags, "--metrics", metricsAddr)
	h.start()
	h.ctl(0, "block", blockedSource)
	return h
}

// cannotSave checks which operations continue and which fail while nothing can be saved.
func (h *host) cannotSave(s *lab.Server, why string) {
	h.Helper()
	if r := h.ctl(1, "block", "198.51.100.7"); !strings.Contains(r.Stderr, "nothing was changed") ||
		!strings.Contains(r.Stderr, why) {
		h.Errorf("the error does not name the cause:\n%s", r.Stderr)
	}
	h.reportsFailedSaves()
	if h.dropped(s, "198.51.100.7") || !h.dropped(s, blockedSource) {
		h.Error("a failed request was partly carried out")
	}
	offender := netip.MustParseAddr("198.51.100.1")
	stop := h.floodUntilBanned(offender, 2000, "udp-flood")
	defer stop()
	bans := h.blocks("udp-flood")
	if len(bans) != 1 || !strings.HasPrefix(bans[0].Reason, "volatile, not saved: ") {
		h.Fatalf("the ban of a detector: %+v\n%s", bans, h.run.Log())
	}
	if !h.dropped(s, offender.String()) {
		h.Error("the volatile ban is not in force")
	}
	if !strings.Contains(h.run.Log(), "bans of detectors and rules are volatile") {
		h.Error("the log does not report the volatile bans")
	}
	h.warns(true, "1 ban of detectors and rules is in force, but not saved")
}

func mountTmpfs(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	check(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size))
	t.Cleanup(func() { check(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	return dir
}

func TestDiskFull(t *testing.T) {
	testenv.Root(t)
	dir := mountTmpfs(t, "2m")
	h := onDisk(t, dir)
	s, ballast := h.serve(), filepath.Join(dir, "ballast")
	fill(t, ballast)
	// The file may have room for some more.
	for _, n := range []int{1000, 100, 1, 1, 1} {
		h.within("nothing more fits", time.Minute, func() bool { return !h.takeRoom(n) })
	}
	before := ctlJSON[control.Status](h, "status").Blocks
	h.cannotSave(s, "no space left on device")
	check(t, os.Remove(ballast))
	h.within("the volatile ban is saved", 2*time.Minute, func() bool {
		return strings.Contains(h.run.Log(),
			"are saved now")
	})
	h.warns(false, "not saved")
	h.warns(false, "could not be saved")
	if bans := h.blocks("udp-flood"); len(bans) != 1 || strings.Contains(bans[0].Reason, "volatile") {
		t.Errorf("the ban after there was room again: %+v", bans)
	}
	h.ctl(0, "block", "198.51.100.7")
	h.kill()
	h.start()
	if got := ctlJSON[control.Status](h, "status").Blocks; got != before+2 {
		t.Errorf("%d blocks after a restart, want %d", got, before+2)
	}
}

// takeRoom adds n blocks whose only purpose is to use space, and reports whether there was room.
func (h *host) takeRoom(n int) bool {
	h.Helper()
	args := []string{"block"}
	for range n {
		h.filler++
		args = append(args, fmt.Sprintf("2001:db8:f:%x::/64", h.filler))
	}
	r, err := h.daemon.Run(h.Context(), args...)
	check(h.T, err)
	if r.Code != 0 && !strings.Contains(r.Stderr, "no space left on device") {
		h.Fatalf("exit code %d: %s", r.Code, r.Stderr)
	}
	return r.Code == 0
}

// fill uses up the free space of the file system.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	check(t, err)
	defer f.Close()
	for {
		if _, err := f.Write(make([]byte, 4096)); err != nil {
			if !errors.Is(err, unix.ENOSPC) {
				t.Fatal(err)
			}
			return
		}
	}
}

// The file system becomes read-only while the daemon has its file open, as after a disk error.
func TestDiskReadOnly(t *testing.T) {
	testenv.Root(t)
	dir, device := mountExt4(t)
	h := onDisk(t, dir)
	s := h.serve()
	check(t, os.WriteFile(filepath.Join("/sys/fs/ext4", filepath.Base(device), "trigger_fs_error"), []byte("test"), 0))
	h.ctl(1, "allow", blockedSource)
	h.cannotSave(s, "read-only file system")
	h.kill()
	if !h.dropped(s, blockedSource) {
		t.Error("the filter ended with the daemon")
	}
	_, err := h.daemon.Start(h.Context())
	if err == nil || !strings.Contains(err.Error(), "read-only file system") || !strings.Contains(err.Error(), dir) {
		t.Errorf("starting on a read-only file system: %v", err)
	}
}

// mountExt4 mounts a small file system that becomes read-only on an error.
func mountExt4(t *testing.T) (dir, device string) {
	t.Helper()
	for _, tool := range []string{"mkfs.ext4", "mount", "umount", "findmnt"} {
		if _, err := exec.LookPath(tool); err != nil {
			testenv.Missing(t, "needs "+tool+" of e2fsprogs or util-linux")
		}
	}
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		testenv.Missing(t, "needs loop devices (modprobe loop)")
	}
	image := filepath.Join(mountTmpfs(t, "20m"), "image")
	check(t, os.WriteFile(image, make([]byte, 16<<20), 0o600))
	run := func(name string, args ...string) string {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", name, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	run("mkfs.ext4", "-q", "-F", image)
	dir = t.TempDir()
	run("mount", "-o", "loop,errors=remount-ro", image, dir)
	t.Cleanup(func() { check(t, exec.Command("umount", dir).Run()) })
	return dir, run("findmnt", "-n", "-o", "SOURCE", dir)
}
