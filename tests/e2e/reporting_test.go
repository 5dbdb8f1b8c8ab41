package e2e

import (
	"encoding/binary"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/paraxial/paraxial/control"
)

const (
	appPort         = 2525
	blocklistSocket = "/run/paraxial/blocklist.sock"
)

// newAppHost returns a host on which nobody is the reporter shop, and root's program on appPort has
// libblocklist.
func newAppHost(t *testing.T) *sshHost {
	t.Helper()
	h := newHost(t)
	s := newSSHHost(h)
	h.configured(fmt.Sprintf(`
interfaces: [up0, %s]
metrics: off
rules:
- {name: login, limit: 3, window: 10m, action: block, for: 1h}
- {name: bsd, limit: 3, window: 10m, action: block, for: 1h}
reports:
  blocklist_socket: %s
  reporters:
  - {name: shop, user: "65534", rules: [login], may: [event, ask, ban], ban: {max_for: 2h, per_minute: 4}}
  - {name: bsd, user: root, rules: [bsd], proof: connection, ports: [%d]}
`, sshInterface, blocklistSocket, appPort))
	h.start()
	return s
}

// report runs paraxialctl report as the reporter shop, and returns what it prints.
func (h *host) report(code int, args string) string {
	h.Helper()
	out := h.as(nil, h.daemon.Ctl, append([]string{"report"}, strings.Fields(args)...)...)
	if out.Code != code {
		h.Errorf("report %s: exit code %d, want %d: %s%s", args, out.Code, code, out.Stdout, out.Stderr)
	}
	return out.Stdout + out.Stderr
}

// An application reports, asks and bans, with packets dropped for it, and can do nothing else.
func TestApplicationReports(t *testing.T) {
	h := newAppHost(t)
	server := h.serve()
	h.report(0, "ban 203.0.113.9 --for 1h --reason honeypot")
	if !h.dropped(server, "203.0.113.9") {
		t.Error("a ban is not enforced")
	}
	expectEqual(t, "bans", h.entriesOf("app:shop"), []string{"203.0.113.9/32 block drop reporter:shop"})
	for range 4 {
		h.report(0, "event login 203.0.113.10 --user alice")
	}
	h.within("the source above the limit is banned", patience, func() bool {
		return strings.Contains(h.report(0, "ask 203.0.113.10"), "drop  rule:login")
	})
	if !h.dropped(server, "203.0.113.10") {
		t.Error("the decision of a rule is not enforced")
	}
	for args, want := range map[string]string{
		"ban " + sshServer + " --for 1h":                       "nothing was banned", // an address of this host
		"ban 192.168.7.7 --for 1h":                             "are not part of the public Internet",
		"ban 203.0.113.11 --for 3h":                            "longer than 2h",
		"ban 203.0.112.0/23 --for 1h":                          "wider than a /32",
		"event bsd 203.0.113.11":                               "not counted (forbidden)",
		"event login " + sshServer:                             "not counted (own_address)",
		"event login 10.0.0.1":                                 "not counted (bogon)",
		"event login 203.0.113.11 --time 2020-01-01T00:00:00Z": "not counted (old)",
	} {
		if got := h.report(1, args); !strings.Contains(got, want) {
			t.Errorf("report %s: %s, want %s", args, got, want)
		}
	}
	refused := false
	for n := 0; n < 40 && !refused; n++ { // one of them passes every 15 seconds
		out := h.as(nil, h.daemon.Ctl, "report", "ban", fmt.Sprintf("203.0.113.%d", 100+n), "--for", "1h")
		refused = strings.Contains(out.Stderr, "more than 4 bans in a minute")
	}
	if !refused {
		t.Error("40 bans in a row are within a budget of 4 in a minute")
	}
	if out := h.ctl(1, "report", "event", "bsd", "203.0.113.11"); !strings.Contains(out.Stderr, "unproven") {
		t.Errorf("an event without its proof: %+v", out)
	}
}

// A program hands over its connection with libblocklist's message, and the other end is banned.
func TestLibblocklist(t *testing.T) {
	s := newAppHost(t)
	l, err := net.Listen("tcp", fmt.Sprintf("%s:%d", sshServer, appPort))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	line := fmt.Sprintf("exec 3<>/dev/tcp/%s/%d; read -u 3 x", sshServer, appPort)
	client := exec.Command(s.client[0], append(s.client[1:], "bash", "-c", line)...)
	if err := client.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		client.Process.Kill() // fails only if it has ended
		client.Wait()         // it was killed
	})
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	f, err := c.(*net.TCPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	message := make([]byte, 144)
	for n, v := range []uint32{uint32(len(message)), 1, 1, 0} { // length, version, AUTH_FAIL, no address
		binary.NativeEndian.PutUint32(message[4*n:], v)
	}
	to, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(to)
	if err := unix.Connect(to, &unix.SockaddrUnix{Name: blocklistSocket}); err != nil {
		t.Fatal(err)
	}
	for range 2 { // of 2 points each
		if err := unix.Sendmsg(to, message, unix.UnixRights(int(f.Fd())), nil, 0); err != nil {
			t.Fatal(err)
		}
	}
	var banned []control.Entry
	s.within("the other end of the connection is banned", patience, func() bool {
		banned = nil
		err := s.host.client().Entries(t.Context(), "", "rule:bsd", func(e control.Entry) error {
			banned = append(banned, e)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return len(banned) == 1
	})
	expectEqual(t, "banned", banned[0].Prefix, attacker+"/32")
	s.kill()
	s.start() // the socket of the daemon that was killed is replaced
	if err := unix.Connect(to, &unix.SockaddrUnix{Name: blocklistSocket}); err != nil {
		t.Errorf("after a kill: %v", err)
	}
}
