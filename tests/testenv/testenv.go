// Package testenv lets tests say what they need of the machine, so that a skip
// always names what is missing.
package testenv

import (
	"os"
	"testing"

	"github.com/cilium/ebpf/features"
)

// RequireAll is the environment variable that turns every skip into a failure.
// make test sets it for root, and so does CI.
const RequireAll = "PARAXIAL_REQUIRE_ALL"

// Root skips the test unless it runs as root.
func Root(tb testing.TB) {
	tb.Helper()
	if os.Geteuid() != 0 {
		Missing(tb, "needs root: run make test")
	}
}

// Missing skips the test because of what, or fails it if nothing may be skipped.
func Missing(tb testing.TB, what string) {
	tb.Helper()
	if os.Getenv(RequireAll) != "" {
		tb.Fatalf("%s, and %s forbids to skip", what, RequireAll)
	}
	tb.Skip(what)
}

// Since skips the test on a Linux older than major.minor, which nothing that can
// be installed makes up for; so RequireAll does not forbid it. On one that is new
// enough nothing is skipped.
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
