package journal

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/paraxial/paraxial/tests/lab"
	"github.com/paraxial/paraxial/tests/testenv"
)

// asSender is the variable that makes the test binary send a message to the journal as a process
// of a unit. The arguments are the folder of the unit's control group, a user and the message.
const asSender = "PARAXIAL_TEST_SENDER"

func TestMain(m *testing.M) {
	if os.Getenv(asSender) != "" {
		send(os.Args[1], os.Args[2])
		return
	}
	lab.Main(m)
}

func send(group, message string) {
	err := os.WriteFile(filepath.Join(group, "cgroup.procs"), fmt.Append(nil, os.Getpid()), 0o600)
	var c net.Conn
	if err == nil {
		c, err = net.Dial("unixgram", "/run/systemd/journal/socket")
	}
	if err == nil {
		_, err = c.Write([]byte("SYSLOG_IDENTIFIER=sshd\nMESSAGE=" + message + "\n"))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("sent")
	io.Copy(io.Discard, os.Stdin) // until journald has looked at this process
}

// journald is a real journal of the sandbox.
type journald struct {
	*testing.T
	cmd    *exec.Cmd
	groups string
}

const program = "/lib/systemd/systemd-journald"

func newJournald(t *testing.T) *journald {
	t.Helper()
	testenv.Root(t)
	id, err := os.ReadFile("/etc/machine-id")
	if _, missing := os.Stat(program); missing != nil || err != nil {
		testenv.Missing(t, "systemd-journald and /etc/machine-id")
	}
	if _, err := exec.LookPath("journalctl"); err != nil {
		testenv.Missing(t, "journalctl")
	}
	mount := func(source, target, kind, data string) {
		t.Helper()
		if err := os.MkdirAll(target, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Mount(source, target, kind, 0, data); err != nil {
			t.Fatalf("mount %s: %v", target, err)
		}
		t.Cleanup(func() { syscall.Unmount(target, syscall.MNT_DETACH) })
	}
	mount("tmpfs", "/run", "tmpfs", "")
	mount("tmpfs", "/var/log", "tmpfs", "")
	j := &journald{T: t, groups: "/sys/fs/cgroup"}
	// The unit of a process is the name of its control group.
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err != nil {
		mount("tmpfs", "/sys/fs/cgroup", "tmpfs", "")
		j.groups = "/sys/fs/cgroup/systemd"
		mount("cgroup", j.groups, "cgroup", "none,name=systemd")
	}
	if err := os.MkdirAll("/run/log/journal/"+strings.TrimSpace(string(id)), 0o755); err != nil {
		t.Fatal(err)
	}
	j.start()
	t.Cleanup(j.stop)
	return j
}

func (j *journald) start() {
	j.Helper()
	j.cmd = exec.Command(program)
	if err := j.cmd.Start(); err != nil {
		j.Fatal(err)
	}
	j.eventually("journald listens", func() bool {
		c, err := net.Dial("unixgram", "/run/systemd/journal/socket")
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

func (j *journald) stop() {
	j.cmd.Process.Signal(syscall.SIGTERM)
	j.cmd.Wait()
}

func (j *journald) eventually(what string, f func() bool) {
	j.Helper()
	for deadline := time.Now().Add(time.Minute); !f(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			j.Fatalf("not within a minute: %s", what)
		}
	}
}

// log sends a message as a process of a unit.
func (j *journald) log(unit string, uid uint32, message string) {
	j.Helper()
	group := filepath.Join(j.groups, "system.slice", unit)
	if err := os.MkdirAll(group, 0o755); err != nil {
		j.Fatal(err)
	}
	j.Cleanup(func() { os.Remove(group) })
	procs := filepath.Join(group, "cgroup.procs")
	if err := os.Chown(procs, int(uid), -1); err != nil {
		j.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe", group, message)
	cmd.Env = append(os.Environ(), asSender+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		j.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		j.Fatal(err)
	}
	out.Read(make([]byte, 4))
	// journald may answer --sync before it has read the message, and looks at the process only then.
	pid := fmt.Sprint(cmd.Process.Pid)
	j.eventually("journald has the message", func() bool {
		out, err := exec.Command("journalctl", "--quiet", "--output=cat", "--lines=1", "_PID="+pid).Output()
		return err == nil && strings.TrimSpace(string(out)) == message
	})
	in.Close()
	if err := cmd.Wait(); err != nil {
		j.Fatalf("send a message: %v", err)
	}
}

// follow follows the journal until stop is called.
func (j *journald) follow(opts Options) (f *Follower, stop func()) {
	ctx, cancel := context.WithCancel(j.Context())
	f = New(opts)
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.Run(ctx)
	}()
	stop = func() {
		cancel()
		<-done
	}
	j.Cleanup(stop)
	j.eventually("journalctl runs", func() bool { return f.Stats().Starts > 0 })
	return f, stop
}

func (j *journald) next(f *Follower) Entry {
	j.Helper()
	select {
	case e := <-f.Entries():
		return e
	case <-time.After(time.Minute):
		j.Fatalf("no entry within a minute: %+v", f.Stats())
	}
	return Entry{}
}

func sshd() Options {
	return Options{Units: []string{"ssh.service", "sshd.service"}, UIDs: []int{0}, Pause: 20 * time.Millisecond}
}

// TestJournal: entries of the unit and the user come, once, over restarts of everything.
func TestJournal(t *testing.T) {
	j := newJournald(t)
	j.log("ssh.service", 0, "old")
	f, stop := j.follow(sshd())
	j.eventually("the place to begin is known", func() bool { return f.last() != "" })
	j.log("ssh.service", 0, "one")
	j.log("cron.service", 0, "of another unit")
	j.log("ssh.service", 65534, "of another user, in the unit")
	j.log("sshd.service", 0, "two")
	var cursor string
	for _, want := range []string{"one", "two"} {
		e := j.next(f)
		if string(e.Message) != want || e.UID != 0 || time.Since(e.Time).Abs() > time.Hour {
			t.Errorf("got %+v, want %s", e, want)
		}
		cursor = e.Cursor
	}
	if s := f.Stats(); s.Problem != "" || s.Gaps != 0 {
		t.Errorf("%+v", s)
	}
	stop()
	j.log("ssh.service", 0, "three")
	j.stop()
	j.start()
	j.log("ssh.service", 0, "four")
	opts := sshd()
	opts.Cursor = cursor
	f, _ = j.follow(opts)
	for n, want := range []string{"three", "four", "five", "six"} {
		switch n {
		case 2:
			j.log("ssh.service", 0, "five")
		case 3:
			killJournalctl(t)
			rotate(t)
			j.log("ssh.service", 0, "six")
		}
		if e := j.next(f); string(e.Message) != want {
			t.Errorf("got %q, want %s", e.Message, want)
		}
	}
	if s := f.Stats(); s.Gaps != 0 || s.Starts < 2 {
		t.Errorf("%+v", s)
	}
}

// killJournalctl kills the child of this process.
func killJournalctl(t *testing.T) {
	t.Helper()
	children, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		t.Fatal(err)
	}
	killed := false
	for _, c := range children {
		pids, _ := os.ReadFile(c)
		for pid := range strings.FieldsSeq(string(pids)) {
			name, _ := os.ReadFile("/proc/" + pid + "/comm")
			var n int
			fmt.Sscan(pid, &n)
			if string(bytes.TrimSpace(name)) == "journalctl" && syscall.Kill(n, syscall.SIGKILL) == nil {
				killed = true
			}
		}
	}
	if !killed {
		t.Fatal("there is no journalctl to kill")
	}
}

func rotate(t *testing.T) {
	t.Helper()
	if out, err := exec.Command("journalctl", "--rotate").CombinedOutput(); err != nil {
		t.Logf("rotate: %v %s", err, out)
	}
}

// fake returns options with a program in place of journalctl.
func fake(t *testing.T, script string) Options {
	t.Helper()
	opts := sshd()
	opts.Command = []string{"/bin/sh", "-c", script, "journalctl"}
	return opts
}

// TestFailures: a journalctl that fails is told of and started again.
func TestFailures(t *testing.T) {
	for script, want := range map[string]string{
		"echo no permission >&2; exit 1": "journalctl: no permission",
		"exit 3":                         "journalctl: exit status 3",
		`case "$*" in *follow*) ;; *) exit 0; esac`: "journalctl has ended",
		"echo hello": "journalctl's output is not in the export format",
	} {
		j := &journald{T: t}
		f, stop := j.follow(fake(t, script))
		j.eventually("another start after "+want, func() bool {
			s := f.Stats()
			return s.Starts > 1 && s.Problem == want
		})
		stop()
	}
	j := &journald{T: t}
	opts := sshd()
	opts.Command = []string{"/nowhere/journalctl"}
	f, stop := j.follow(opts)
	j.eventually("its absence is told", func() bool { return strings.Contains(f.Stats().Problem, "/nowhere") })
	stop()
}

// TestNothingToRead: journalctl does not fail if the user may read no file of the journal.
func TestNothingToRead(t *testing.T) {
	const entry = `printf '__CURSOR=a\n_UID=0\n_SYSTEMD_UNIT=ssh.service\nMESSAGE=m\n\n'`
	come := filepath.Join(t.TempDir(), "come")
	for _, cursor := range []string{"", "x"} {
		j := &journald{T: t}
		// The first journalctl exits a moment after it has closed its output.
		opts := fake(t, `case "$*" in *follow*) while ! test -e `+come+`; do sleep 0.05; done; `+entry+
			`; exec sleep 100;; *) exec >&-; sleep 0.2; esac`)
		opts.Cursor = cursor
		f, stop := j.follow(opts)
		j.eventually("it is told", func() bool { return strings.Contains(f.Stats().Problem, "systemd-journal") })
		if err := os.WriteFile(come, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		j.next(f)
		if s := f.Stats(); s.Problem != "" {
			t.Errorf("%+v after an entry", s)
		}
		stop()
		os.Remove(come)
	}
}

// TestSilence: a journalctl that tells nothing although there are entries is started again.
func TestSilence(t *testing.T) {
	const entry = `printf '__CURSOR=%s\n_UID=0\n_SYSTEMD_UNIT=ssh.service\nMESSAGE=m\n\n' `
	opts := fake(t, `case "$*" in *follow*) `+entry+`a; exec sleep 100;; *) `+entry+`b; esac`)
	opts.Silence, opts.Cursor = 50*time.Millisecond, "x"
	j := &journald{T: t}
	f, stop := j.follow(opts)
	j.eventually("another start", func() bool { return f.Stats().Starts > 1 })
	if s := f.Stats(); s.Gaps == 0 {
		t.Errorf("%+v, want a gap, since the entry to go on from is not there", s)
	}
	stop()
}

// TestForeign: entries of other units and users do not count, whatever journalctl gives.
func TestForeign(t *testing.T) {
	opts := fake(t, `e() { printf '__CURSOR=%s\n_UID=%s\n_SYSTEMD_UNIT=%s\nMESSAGE=%s\n\n' "$@"; }
case "$*" in *follow*) e a 1000 ssh.service x; e b 0 other.service x; e c 0 ssh.service y; exec sleep 100;; esac`)
	j := &journald{T: t}
	f, stop := j.follow(opts)
	defer stop()
	if e := j.next(f); string(e.Message) != "y" || f.Stats().Foreign != 2 {
		t.Errorf("got %+v, %+v", e, f.Stats())
	}
}
