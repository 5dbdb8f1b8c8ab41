package probe

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/paraxial/paraxial/doctor"
	"github.com/paraxial/paraxial/tests/testenv"
)

func TestHost(t *testing.T) {
	testenv.Root(t)
	f := look(t, Options{})
	if f.Root == nil || *f.Root&(1<<12) == 0 {
		t.Errorf("root's capabilities: %v", f.Root)
	}
	h := f.Host
	if h.Release == "" || h.CPUs < 1 || h.ClockSynced == nil || !h.BPFFS.BPF || h.BPFFS.Path != "/sys/fs/bpf" ||
		h.StateDir.Free == 0 || h.StateDir.BPF || h.StateDir.ReadOnly {
		t.Errorf("got %+v", h)
	}
	// The sandbox has a network namespace of its own, which hides the JIT.
	for _, u := range f.Unseen {
		if u.What != "whether the BPF JIT is on" {
			t.Errorf("unseen by root: %+v", u)
		}
	}
}

// The directories above the pins, as another user has made them.
func TestDirectoriesOfPins(t *testing.T) {
	testenv.Root(t)
	mount := t.TempDir()
	check(t, unix.Mount("bpf", mount, "bpf", 0, "mode=1777"))
	defer unix.Unmount(mount, 0)
	dir := filepath.Join(mount, "a", "paraxial")
	check(t, os.MkdirAll(dir, 0o750))
	check(t, os.Chown(dir, 60001, 60001))
	link := filepath.Join(mount, "link")
	check(t, os.Symlink(dir, link))
	check(t, os.Lchown(link, 60002, 60002))
	top := doctor.Dir{Path: mount, Mode: 0o1777}
	for path, want := range map[string][]doctor.Dir{
		dir: {{Path: dir, UID: 60001, Mode: 0o750}, {Path: filepath.Dir(dir), Mode: 0o750},
			top},
		filepath.Join(mount, "new"): {top},
		link:                        {{Path: link, UID: 60002}, top},
	} {
		fsys, err := fileSystem(path)
		check(t, err)
		got, err := bpfDirs(fsys.Path)
		check(t, err)
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %+v, want %+v", path, got, want)
		}
	}
}

func TestReadOnlyStateDir(t *testing.T) {
	testenv.Root(t)
	dir := t.TempDir()
	check(t, unix.Mount("none", dir, "tmpfs", unix.MS_RDONLY, "size=64k"))
	defer unix.Unmount(dir, 0)
	got, err := fileSystem(filepath.Join(dir, "not", "yet", "there"))
	check(t, err)
	if !got.ReadOnly || got.Path != dir || got.Free > 64<<10 {
		t.Errorf("got %+v", got)
	}
}

// TestPlainUser: nothing fails, and facts that cannot be seen are named.
func TestPlainUser(t *testing.T) {
	testenv.Root(t)
	l := veth(t, "v0")
	check(t, netlink.LinkSetXdpFdWithFlags(l, pass(t, "stranger"), unix.XDP_FLAGS_DRV_MODE))
	f := asNobody(t, func() (doctor.Facts, error) {
		return Gather(Options{Interfaces: []string{"v0"}, BPFFS: "/sys/fs/bpf/paraxial", StateDir: "/var/lib/paraxial"})
	})
	if len(f.Interfaces) != 1 || len(f.Interfaces[0].Programs) != 1 || f.Interfaces[0].Driver != "veth" ||
		len(f.Interfaces[0].Offloads) == 0 {
		t.Errorf("got %+v", f.Interfaces)
	}
	if len(f.Interfaces[0].Programs) == 1 && f.Interfaces[0].Programs[0].Name != "" {
		t.Errorf("a plain user read the name of a program")
	}
	if !slices.ContainsFunc(f.Unseen, func(u doctor.Unseen) bool { return u.What == "the names of XDP programs" }) {
		t.Errorf("unseen: %+v", f.Unseen)
	}
}

// asNobody runs f on a thread of its own, which has given up root. The thread
// ends with its goroutine.
func asNobody(t *testing.T, f func() (doctor.Facts, error)) (facts doctor.Facts) {
	t.Helper()
	done := make(chan error)
	go func() {
		done <- onLockedThread(func() error {
			const nobody = 65534
			if _, _, errno := syscall.RawSyscall(unix.SYS_SETRESUID, nobody, nobody, nobody); errno != 0 {
				return errno
			}
			var err error
			facts, err = f()
			return err
		})
	}()
	check(t, <-done)
	return facts
}

func TestProcess(t *testing.T) {
	capabilities, memlock := process(os.Getpid())
	if capabilities == nil || memlock == nil {
		t.Errorf("of this process: %v, %v", capabilities, memlock)
	}
	if c, m := process(1 << 30); c != nil || m != nil {
		t.Errorf("of none: %v, %v", c, m)
	}
}

func TestUnseen(t *testing.T) {
	g := &gatherer{}
	g.unseen("a", nil)
	g.unseen("b", os.ErrNotExist)
	g.unseen("c", errors.New("broken"))
	g.unseen("c", errors.New("broken"))
	if diff := cmp.Diff([]doctor.Unseen{{What: "c", Cause: "broken"}}, g.facts.Unseen); diff != "" {
		t.Error(diff)
	}
}

func onLockedThread(f func() error) error {
	runtime.LockOSThread() // never unlocked: the thread has changed
	return f()
}
