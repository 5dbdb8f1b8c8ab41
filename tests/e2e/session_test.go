package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/tests/lab"
	"github.com/paraxial/paraxial/tests/testenv"
)

const (
	sshInterface = "ssh0"
	sshServer    = "198.18.0.1"
	operator     = "203.0.113.7"
	attacker     = "203.0.113.66"
	sshPort      = 22
	anotherPort  = 2222
)

// sshHost is a host with a real sshd, and with an interface from which clients with a network
// stack of their own connect. The filter is on both interfaces.
type sshHost struct {
	*host
	ssh    *lab.SSHServer
	client []string // runs a command in the clients' namespace
}

func newSSHHost(h *host) *sshHost {
	h.Helper()
	for _, tool := range []string{"/usr/sbin/sshd", "ssh", "ip", "nsenter", "unshare", "bash"} {
		if _, err := exec.LookPath(tool); err != nil {
			testenv.Missing(h.T, "needs "+tool+": install openssh-server, openssh-client, iproute2 and util-linux")
		}
	}
	s := &sshHost{host: h}
	clients := exec.Command("unshare", "--net", "sleep", "3600")
	if err := clients.Start(); err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() {
		clients.Process.Kill() // fails only if it has ended
		clients.Wait()         // it was killed
	})
	pid := fmt.Sprint(clients.Process.Pid)
	s.client = []string{"nsenter", "--net", "-t", pid}
	h.awaitOwnNamespace(pid)
	s.shell("ip link add " + sshInterface + " type veth peer name client netns " + pid)
	h.Cleanup(func() { s.shell("ip link del " + sshInterface) })
	s.shell("ip addr add " + sshServer + "/32 dev " + sshInterface + " && ip link set " + sshInterface + " up")
	s.shell("ip route add 203.0.113.0/24 dev " + sshInterface)
	for _, command := range []string{
		"ip link set client up", "ip addr add " + operator + "/32 dev client",
		"ip addr add " + attacker + "/32 dev client",
		"ip route add " + sshServer + " dev client src " + attacker,
	} {
		s.shell(command, s.client...)
	}
	var err error
	if s.ssh, err = lab.StartSSH(readable(h.T), sshPort, anotherPort); err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() {
		if err := s.ssh.End(); err != nil {
			h.Error(err)
		}
	})
	h.daemon.Interfaces = append(h.daemon.Interfaces, sshInterface)
	return s
}

// readable returns a directory that all users can read.
func readable(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// awaitOwnNamespace waits until unshare has made the namespace.
func (h *host) awaitOwnNamespace(pid string) {
	h.Helper()
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		h.Fatal(err)
	}
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if ns, err := os.Readlink("/proc/" + pid + "/ns/net"); err == nil && ns != own {
			return
		}
		if time.Now().After(end) {
			h.Fatal("the clients have no namespace")
		}
	}
}

// shell runs a command of the shell, perhaps within another command.
func (s *sshHost) shell(command string, within ...string) {
	s.Helper()
	line := append(slices.Clone(within), "sh", "-c", command)
	if out, err := exec.Command(line[0], line[1:]...).CombinedOutput(); err != nil {
		s.Fatalf("%s: %v\n%s", command, err, out)
	}
}

func (s *sshHost) from(address string, port int) lab.SSHClient {
	return lab.SSHClient{Within: s.client, User: "root", From: address, To: sshServer, Port: port}
}

func (s *sshHost) logIn(address string, port int) *lab.SSHSession {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	session, err := s.ssh.Login(ctx, s.from(address, port))
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { session.Close() })
	return session
}

// intrude opens the connections that need no password: one that sends nothing, and one that
// waits for the password to be typed.
func (s *sshHost) intrude(address string) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	stop, err := s.ssh.Prompt(ctx, s.from(address, sshPort))
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(stop)
	// bash opens the connection, from the source address of the route. It reads the server's
	// greeting, so it is accepted.
	line := append(slices.Clone(s.client), "bash", "-c",
		fmt.Sprintf("exec 3<>/dev/tcp/%s/%d; read -r -u 3 line; echo $line; exec sleep 3600", sshServer, sshPort))
	silent := exec.Command(line[0], line[1:]...)
	out, err := silent.StdoutPipe()
	if err != nil {
		s.Fatal(err)
	}
	if err := silent.Start(); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		silent.Process.Kill() // fails only if it has ended
		silent.Wait()         // it was killed
	})
	greeting := make([]byte, 4)
	if _, err := out.Read(greeting); err != nil || string(greeting) != "SSH-" {
		s.Fatalf("the silent connection got %q: %v", greeting, err)
	}
}

