package loader

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// stranger is a uid that no account has.
const stranger = 60001

// asStranger runs a command as another user, who has no capabilities.
func asStranger(t *testing.T, args ...string) error {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: stranger, Gid: stranger}}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// remount gives a directory for pins to all users, as `mount -t bpf` without options does.
func remount(t *testing.T, dir, mode string) {
	t.Helper()
	mountPoint := filepath.Dir(dir)
	check(t, unix.Unmount(mountPoint, 0))
	check(t, unix.Mount("bpf", mountPoint, "bpf", 0, "mode="+mode))
	for at := filepath.Dir(mountPoint); at != "/" && at != os.TempDir(); at = filepath.Dir(at) {
		check(t, os.Chmod(at, 0o755))
	}
}

// A directory in which another user can remove the pins is refused, with the command that
// mends it. After that command the start succeeds.
func TestPinsOfAStranger(t *testing.T) {
	do := func(t *testing.T, args ...string) {
		t.Helper()
		check(t, asStranger(t, args...))
	}
	tests := []struct {
		name   string
		mode   string // of the BPF file system
		before func(t *testing.T, dir string)
		says   string // with DIR and MOUNT
		mend   func(dir string) error
	}{
		{
			"mounted for all", "1777", func(*testing.T, string) {}, "run `chmod go-rwx MOUNT`",
			func(dir string) error { return os.Chmod(filepath.Dir(dir), 0o700) },
		},
		{
			"made by a stranger", "1777", func(t *testing.T, dir string) {
				do(t, "mkdir", dir)
				check(t, os.Chmod(filepath.Dir(dir), 0o755)) // too late
			}, "DIR belongs to uid 60001, who could remove the filter: run `chown root: DIR && chmod go-rwx DIR`",
			func(dir string) error { return os.Chown(dir, 0, 0) },
		},
		{
			"links made by a stranger", "1777", func(t *testing.T, dir string) {
				do(t, "mkdir", dir, filepath.Join(dir, linksDir))
				check(t, os.Chown(dir, 0, 0))
				check(t, os.Chmod(filepath.Dir(dir), 0o755))
			}, "DIR/links belongs to uid 60001",
			func(dir string) error { return os.Chown(filepath.Join(dir, linksDir), 0, 0) },
		},
		{
			"generation made by a stranger", "1777", func(t *testing.T, dir string) {
				do(t, "mkdir", dir, filepath.Join(dir, "gen-3"))
				check(t, os.Chown(dir, 0, 0))
				check(t, os.Chmod(filepath.Dir(dir), 0o755))
			}, "DIR/gen-3 belongs to uid 60001",
			func(dir string) error { return os.Chown(filepath.Join(dir, "gen-3"), 0, 0) },
		},
		{
			"writable by the group", "0755", func(t *testing.T, dir string) {
				check(t, os.Mkdir(dir, 0o700))
				check(t, os.Chmod(dir, 0o770))
			}, "other users may write to DIR (mode 0770)", func(dir string) error { return os.Chmod(dir, 0o700) },
		},
		{
			"a symbolic link of a stranger", "1777", func(t *testing.T, dir string) {
				other := filepath.Join(filepath.Dir(dir), "other")
				check(t, os.Mkdir(other, 0o700))
				do(t, "ln", "-s", other, dir)
				check(t, os.Chmod(filepath.Dir(dir), 0o755))
			}, "DIR belongs to uid 60001", os.Remove,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := bpffs(t)
			remount(t, dir, tt.mode)
			tt.before(t, dir)
			want := strings.NewReplacer("DIR", dir, "MOUNT", filepath.Dir(dir)).Replace(tt.says)
			l, err := Open(Options{BPFFS: dir, MaxEntries: 1})
			if err == nil {
				check(t, l.Close())
				t.Fatalf("no error, want %q", want)
			}
			if !strings.Contains(err.Error(), want) {
				t.Errorf("error %q, want %q in it", err, want)
			}
			check(t, tt.mend(dir))
			open(t, dir, 1)
			for _, args := range [][]string{{"rm", "-r", filepath.Join(dir, linksDir)}, {"mv", dir, dir + "x"}} {
				if err := asStranger(t, args...); err == nil {
					t.Errorf("a stranger may %s", strings.Join(args, " "))
				}
			}
		})
	}
}

// Another user may have made the directory, and have links removed: detach works there.
func TestDetachFromTheDirectoryOfAStranger(t *testing.T) {
	dir := bpffs(t)
	veth(t, "str1")
	l := open(t, dir, 1)
	attach(t, l, "str1", ModeNative, 0)
	check(t, l.Close())
	check(t, os.Chown(dir, stranger, stranger))
	if names, err := detachAll(t, dir); err != nil || len(names) != 1 {
		t.Errorf("detach: %v, %v", names, err)
	}
	if _, err := os.Lstat(dir); !os.IsNotExist(err) {
		t.Errorf("the directory is still there: %v", err)
	}
}
