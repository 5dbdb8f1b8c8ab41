package packaging

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestImage tests the package's life cycle where no service manager runs: in a chroot, a container,
// an image that is being built.
func TestImage(t *testing.T) {
	before, after := older(t), newer(t)
	s := newSite(t)
	s.chrooted()

	if said := s.install(before.deb()); !strings.Contains(said, "systemctl enable --now paraxiald") {
		t.Errorf("the package does not print the next steps:\n%s", said)
	}
	if out := s.do("getent", "group", "paraxial"); !strings.HasPrefix(out, "paraxial:x:") {
		t.Errorf("group: %s", out)
	}
	s.write("/etc/paraxial/paraxiald.yaml", "interfaces: [eth0] # mine\n")
	s.daemon(func() { s.do("paraxialctl", "block", enemy) })
	s.filtered("blocked, and the daemon stopped")

	s.install(after.deb())
	if !strings.Contains(s.do("cat", "/etc/paraxial/paraxiald.yaml"), "# mine") {
		t.Error("an upgrade replaces the configuration")
	}
	s.filtered("upgraded")
	s.removed("dpkg", "--remove", "paraxial")
	for _, kept := range []string{"/etc/paraxial/paraxiald.yaml", "/var/lib/paraxial/state.db"} {
		if !s.exists(kept) {
			t.Errorf("removed without a purge, but %s is gone", kept)
		}
	}
	s.install(after.deb())
	s.daemon(func() { s.filtered("installed again") })

	s.do("dpkg", "--purge", "paraxial")
	for _, gone := range []string{"/etc/paraxial", "/var/lib/paraxial", "/sys/fs/bpf/paraxial", "/usr/sbin/paraxiald",
		"/usr/share/doc/paraxial"} {
		if s.exists(gone) {
			t.Errorf("purged, but %s still exists: %s", gone, s.do("find", gone))
		}
	}
	s.do("getent", "group", "paraxial")
}

// TestUpgradeEnablesAgent: an upgrade from a version without the unit of the agent enables it if the
// daemon is enabled, and leaves a unit alone that was disabled.
func TestUpgradeEnablesAgent(t *testing.T) {
	before, after := older(t), newer(t)
	need(t, "systemctl")
	const unit = "/usr/lib/systemd/system/paraxial-agent-feeds.service"
	const wanted = "/etc/systemd/system/paraxiald.service.wants/paraxial-agent-feeds.service"
	for _, tt := range []struct {
		name string
		do   [][]string // between the versions
		want bool
	}{
		{"without the unit", [][]string{{"systemctl", "enable", "paraxiald"}, {"rm", unit, wanted}}, true},
		{"daemon disabled", [][]string{{"rm", unit}}, false},
		{"agent disabled", [][]string{{"systemctl", "enable", "paraxiald"},
			{"systemctl", "disable", "paraxial-agent-feeds"}}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSite(t)
			s.chrooted()
			s.install(before.deb())
			for _, args := range tt.do {
				s.do(args...)
			}
			s.install(after.deb())
			if _, err := s.try("test", "-L", wanted); (err == nil) != tt.want {
				t.Errorf("the agent is enabled: %t, want %t", err == nil, tt.want)
			}
			if s.exists("/run/paraxial-new-unit") {
				t.Error("the mark of the script before the installation is still there")
			}
			s.do("dpkg", "--purge", "paraxial")
		})
	}
}

// TestRemoveWithBadConfiguration: an invalid configuration does not keep the filter in
// force, wherever its pins are.
func TestRemoveWithBadConfiguration(t *testing.T) {
	r := older(t)
	for _, tt := range []struct {
		name, valid, invalid string
		flags                []string
	}{
		{"default directory", "interfaces: [eth0]\n", "interfaces: [\n", nil},
		{"own directory", "interfaces: [eth0]\nbpffs: /sys/fs/bpf/own\n", "interfaces: [\nbpffs: /sys/fs/bpf/own\n",
			nil},
		{"directory by a flag", "interfaces: [eth0]\n", "interfaces: [eth0]\n", []string{"--bpffs", "/sys/fs/bpf/own"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSite(t)
			s.chrooted()
			t.Cleanup(func() { s.try("rm", "-rf", "/sys/fs/bpf/own") }) // also that of the next test
			s.install(r.deb())
			s.write("/etc/paraxial/paraxiald.yaml", tt.valid)
			s.daemon(func() { s.do("paraxialctl", "block", enemy) }, tt.flags...)
			s.filtered("with the daemon ended")
			s.write("/etc/paraxial/paraxiald.yaml", tt.invalid)
			s.removed("dpkg", "--remove", "paraxial")
			if s.exists("/sys/fs/bpf/own") {
				t.Error("removed, but the pins are there")
			}
		})
	}
}