// spared returns the addresses that the guard allows because of sessions.
func (h *host) spared() []string {
	h.Helper()
	var all []string
	for _, e := range ctlJSON[[]control.Entry](h, "list", "allows", "--origin", "guard:session") {
		all = append(all, e.Prefix)
	}
	return all
}

// A connection to the SSH server protects its sender only once the user is authenticated: not
// from the operator, and not from lists.
func TestConnectionWithoutLogin(t *testing.T) {
	s := newSSHHost(newHost(t))
	s.start()
	s.intrude(attacker)
	s.ctl(0, "block", attacker)
	s.ctl(0, "unblock", attacker)

	list := filepath.Join(t.TempDir(), "list.txt")
	if err := os.WriteFile(list, []byte("45.128.0.0/12\n203.0.113.0/24\n"+attacker+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := ctlJSON[control.ImportResult](s.host, "import", list)
	if r.Added != 3 || len(r.Refused) > 0 || len(r.Spared) > 0 {
		t.Errorf("import: %+v", r)
	}
	if spared := s.spared(); len(spared) > 0 {
		t.Errorf("spared: %v", spared)
	}
	// The ends of the connections pass, which would otherwise still be open in the next test.
	s.ctl(0, "unblock", attacker, "203.0.113.0/24", "--all")
}

// An open session is protected on every port of the SSH server. A wider prefix is blocked, and
// the session is spared while it lasts.
func TestSessionIsSpared(t *testing.T) {
	s := newSSHHost(newHost(t))
	s.start()
	server := s.serve()
	for _, port := range []int{sshPort, anotherPort} {
		session := s.logIn(operator, port)
		r := s.ctl(1, "block", operator)
		if !strings.Contains(r.Stderr, "from where an SSH session to this host is open") {
			t.Errorf("port %d: refused with %s", port, r.Stderr)
		}
		dry := ctlJSON[control.PreviewResult](s.host, "block", "203.0.113.0/24", "--dry-run")
		if !dry.WouldApply || dry.Connections.Spared != 1 || !strings.Contains(fmt.Sprint(dry.Notes), operator) {
			t.Errorf("port %d: dry run: %+v", port, dry)
		}
		if r := s.ctl(0, "block", "203.0.113.0/24"); !strings.Contains(r.Stderr, operator+" is spared") {
			t.Errorf("port %d: the block says %s%s", port, r.Stdout, r.Stderr)
		}
		if spared := s.spared(); !slices.Equal(spared, []string{operator + "/32"}) {
			t.Errorf("port %d: spared: %v", port, spared)
		}
		if !s.dropped(server, attacker) || s.dropped(server, operator) {
			t.Errorf("port %d: the prefix is not blocked, or the session's address is", port)
		}
		if err := session.Echo("still here"); err != nil {
			t.Errorf("port %d: %v", port, err)
		}
		if status := ctlJSON[control.Status](s.host, "status"); len(status.Warnings) > 0 {
			t.Errorf("port %d: warnings: %v", port, status.Warnings)
		}
		session.Close()
		s.awaitSpared(0)
		if !s.dropped(server, operator) {
			t.Errorf("port %d: the session has ended, and its address still passes", port)
		}
		s.ctl(0, "unblock", "203.0.113.0/24")
	}
}

// awaitSpared waits until so many sessions are spared.
func (s *sshHost) awaitSpared(want int) {
	s.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		spared := s.spared()
		if len(spared) == want {
			return
		}
		if time.Now().After(end) {
			s.Fatalf("spared: %v, want %d", spared, want)
		}
	}
}

// A list with a prefix around a session is imported as a whole, and says so. --force overrides
// the guard, and then nothing is spared.
func TestListSparesSession(t *testing.T) {
	s := newSSHHost(newHost(t))
	s.start()
	server := s.serve()
	session := s.logIn(operator, anotherPort)
	list := filepath.Join(t.TempDir(), "list.txt")
	if err := os.WriteFile(list, []byte("45.128.0.0/12\n203.0.113.0/24\n203.0.112.0/20\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := ctlJSON[control.ImportResult](s.host, "import", list)
	want := []control.SparedLine{
		{Prefix: "203.0.113.0/24", Line: 2, Addresses: []string{operator}},
		{Prefix: "203.0.112.0/20", Line: 3, Addresses: []string{operator}},
	}
	if r.Added != 3 || len(r.Refused) > 0 || fmt.Sprint(r.Spared) != fmt.Sprint(want) {
		t.Errorf("import: %+v", r)
	}
	if out := s.ctl(0, "import", list); !strings.Contains(out.Stdout, "2 prefix(es) cover sessions") ||
		!strings.Contains(out.Stdout, "203.0.113.0/24 (line 2): "+operator) {
		t.Errorf("import says %s", out.Stdout)
	}
	if err := session.Echo("still here"); err != nil {
		t.Error(err)
	}
	s.kill() // the allow is saved
	s.start()
	if s.dropped(server, operator) || !s.dropped(server, attacker) {
		t.Error("restarted: the session's address is dropped, or another address passes")
	}
	s.ctl(0, "import", list, "--force")
	if spared := s.spared(); len(spared) > 0 {
		t.Errorf("forced, but spared: %v", spared)
	}
	if !s.dropped(server, operator) {
		t.Error("forced, but the session's address passes")
	}
}

// A list that no longer covers a session ends the allow.
func TestSparingEndsWithTheBlock(t *testing.T) {
	s := newSSHHost(newHost(t))
	s.start()
	s.logIn(operator, sshPort)
	s.ctl(0, "block", "203.0.113.0/24")
	s.awaitSpared(1)
	s.ctl(0, "unblock", "203.0.113.0/24")
	s.awaitSpared(0)
	if r := s.ctl(2, "import", "-", "--origin", "guard:session"); !strings.Contains(r.Stderr, "reserved") {
		t.Errorf("the origin is not reserved: %s", r.Stderr)
	}
}

// Detectors spare open sessions, and no other connections.
func TestDetectorsAndSessions(t *testing.T) {
	s := newSSHHost(newHost(t, "--config", writeConfig(t, filepath.Join(t.TempDir(), "paraxiald.yaml"),
		strings.Replace(detectors, "203.0.113.0/24", "203.0.112.0/24", 1))))
	s.start()
	s.intrude(attacker)
	session := s.logIn(operator, anotherPort)
	for source, banned := range map[string]bool{attacker: true, operator: false} {
		s.flood(netip.MustParseAddr(source), 60, 2000, 3*time.Second)
		if got := s.isBanned(source); got != banned {
			t.Errorf("%s: banned %v, want %v\n%s", source, got, banned, s.run.Log())
		}
	}
	if err := session.Echo("still here"); err != nil {
		t.Error(err)
	}
}

func (s *sshHost) isBanned(source string) bool {
	s.Helper()
	return slices.ContainsFunc(ctlJSON[[]control.Entry](s.host, "list", "blocks"), func(e control.Entry) bool {
		return e.Prefix == source+"/32" && strings.HasPrefix(e.Origin, "detector:")
	})
}

// While the guard cannot be read, detectors take no decisions, and status says so.
func TestDetectorsWithoutGuard(t *testing.T) {
	h := newDetecting(t)
	h.start()
	const unreadable = "/run/systemd/resolve/resolv.conf"
	if err := os.MkdirAll(unreadable, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll("/run/systemd") })
	offender := netip.MustParseAddr("198.51.100.99")
	h.flood(offender, 60, 2000, 5*time.Second)
	banned := func() bool {
		return slices.ContainsFunc(ctlJSON[[]control.Entry](h, "list", "blocks"), func(e control.Entry) bool {
			return e.Prefix == offender.String()+"/32"
		})
	}
	if banned() {
		t.Error("a detector acted without the guard")
	}
	if r := h.ctl(1, "block", "198.51.100.98"); !strings.Contains(r.Stderr, "--force") {
		t.Errorf("a block without the guard says %s", r.Stderr)
	}
	status := ctlJSON[control.Status](h, "status")
	if !strings.Contains(strings.Join(status.Warnings, "\n"), "guard is incomplete") {
		t.Errorf("warnings: %v", status.Warnings)
	}
	if n := strings.Count(h.run.Log(), "guard is incomplete"); n != 1 {
		t.Errorf("the log says %d times that the guard is incomplete:\n%s", n, h.run.Log())
	}
	if err := os.RemoveAll("/run/systemd"); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(patience); !banned(); {
		h.flood(offender, 60, 2000, time.Second)
		if time.Now().After(end) {
			t.Fatalf("no ban after the guard could be read again:\n%s", h.run.Log())
		}
	}
	if status := ctlJSON[control.Status](h, "status"); len(status.Warnings) > 0 {
		t.Errorf("warnings: %v", status.Warnings)
	}
}
