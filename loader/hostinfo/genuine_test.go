package hostinfo

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/paraxial/paraxial/tests/testenv"
)

// started starts a program that reads its standard input, and returns its number.
func started(t *testing.T, cmd *exec.Cmd) int {
	t.Helper()
	in, err := cmd.StdinPipe()
	check(t, err)
	check(t, cmd.Start())
	t.Cleanup(func() {
		in.Close()
		cmd.Process.Kill()
		cmd.Wait()
	})
	await(t, func() bool {
		comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", cmd.Process.Pid))
		return err == nil && strings.TrimSpace(string(comm)) == filepath.Base(cmd.Path)
	})
	return cmd.Process.Pid
}

// Only a program of root's with the name counts, in this network namespace.
func TestGenuine(t *testing.T) {
	testenv.Root(t)
	const user = 65534
	dir := t.TempDir()
	cat, err := os.ReadFile("/usr/bin/cat")
	check(t, err)
	program := func(name string, owner int, mode os.FileMode) string {
		path := filepath.Join(dir, name, "sshd")
		check(t, os.MkdirAll(filepath.Dir(path), 0o755))
		check(t, os.WriteFile(path, cat, 0o755))
		check(t, os.Chown(path, owner, owner))
		check(t, os.Chmod(path, mode))
		return path
	}
	link := filepath.Join(dir, "sshd")
	check(t, os.Symlink("/usr/bin/cat", link))
	mine := program("root", 0, 0o755)
	elsewhere := exec.Command(mine)
	elsewhere.SysProcAttr = &unix.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	for name, tt := range map[string]struct {
		cmd  *exec.Cmd
		want bool
	}{
		"root's":            {exec.Command(mine), true},
		"a user's":          {exec.Command(program("user", user, 0o755)), false},
		"writable":          {exec.Command(program("writable", 0, 0o775)), false},
		"a link":            {exec.Command(link), false},
		"another namespace": {elsewhere, false},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := genuine("/proc", started(t, tt.cmd), openSSH)
			check(t, err)
			if got != tt.want {
				t.Errorf("genuine: %t, want %t", got, tt.want)
			}
		})
	}
}

func TestIsProgram(t *testing.T) {
	for _, tt := range []struct {
		file, name string
		want       bool
	}{
		{"sshd", "sshd", true},
		{".sshd-wrapped", "sshd", true},
		{"dropbearmulti", "dropbear", true},
		{"zerotier-one-x86", "zerotier-one-x8", true},
		{"su", "sshd", false},
		{"sshd2", "sshd", false},
		{"dropbearmulti", "sshd", false},
	} {
		if got := isProgram(tt.file, tt.name); got != tt.want {
			t.Errorf("%s named %s: %t", tt.file, tt.name, got)
		}
	}
}

// A process has one user, or it runs a setuid program.
func TestUserOf(t *testing.T) {
	for status, want := range map[string]string{
		"Name:\tsshd\nUid:\t0\t0\t0\t0\nGid:\t0\n":             "0",
		"Name:\tsshd\nUid:\t1000\t1000\t1000\t1000\nGid:\t0\n": "1000",
		"Name:\tsshd\nUid:\t1000\t0\t0\t0\nGid:\t0\n":          "",
		"Name:\tsshd\nUid:\t0\t0\t1000\t0\nGid:\t0\n":          "",
		"Name:\tsshd\nUid:\t0\t0\n":                            "",
		"":                                                     "",
	} {
		if got := userOf(status); got != want {
			t.Errorf("%q: user %q, want %q", status, got, want)
		}
	}
}

// A program that the user of a dropbear session starts is no session, whatever its name.
func TestDropbearBelowSession(t *testing.T) {
	listening := process{pid: 10, parent: 1, name: dropbear, root: true, uid: "0"}
	session := process{pid: 11, parent: 10, name: dropbear, root: true, uid: "0", children: true}
	dropped := process{pid: 12, parent: 10, name: dropbear, uid: "1000", children: true}
	program := process{pid: 13, parent: 11, name: dropbear, uid: "1000", children: true}
	procs := map[int]process{10: listening, 11: session, 12: dropped, 13: program}
	for pid, want := range map[int]bool{11: true, 12: true, 13: false} {
		if got := procs[pid].loggedIn(procs); got != want {
			t.Errorf("process %d: logged in: %t, want %t", pid, got, want)
		}
	}
}

// A process can make its command line as long as it likes. Only its beginning is read.
func TestLongCommandLine(t *testing.T) {
	testenv.Root(t)
	cmd := exec.Command("/usr/bin/cat", "-")
	const words = 15
	for range words {
		cmd.Args = append(cmd.Args, strings.Repeat("x", 100<<10))
	}
	pid := started(t, cmd)
	p, err := readProcess("/proc", pid, "cat")
	check(t, err)
	if len(p.title) > mostTitle {
		t.Errorf("%d bytes of the title were read, %d at most", len(p.title), mostTitle)
	}
	if args, err := arguments("/proc", pid); err != nil || args != nil {
		t.Errorf("%d arguments of a command line that is too long, %v", len(args), err)
	}
}