// TestRemoveWithFilterInUse: while a filter cannot be removed, the package is not either.
func TestRemoveWithFilterInUse(t *testing.T) {
	r := older(t)
	s := newSite(t)
	s.chrooted()
	s.install(r.deb())
	s.write("/etc/paraxial/paraxiald.yaml", "interfaces: [eth0]\n")
	s.daemon(func() {
		s.do("paraxialctl", "--socket", otherSocket, "block", enemy)
		out, err := s.try("dpkg", "--remove", "paraxial")
		if err == nil || !strings.Contains(out, "/sys/fs/bpf/paraxial is in use") ||
			!strings.Contains(out, "the filter could not be removed, and the package is not removed") {
			t.Errorf("removing the package while a daemon holds the filter: %v\n%s", err, out)
		}
		s.filtered("not removed")
	}, "--socket", otherSocket)
	s.removed("dpkg", "--remove", "paraxial")
}

// otherSocket is one that a daemon has which detach cannot find.
const otherSocket = "/run/other.sock"

// TestRPM is the life of the other package, whose scripts are called otherwise.
func TestRPM(t *testing.T) {
	before, after := older(t), newer(t)
	need(t, "rpm")
	s := newSite(t)
	s.chrooted()
	rpm := func(args ...string) string {
		return s.do(append([]string{"rpm", "--dbpath", "/root/rpmdb", "--nodeps"}, args...)...)
	}
	s.copy(before.rpm(), "/root/old.rpm")
	s.copy(after.rpm(), "/root/new.rpm")

	if said := rpm("--install", "/root/old.rpm"); !strings.Contains(said, "systemctl enable --now paraxiald") {
		t.Errorf("the package does not print the next steps:\n%s", said)
	}
	s.do("getent", "group", "paraxial")
	s.write("/etc/paraxial/paraxiald.yaml", "interfaces: [eth0] # mine\n")
	s.daemon(func() { s.do("paraxialctl", "block", enemy) })
	if said := rpm("--upgrade", "/root/new.rpm"); strings.Contains(said, "detached") ||
		strings.Contains(said, "removed") {
		t.Errorf("an upgrade says:\n%s", said)
	}
	if !strings.Contains(s.do("cat", "/etc/paraxial/paraxiald.yaml"), "# mine") {
		t.Error("an upgrade replaces the configuration")
	}
	s.filtered("upgraded")
	s.removed("rpm", "--dbpath", "/root/rpmdb", "--erase", "paraxial")
	for _, kept := range []string{"/etc/paraxial/paraxiald.yaml.rpmsave", "/var/lib/paraxial/state.db"} {
		if !s.exists(kept) {
			t.Errorf("removed, but %s is gone", kept)
		}
	}
}

// removed removes the package, and checks that the filter is detached.
func (s *site) removed(args ...string) {
	s.Helper()
	said := s.do(args...)
	if n := s.arrivals(enemy); n != 50 {
		s.Errorf("removed: %d of 50 packets of a source that was blocked arrive\n%s", n, said)
	}
	if s.exists("/sys/fs/bpf/paraxial/links/eth0") {
		s.Errorf("removed, but the link is pinned\n%s", said)
	}
	if s.exists("/usr/sbin/paraxiald") {
		s.Error("removed, but the daemon is still installed")
	}
	if s.exists("/etc/systemd/system/multi-user.target.wants/paraxiald.service") {
		s.Error("removed, but the service is enabled")
	}
}

// daemon runs the installed daemon, by itself, while f runs.
func (s *site) daemon(f func(), flags ...string) {
	s.Helper()
	args := append([]string{s.path("/"), "/usr/sbin/paraxiald", "--metrics", "off"}, flags...)
	cmd := exec.Command("chroot", args...)
	log := new(console)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		s.Fatal(err)
	}
	defer func() {
		cmd.Process.Signal(os.Interrupt)
		if err := cmd.Wait(); err != nil {
			s.Errorf("paraxiald: %v\n%s", err, log)
		}
	}()
	s.eventually("the daemon answers", func() error {
		_, err := s.try("sh", "-c", "paraxialctl status || paraxialctl --socket "+otherSocket+" status")
		return err
	})
	f()
}
