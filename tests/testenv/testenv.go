// Package testenv lets tests declare what they need of the machine, so that a skip always names the
// missing part.
package testenv

import (
	"os"
	"testing"
	"time"

	"github.com/cilium/ebpf/features"
	"golang.org/x/sys/unix"
)

// RequireAll is the environment variable that turns every skip into a failure.
// make test sets it for root, and so does CI.
const RequireAll = "PARAXIAL_REQUIRE_ALL"

// Figures is the environment variable that makes tests assert figures in seconds. make figures sets
// it, on a machine that runs nothing else.
const Figures = "PARAXIAL_FIGURES"

// Figure fails the test if a figure that depends on the speed of the machine is missed, and if
// Figures is set. Otherwise it only logs the figure, so that no test fails because a machine is
// slow or busy.
func Figure(tb testing.TB, kept bool, format string, args ...any) {
	tb.Helper()
	if !kept && os.Getenv(Figures) != "" {
		tb.Errorf(format, args...)
	}
}

// CPUTime returns the processor time that the process has used. Other work on the machine does not
// count.
func CPUTime(tb testing.TB) time.Duration {
	tb.Helper()
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &ts); err != nil {
		tb.Fatalf("read the processor time: %v", err)
	}
	return time.Duration(ts.Nano())
}

// Root skips the test unless it runs as root.
func Root(tb testing.TB) {
	tb.Helper()
	if os.Geteuid() != 0 {
		Missing(tb, "needs root: run make test")
	}
}

// Missing skips the test because something is missing, or fails it if RequireAll is set.
func Missing(tb testing.TB, what string) {
	tb.Helper()
	if os.Getenv(RequireAll) != "" {
		tb.Fatalf("%s, and %s is set, so the test must not be skipped", what, RequireAll)
	}
	tb.Skip(what)
}

// AllDevices is the environment variable that says that the kernel has all kinds of devices, so that
// no test goes on without one. tests/vm sets it.
const AllDevices = "PARAXIAL_ALL_DEVICES"

// NoDevice logs that the kernel has no such device, or fails the test if it should have. Nothing can
// be installed that would help, so the test goes on without the device.
func NoDevice(tb testing.TB, kind string) {
	tb.Helper()
	if os.Getenv(AllDevices) != "" {
		tb.Fatalf("the kernel has no %s, and %s is set", kind, AllDevices)
	}
	tb.Logf("the kernel has no %s: make test-vm KERNEL=devices has a kernel with it", kind)
}

// Since skips the test on a Linux older than major.minor, even if RequireAll is set, because
// nothing can be installed that would help.
func Since(tb testing.TB, major, minor uint32, what string) {
	tb.Helper()
	running, err := features.LinuxVersionCode()
	if err != nil {
		tb.Fatal(err)
	}
	if running < major<<16|minor<<8 {
		tb.Skipf("needs Linux %d.%d for %s", major, minor, what)
	}
}
