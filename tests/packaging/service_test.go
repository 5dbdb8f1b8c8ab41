package packaging

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/paraxial/paraxial/tests/lab"
)

const (
	serverPort = 7777
	enemy      = "203.0.113.7"
	friend     = "203.0.113.8"
)

// site is a machine with one wired interface and a server on it.
type site struct {
	*machine
	wire   *lab.Wire
	server *lab.Server
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{machine: newMachine(t)}
	s.wired()
	return s
}

func (s *site) wired() {
	s.Helper()
	var err error
	if s.wire, err = lab.NewWire("eth0"); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { s.wire.Close() })
	if s.server, err = lab.Serve(serverPort); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { s.server.Close() })
}

// send sends n datagrams.
func (s *site) send(src string, n int) {
	s.Helper()
	for range n {
		if err := s.wire.Send(s.wire.From(netip.MustParseAddr(src)).UDP(40000, serverPort,
			[]byte("hello"))); err != nil {
			s.Fatal(err)
		}
	}
}

// settle waits until every datagram sent so far is dropped or counted.
func (s *site) settle() {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), time.Minute)
	defer cancel()
	if err := s.wire.Settle(ctx, s.server); err != nil {
		s.Fatal(err)
	}
}

// arrivals returns how many of 50 datagrams arrive.
func (s *site) arrivals(src string) int {
	s.Helper()
	before := s.server.Sources()[netip.MustParseAddr(src)]
	s.send(src, 50)
	s.settle()
	return s.server.Sources()[netip.MustParseAddr(src)] - before
}

// filtered checks that the enemy is dropped and the friend is not.
func (s *site) filtered(when string) {
	s.Helper()
	if n := s.arrivals(enemy); n != 0 {
		s.Errorf("%s: %d of 50 packets of a blocked source arrived", when, n)
	}
	if n := s.arrivals(friend); n != 50 {
		s.Errorf("%s: %d of 50 packets of a source on no list arrived", when, n)
	}
}

func (s *site) show(property string) string {
	s.Helper()
	return strings.TrimSpace(s.do("systemctl", "show", "--property", property, "--value", "paraxiald"))
}

// TestService tests the package's life cycle on a system with systemd.
func TestService(t *testing.T) {
	before, after := older(t), newer(t)
	s := newSite(t)
	s.booted()

	said := s.install(before.deb())
	if !strings.Contains(said, "systemctl enable --now paraxiald") || !strings.Contains(said, "allow ADDRESS") {
		t.Errorf("the package does not print the next steps:\n%s", said)
	}
	if out, _ := s.try("systemctl", "is-enabled", "paraxiald"); strings.TrimSpace(out) != "disabled" {
		t.Errorf("after the installation the service is %s", out)
	}
	s.do("systemctl", "enable", "--now", "paraxiald")
	s.status("protecting eth0 (native); 0 blocks, 0 allows")
	s.do("paraxialctl", "block", enemy)
	s.filtered("blocked")
	s.status("protecting eth0 (native); 1 block, 0 allows")
	s.feeds()
	if said := s.upgrade(after); strings.Contains(said, "Next:") {
		t.Errorf("an upgrade prints the next steps:\n%s", said)
	}
	s.filtered("upgraded")
	s.feeds()
	s.do("systemctl", "stop", "paraxiald")
	s.inactive("stopped", agentService, logsService)
	s.do("systemctl", "start", "paraxiald")
	s.feeds()
	s.logs()
	s.removed("dpkg", "--remove", "paraxial")
	s.inactive("removed", "paraxiald", agentService, logsService)
}

func (s *site) inactive(after string, units ...string) {
	s.Helper()
	for _, unit := range units {
		if out, _ := s.try("systemctl", "is-active", unit); strings.TrimSpace(out) != "inactive" {
			s.Errorf("%s, but %s is %s", after, unit, out)
		}
	}
}

const (
	agentService = "paraxial-agent-feeds"
	logsService  = "paraxial-agent-logs"
)

// feeds checks that the agent runs beside the daemon, as its own user and without capabilities.
func (s *site) feeds() {
	s.Helper()
	s.agent(agentService, "no feeds", "paraxial-feeds")
}

