// Package testenv lets tests say what they need of the machine, so that a skip
// always names what is missing.
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

// Figures is the environment variable that asks for figures in seconds to be
// asserted. make figures sets it, on a machine with nothing else to do.
const Figures = "PARAXIAL_FIGURES"

// Figure fails the test if a figure that depends on the speed of the machine is not
// kept, and if that was asked for. Otherwise the figure is only for the log, so that
// no test fails because a machine is slow or busy.
func Figure(tb testing.TB, kept bool, format string, args ...any) {
	tb.Helper()
	if !kept && os.Getenv(Figures) != "" {
		tb.Errorf(format, args...)
	}
}

// CPUTime is the processor time that the process has taken. Other work on the machine
// does not count.
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
		tb.Fatalf("%s, and %s forbids to skip", what, RequireAll)
	}
	tb.Skip(what)
}

// Since skips the test on a Linux older than major.minor. RequireAll does not forbid
// that, because there is nothing to install that would help.
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
