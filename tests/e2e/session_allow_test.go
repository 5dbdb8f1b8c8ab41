package e2e

import (
	"slices"
	"strings"
	"testing"
)

// A session that logged in inside an allow, within a block, is spared when the allow ends, however
// it ends.
func TestAllowEndsAroundSession(t *testing.T) {
	const allowed, neighbour = "203.0.113.0/28", "203.0.113.9"
	s := newSSHHost(newHost(t))
	s.start()
	server := s.serve()
	list := writeFile(t, allowed+"\n")
	other := writeFile(t, "192.0.2.0/24\n")
	s.ctl(0, "block", "203.0.113.0/24")
	s.ctl(0, "allow", allowed)
	session := s.logIn(operator, sshPort)
	for _, way := range []struct {
		name  string
		allow string // the allow that ends
		end   string
		note  bool // the answer says so
	}{
		{"unallow", "allow " + allowed, "unallow " + allowed, true},
		{"unallow of all origins", "allow " + allowed + " --origin script", "unallow " + allowed + " --all", true},
		{"flush", "allow " + allowed + " --origin script", "flush --origin script --yes", true},
		{"import", "import --kind allow --origin list " + list, "import --kind allow --origin list " + other, true},
		{"at once", "allow " + allowed, "allow " + allowed + " --for 1s --replace", false},
		{"soon", "allow " + allowed, "allow " + allowed + " --for 41s --replace", false},
	} {
		s.ctl(0, strings.Fields(way.allow)...)
		if way.name != "unallow" {
			s.ctl(0, "unallow", operator, "--origin", "guard:session", "--force")
		}
		if spared := s.spared(); len(spared) > 0 {
			t.Fatalf("%s: spared before the allow ends: %v", way.name, spared)
		}
		r := s.ctl(0, strings.Fields(way.end)...)
		if said := strings.Contains(r.Stdout+r.Stderr, operator+" is spared"); said != way.note {
			t.Errorf("%s: the answer says that the session is spared: %t\n%s%s", way.name, said, r.Stdout, r.Stderr)
		}
		s.awaitSpared(1)
		if way.name != "soon" {
			s.within("the allow has ended", patience, func() bool { return s.dropped(server, neighbour) })
		}
		if err := session.Echo("still here"); err != nil {
			t.Fatalf("%s: %v", way.name, err)
		}
	}
}

// The allow that spares a session is removed only by force, and then for good.
func TestSparingIsRemovedByForce(t *testing.T) {
	s := newSSHHost(newHost(t))
	s.start()
	server := s.serve()
	session := s.logIn(operator, sshPort)
	s.ctl(0, "block", "203.0.113.0/24")
	r := s.ctl(1, "unallow", operator, "--origin", "guard:session")
	if !strings.Contains(r.Stderr, "--force removes them, and cuts the sessions") {
		t.Errorf("refused with %s", r.Stderr)
	}
	s.ctl(1, "unallow", operator, "--all")
	s.ctl(0, "allow", operator)
	s.ctl(0, "unallow", operator, "--all")
	if spared := s.spared(); !slices.Equal(spared, []string{operator + "/32"}) {
		t.Errorf("spared: %v", spared)
	}
	if err := session.Echo("still here"); err != nil {
		t.Error(err)
	}
	s.ctl(0, "unallow", operator, "--all", "--force")
	if !s.dropped(server, operator) {
		t.Error("removed by force, and the address passes")
	}
}