// logs checks that lines of a file and of the journal are read.
func (s *site) logs() {
	s.Helper()
	s.agent(logsService, "no logs", "paraxial-logs")
	s.do("sh", "-c", `umask 027; : >/var/log/app.log; chgrp adm /var/log/app.log
		cat >>/etc/paraxial/paraxiald.yaml <<-'END'
			logs:
			  - {name: app, file: /var/log/app.log, rule: login, patterns: [{text: 'bad login from <addr>'}]}
			  - name: unit
			    journal: {units: [paraxial-test.service]}
			    rule: login
			    patterns: [{text: 'bad login from <addr>'}]
			rules: [{name: login, limit: 3, window: 10m, action: shadow, for: 1h}]
		END
		systemctl reload paraxiald`)
	s.agent(logsService, "2 logs, 0 lines, 0 matched", "paraxial-logs")
	s.do("sh", "-c", `for n in 1 2 3 4; do echo 'bad login from 203.0.113.7' >>/var/log/app.log; done
		cat >/run/systemd/system/paraxial-test.service <<-'END'
			[Service]
			Type=oneshot
			ExecStart=/bin/sh -c 'for n in 1 2 3 4; do echo bad login from 203.0.113.8; done; sleep 1'
		END
		systemctl daemon-reload && systemctl start paraxial-test`)
	s.eventually("both sources are in shadow", func() error {
		for _, source := range []string{"203.0.113.7", "203.0.113.8"} {
			if out, _ := s.try("paraxialctl", "why", source); !strings.Contains(out, "rule:login") {
				return errors.New(out + s.do("paraxialctl", "logs"))
			}
		}
		return nil
	})
}

// agent checks that an agent runs beside the daemon, as its own user and without capabilities.
func (s *site) agent(service, status, user string) {
	s.Helper()
	var pid string
	s.eventually(service+" of "+user+" says: "+status, func() error {
		got := strings.TrimSpace(s.do("systemctl", "show", "--property=StatusText", "--value", service))
		pid = strings.TrimSpace(s.do("systemctl", "show", "--property=MainPID", "--value", service))
		owner, _ := s.try("stat", "--format=%U", "/proc/"+pid)
		if got != status || strings.TrimSpace(owner) != user {
			return fmt.Errorf("%s: %s", owner, got)
		}
		return nil
	})
	for line := range strings.Lines(s.do("cat", "/proc/"+pid+"/status")) {
		if strings.HasPrefix(line, "Cap") && strings.Trim(line[len("CapXxx:"):], "0\t\n") != "" {
			s.Errorf("%s has capabilities: %s", service, line)
		}
	}
}

// status waits until the output of systemctl status contains the text.
func (s *site) status(want string) {
	s.Helper()
	s.eventually("the status is "+want, func() error {
		if got := s.show("StatusText"); got != want {
			return errors.New(got)
		}
		return nil
	})
}

// upgrade upgrades while a blocked source sends packets, none of which may get through.
func (s *site) upgrade(r release) (said string) {
	s.Helper()
	pid := s.show("MainPID")
	source := netip.MustParseAddr(enemy)
	before := s.server.Sources()[source]
	stop := s.flood(source)
	said = s.install(r.deb())
	sent := stop()
	s.settle()
	if n := s.server.Sources()[source] - before; n != 0 || sent == 0 {
		s.Errorf("upgrade: %d of %d packets of a blocked source arrived", n, sent)
	}
	if s.show("MainPID") == pid {
		s.Errorf("upgrade: the old daemon still runs\n%s", said)
	}
	if out := s.do("paraxialctl", "status"); !strings.Contains(out, r.version) {
		s.Errorf("upgrade: status says\n%s", out)
	}
	return said
}

// flood sends until it is stopped, and then returns the number of packets.
func (s *site) flood(source netip.Addr) (stop func() int) {
	frame := s.wire.From(source).UDP(40000, serverPort, []byte("hello"))
	end, ended := make(chan struct{}), make(chan int)
	go func() {
		for sent := 0; ; time.Sleep(100 * time.Microsecond) {
			select {
			case <-end:
				ended <- sent
				return
			default:
			}
			if s.wire.Send(frame) == nil {
				sent++
			}
		}
	}()
	return func() int {
		close(end)
		return <-ended
	}
}

// TestReloadOfTheService: an invalid configuration is refused, and the reload command reports it.
func TestReloadOfTheService(t *testing.T) {
	s := newRunning(t)
	s.write("/etc/paraxial/paraxiald.yaml", "interfaces: [eth0]\nguard: {never_block: [198.51.100.0/24]}\n")
	s.do("systemctl", "reload", "paraxiald")
	s.eventually("the guard knows", func() error {
		if out, err := s.try("paraxialctl", "block", "198.51.100.7"); err == nil ||
			!strings.Contains(out, "never_block") {
			return errors.New(out)
		}
		return nil
	})
	s.write("/etc/paraxial/paraxiald.yaml", "interfaces: [eth0]\nguard: {never_blok: []}\n")
	if out, err := s.try("systemctl", "reload", "paraxiald"); err == nil {
		t.Errorf("a reload with an invalid configuration succeeded: %s", out)
	}
	if out := s.do("journalctl", "-u", "paraxiald"); !strings.Contains(out, "paraxiald.yaml:2:9") {
		t.Errorf("the journal does not name the mistake:\n%s", out)
	}
	s.status("protecting eth0 (native); 0 blocks, 0 allows")
}

