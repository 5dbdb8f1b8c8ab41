// Package lab is a sandbox for tests and demonstrations: separate namespaces, a wire to send any
// frame over, and the real daemon and command line. All of it disappears with the process, however
// the process ends.
package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// marker tells the re-executed process that it is inside the sandbox.
const marker = "PARAXIAL_LAB"

// Main is TestMain for tests that need the sandbox: m is the *testing.M. Without root, the tests
// run outside, and testenv.Root skips those that need root.
func Main(m interface{ Run() int }) {
	if os.Geteuid() != 0 {
		os.Exit(m.Run())
	}
	status, err := Enter(m.Run)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(status)
}

// Enter runs body in new network, mount and process namespaces, and returns the status of body. It
// executes the current program again: that process calls body inside Enter and exits, so Enter
// returns only in the outer process. Everything that main does before Enter is done twice.
//
// Inside, lo is up, /sys/fs/bpf is a bpffs without pins, /run an empty tmpfs, an installed Paraxial
// is hidden, and mounts are not visible outside. When the outer process dies, even by kill -9, the
// kernel kills every process inside and removes the namespaces.
func Enter(body func() int) (status int, err error) {
	// Check for process 1 too: the marker may have leaked into a shell outside.
	if os.Getpid() == 1 && os.Getenv(marker) != "" {
		if err := furnish(); err != nil {
			return 1, fmt.Errorf("set up the sandbox: %w", err)
		}
		os.Exit(body())
	}
	return reexec()
}

func reexec() (status int, err error) {
	cmd := sandboxed(os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return wait(cmd)
}

// sandboxed returns the command that executes this program again, in new namespaces.
func sandboxed(args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), marker+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL,
	}
	return cmd
}

// wait runs a command of sandboxed, passes on signals, and returns its exit code.
func wait(cmd *exec.Cmd) (status int, err error) {
	// Pdeathsig is bound to this thread, not to the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGHUP)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return 1, fmt.Errorf("enter new namespaces: %w", err)
	}
	go func() {
		for s := range signals {
			cmd.Process.Signal(s) // fails only if the process has ended
		}
	}()
	err = cmd.Wait()
	close(signals)
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		// -1 (killed by a signal) becomes 255.
		return exit.ExitCode() & 0xff, nil
	}
	if err != nil {
		return 1, fmt.Errorf("wait for the sandbox: %w", err)
	}
	return 0, nil
}

// furnish sets up the new namespaces like a machine.
func furnish() error {
	if err := os.Unsetenv(marker); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	mountShared, err := keepShared()
	if err != nil {
		return err
	}
	for _, m := range []struct{ fstype, target, data string }{
		{"proc", "/proc", ""},
		{"sysfs", "/sys", ""},
		{"bpf", "/sys/fs/bpf", "mode=0700"},
		{"tmpfs", "/run", "mode=0755"},
	} {
		if err := unix.Mount(m.fstype, m.target, m.fstype, 0, m.data); err != nil {
			return fmt.Errorf("mount %s on %s: %w", m.fstype, m.target, err)
		}
	}
	if err := mountShared(); err != nil {
		return err
	}
	if err := hideInstallation(); err != nil {
		return err
	}
	return loopbackUp()
}

// hideInstallation covers the files of an installed Paraxial, so that the one inside neither reads
// nor changes them.
func hideInstallation() error {
	for _, dir := range []string{"/etc/paraxial", "/var/lib/paraxial"} {
		err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0755")
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("cover %s: %w", dir, err)
		}
	}
	return nil
}
