package paraxial_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/paraxial/paraxial/report"
	"github.com/paraxial/paraxial/tests/testenv"
)

// TestElixir runs the tests of the Elixir client against the daemon of this package.
func TestElixir(t *testing.T) {
	if _, err := exec.LookPath("mix"); err != nil {
		testenv.Missing(t, "mix of elixir")
	}
	socket, d := filepath.Join(t.TempDir(), "s"), newDaemon()
	serve(t, d, socket)
	home := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "mix", "test", "--warnings-as-errors")
	cmd.Dir = "../elixir"
	cmd.Env = append(os.Environ(), "PARAXIAL_TEST_SOCKET="+socket, "MIX_ENV=test", "MIX_BUILD_PATH="+home,
		"HOME="+home, "LC_ALL=C.UTF-8")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("mix test: %v\n%s", err, out)
	}
	var users []string
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, e := range d.events {
		if e.User == "" {
			continue
		}
		users = append(users, e.User)
		recent := time.Since(e.Time).Abs() < time.Hour
		if e.Points != 7 || len(e.Text) != report.MaxEventText || !recent || e.Address != addr("192.0.2.8") {
			t.Errorf("event %+v", e)
		}
	}
	if diff := cmp.Diff([]string{"alice"}, users); diff != "" {
		t.Errorf("users of events (-want +got):\n%s", diff)
	}
	within(t, "the ban of the limiter", func() bool { return d.banned["192.0.2.9/32 1m0s form"] == 1 })
	for ban, want := range map[string]int{"192.0.2.7/32 1h0m0s honeypot": 1, "2001:db8::/64 1m0s ": 1} {
		if d.banned[ban] != want {
			t.Errorf("%s: %d times, want %d", ban, d.banned[ban], want)
		}
	}
}