// TestWatchdog: a daemon that hangs is restarted, and the filter stays in place all the time.
func TestWatchdog(t *testing.T) {
	s := newRunning(t)
	s.do("paraxialctl", "block", enemy)
	s.write("/etc/systemd/system/paraxiald.service.d/test.conf", "[Service]\nWatchdogSec=8s\nRestartSec=100ms\n")
	s.do("systemctl", "daemon-reload")
	s.do("systemctl", "restart", "paraxiald")
	pid := s.show("MainPID")
	time.Sleep(12 * time.Second)
	if now := s.show("MainPID"); now != pid {
		t.Fatalf("a healthy daemon was restarted\n%s", s.do("journalctl", "-u", "paraxiald"))
	}
	s.do("kill", "-STOP", pid)
	s.filtered("hung")
	s.eventually("the daemon is restarted", func() error {
		if now := s.show("MainPID"); now == pid || now == "0" {
			return errors.New("it is " + now)
		}
		return nil
	})
	s.status("protecting eth0 (native); 1 block, 0 allows")
	s.filtered("restarted")
}

// TestWithoutBPFFS: the error says what to do, and the service starts once that is
// done.
func TestWithoutBPFFS(t *testing.T) {
	s := newInstalled(t)
	s.do("umount", "/sys/fs/bpf")
	if out, err := s.try("systemctl", "start", "paraxiald"); err == nil {
		t.Fatalf("it starts without a BPF file system: %s", out)
	}
	s.eventually("the journal says what to do", func() error { // journald writes later on a busy machine
		journal := s.do("journalctl", "-u", "paraxiald")
		if !strings.Contains(journal, "mount -t bpf -o mode=0700 bpf /sys/fs/bpf") {
			return errors.New(journal)
		}
		return nil
	})
	s.do("mount", "-t", "bpf", "-o", "mode=0700", "bpf", "/sys/fs/bpf")
	s.status("protecting eth0 (native); 0 blocks, 0 allows")
	if !s.exists("/sys/fs/bpf/paraxial/links/eth0") {
		t.Error("the pins are not on the BPF file system of the machine")
	}
	s.do("paraxiald", "detach")
}

// TestGroup: members may use the socket, and nobody else.
func TestGroup(t *testing.T) {
	s := newRunning(t)
	if mode := strings.TrimSpace(s.do("stat", "-c", "%a %U %G",
		"/run/paraxial/paraxiald.sock")); mode != "660 root paraxial" {
		t.Errorf("the socket is %s", mode)
	}
	as := func(groups ...string) (string, error) {
		return s.try(append(append([]string{"setpriv", "--reuid", "nobody", "--regid", "nogroup"}, groups...),
			"paraxialctl", "status")...)
	}
	if out, err := as("--groups", "paraxial"); err != nil {
		t.Errorf("a member of the group is refused: %s", out)
	}
	if out, err := as("--clear-groups"); err == nil || !strings.Contains(out, "permission denied") {
		t.Errorf("anybody may: %s", out)
	}
	s.write("/etc/paraxial/paraxiald.yaml", "interfaces: [eth0]\nsocket_group: daemon\n")
	if _, err := s.try("systemctl", "restart", "paraxiald"); err == nil {
		t.Error("the socket belongs to a group that the daemon is not in")
	}
	if out := s.do("journalctl", "-u", "paraxiald"); !strings.Contains(out, "SupplementaryGroups=daemon") {
		t.Errorf("the journal does not say what to do:\n%s", out)
	}
	s.write("/etc/systemd/system/paraxiald.service.d/test.conf", "[Service]\nSupplementaryGroups=daemon\n")
	s.do("systemctl", "daemon-reload")
	s.do("systemctl", "restart", "paraxiald")
	if mode := strings.TrimSpace(s.do("stat", "-c", "%a %U %G",
		"/run/paraxial/paraxiald.sock")); mode != "660 root daemon" {
		t.Errorf("the socket is %s", mode)
	}
}

func newInstalled(t *testing.T) *site {
	t.Helper()
	r := older(t)
	s := newSite(t)
	s.booted()
	s.install(r.deb())
	// The next test uses the same BPF file system.
	t.Cleanup(func() { s.try("dpkg", "--purge", "paraxial") })
	return s
}

func newRunning(t *testing.T) *site {
	t.Helper()
	s := newInstalled(t)
	s.do("systemctl", "start", "paraxiald")
	return s
}
