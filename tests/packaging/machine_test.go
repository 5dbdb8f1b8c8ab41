package packaging

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/paraxial/paraxial/tests/testenv"
)

// A machine is a temporary copy of this system. It shares the network and the BPF file system of
// the sandbox. Commands in it see the real dpkg, and a systemd if it was booted.
type machine struct {
	*testing.T
	scratch string
	init    int // process 1; 0 if systemd was not booted
}

// newMachine makes a machine without a service manager, as in an image that is being built.
func newMachine(t *testing.T) *machine {
	t.Helper()
	testenv.Root(t)
	need(t, "dpkg")
	m := &machine{T: t, scratch: t.TempDir()}
	m.mount("tmpfs", m.scratch, "mode=0755")
	for _, dir := range []string{"upper", "work", "root"} {
		if err := os.Mkdir(filepath.Join(m.scratch, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	m.mount("overlay", m.path("/"), fmt.Sprintf("lowerdir=/,upperdir=%[1]s/upper,workdir=%[1]s/work", m.scratch))
	for _, dir := range []string{
		"/etc/paraxial", "/var/lib/paraxial", // an installed Paraxial
		"/usr/sbin/policy-rc.d",       // keeps services from starting in containers
		"/var/lib/man-db/auto-update", // has each installation read all manual pages of the system
	} {
		if err := os.RemoveAll(m.path(dir)); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

// mount mounts a file system until the test ends.
func (m *machine) mount(fstype, target, data string) {
	m.Helper()
	if err := unix.Mount(fstype, target, fstype, 0, data); err != nil {
		m.Fatalf("mount %s on %s: %v", fstype, target, err)
	}
	m.Cleanup(func() {
		if err := unix.Unmount(target, unix.MNT_DETACH); err != nil {
			m.Errorf("unmount %s: %v", target, err)
		}
	})
}

// path returns the path of a file of the machine.
func (m *machine) path(file string) string { return filepath.Join(m.scratch, "root", file) }

// chrooted mounts the file systems that commands need if systemd is not booted.
func (m *machine) chrooted() *machine {
	m.Helper()
	m.mount("proc", m.path("/proc"), "")
	m.mount("sysfs", m.path("/sys"), "")
	m.mount("tmpfs", m.path("/run"), "mode=0755")
	for _, dir := range []string{"/dev", "/sys/fs/bpf"} {
		if err := unix.Mount(dir, m.path(dir), "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			m.Fatal(err)
		}
		m.Cleanup(func() { unix.Unmount(m.path(dir), unix.MNT_DETACH) })
	}
	return m
}

// booted boots systemd. It ends with the sandbox, even if the test fails.
func (m *machine) booted() *machine {
	m.Helper()
	for _, tool := range []string{"/lib/systemd/systemd", "nsenter", "unshare", "pivot_root"} {
		need(m.T, tool)
	}
	script, err := filepath.Abs("machine.sh")
	if err != nil {
		m.Fatal(err)
	}
	console := new(console)
	cmd := exec.Command(script, m.scratch, m.group())
	cmd.Stdout, cmd.Stderr = console, console
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
	}
	if err := cmd.Start(); err != nil {
		m.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		cmd.Wait() // always killed, so the error means nothing
		close(ended)
	}()
	m.init = cmd.Process.Pid
	m.Cleanup(func() {
		cmd.Process.Kill()
		<-ended
		if m.Failed() {
			m.Logf("console of the machine:\n%s", console)
		}
	})
	m.eventually("systemd boots", func() error {
		select {
		case <-ended:
			return errors.New("it has ended")
		default:
		}
		_, err := m.try("systemctl", "is-active", "lab.target")
		return err
	})
	return m
}

// group makes a control group for the machine's systemd to manage.
func (m *machine) group() string {
	m.Helper()
	all := filepath.Join(m.scratch, "cgroup")
	if err := os.Mkdir(all, 0o755); err != nil {
		m.Fatal(err)
	}
	m.mount("cgroup2", all, "")
	group := filepath.Join(all, fmt.Sprintf("paraxial-lab-%d-%d", os.Getpid(), time.Now().UnixNano()))
	if err := os.Mkdir(group, 0o755); err != nil {
		m.Fatal(err)
	}
	m.Cleanup(func() {
		m.eventually("the control group is empty", func() error { return removeGroup(group) })
	})
	return group
}

func removeGroup(dir string) error {
	inner, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range inner {
		if e.IsDir() {
			if err := removeGroup(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return unix.Rmdir(dir)
}

// try runs a command on the machine, and returns its output.
func (m *machine) try(args ...string) (string, error) {
	line := append([]string{"chroot", m.path("/")}, args...)
	if m.init != 0 {
		line = append([]string{"nsenter", "-t", fmt.Sprint(m.init), "-p", "-m", "-C", "-u", "-i", "-r", "-w", "--"},
			args...)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8"}
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// do is try with a command that must succeed.
func (m *machine) do(args ...string) string {
	m.Helper()
	out, err := m.try(args...)
	if err != nil {
		m.Fatal(err)
	}
	return out
}

// install installs or upgrades, with dpkg's default answers.
func (m *machine) install(deb string) string {
	m.Helper()
	const inside = "/root/paraxial.deb"
	m.copy(deb, inside)
	return m.do("dpkg", "--install", "--force-confdef", inside)
}

// copy copies a file of the sandbox to the machine.
func (m *machine) copy(from, to string) {
	m.Helper()
	content, err := os.ReadFile(from)
	if err != nil {
		m.Fatal(err)
	}
	m.write(to, string(content))
}

func (m *machine) write(file, content string) {
	m.Helper()
	m.pipe(content, "sh", "-c", `mkdir -p "$(dirname "$0")" && cat > "$0"`, file)
}

// pipe runs a command with standard input.
func (m *machine) pipe(stdin string, args ...string) {
	m.Helper()
	line := append([]string{"chroot", m.path("/")}, args...)
	if m.init != 0 {
		line = append([]string{"nsenter", "-t", fmt.Sprint(m.init), "-m", "-r", "-w", "--"}, args...)
	}
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		m.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func (m *machine) exists(file string) bool {
	_, err := m.try("test", "-e", file)
	return err == nil
}

// eventually waits, with a limit that is long enough for a busy machine.
func (m *machine) eventually(what string, f func() error) {
	m.Helper()
	var err error
	for deadline := time.Now().Add(3 * time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if err = f(); err == nil {
			return
		}
	}
	m.Fatalf("%s: not within three minutes: %v", what, err)
}

// need skips the test if a tool is not installed.
func need(t *testing.T, tool string) {
	t.Helper()
	if _, err := exec.LookPath(tool); err != nil {
		testenv.Missing(t, "needs "+tool)
	}
}

// console is written by a process, and read while it runs or after it has ended.
type console struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (c *console) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.b.Write(b)
}

func (c *console) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.b.String()
}
