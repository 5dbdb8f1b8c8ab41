// Package testenv lets tests say what they need of the machine, so that a skip
// always names what is missing.
package testenv

import (
	"os"
	"testing"
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
