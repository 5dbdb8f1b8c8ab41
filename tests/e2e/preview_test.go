package e2e

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/doctor"
	"github.com/paraxial/paraxial/tests/testenv"
)

// addAddress adds an address to the loopback interface. Connections from it to this host look as if
// they came from another host.
func addAddress(h *host, address string) {
	h.Helper()
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		h.Fatal(err)
	}
	a, err := netlink.ParseAddr(address)
	if err != nil {
		h.Fatal(err)
	}
	if err := netlink.AddrAdd(lo, a); err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() {
		if err := netlink.AddrDel(lo, a); err != nil {
			h.Error(err)
		}
	})
}

// connect keeps a TCP connection open from one address of this host to another, and returns the
// port.
func connect(h *host, network, to, from string) uint16 {
	h.Helper()
	l, err := net.Listen(network, to)
	if err != nil {
		h.Fatal(err)
	}
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	port := netip.MustParseAddrPort(l.Addr().String()).Port()
	c, err := d.DialContext(h.Context(), "tcp", net.JoinHostPort("192.0.2.1", fmt.Sprint(port)))
	if err != nil {
		h.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() {
		s.Close()
		c.Close()
		l.Close()
	})
	return port
}

// TestPreview: a dry run shows connections, entries and the guard's objections. It does not change
// the book, the filter, or the saved state.
func TestPreview(t *testing.T) {
	h := newHost(t)
	h.start()
	s := h.serve()
	addAddress(h, "198.51.100.7/32")
	addAddress(h, "198.51.100.8/32")
	ports := []uint16{connect(h, "tcp4", "192.0.2.1:0", "198.51.100.7"), connect(h, "tcp", "[::]:0", "198.51.100.8")}
	h.ctl(0, "allow", "198.51.100.200", "--reason", "office")
	h.ctl(0, "block", "198.51.100.201")

	// The addresses are the host's own here, so the guard objects.
	r := h.ctl(1, "block", "198.51.100.0/24", "--dry-run")
	for _, says := range []string{"Nothing was changed.", "REFUSED by the guard:",
		"198.51.100.0/24 covers 198.51.100.7",
		"198.51.100.200/32", "198.51.100.201/32", "no detector is configured"} {
		if !strings.Contains(r.Stdout, says) {
			t.Errorf("%q is not in:\n%s", says, r.Stdout)
		}
	}
	p := ctlJSON[control.PreviewResult](h, "block", "198.51.100.0/24", "--dry-run", "--force")
	if !p.WouldApply || len(p.Refusals) != 1 || len(p.Entries) != 2 || p.Traffic.Enabled {
		t.Errorf("got %+v", p)
	}
	for _, port := range ports {
		i := slices.IndexFunc(p.Connections.Services, func(s control.PreviewService) bool {
			return s.Port == port &&
				s.Direction == "in"
		})
		if i < 0 {
			t.Errorf("port %d is not in %+v", port, p.Connections.Services)
			continue
		}
		if s := p.Connections.Services[i]; s.Count != 1 || len(s.Processes) != 1 || s.Processes[0] != self(h) {
			t.Errorf("port %d: %+v", port, s)
		}
	}
	if p.Connections.Count != 2 || p.Connections.Peers != 2 || p.Connections.Spared != 0 {
		t.Errorf("got %+v", p.Connections)
	}

	// Routed connections have no socket on this host. The answer says so.
	const forwarding = "/proc/sys/net/ipv4/ip_forward"
	for value, says := range map[string]bool{"1": true, "0": false} {
		if err := os.WriteFile(forwarding, []byte(value), 0o644); err != nil {
			t.Fatal(err)
		}
		p := ctlJSON[control.PreviewResult](h, "block", "198.51.101.0/24", "--dry-run")
		if got := slices.ContainsFunc(p.Notes, func(n string) bool {
			return strings.Contains(n,
				"forwards packets")
		}); got != says {
			t.Errorf("ip_forward %s: notes are %q", value, p.Notes)
		}
	}
	h.ctl(0, "block", "198.51.101.0/24", "--dry-run")
	for when := range 2 {
		if list := ctlJSON[[]control.Entry](h, "list", "blocks"); len(list) != 1 ||
			list[0].Prefix != "198.51.100.201/32" {
			t.Errorf("check %d: blocks are %+v", when, list)
		}
		for _, src := range []string{"198.51.100.9", "198.51.101.9"} {
			if h.dropped(s, src) {
				t.Errorf("check %d: after a dry run %s is dropped", when, src)
			}
		}
		// Repeat the check with the saved state.
		if when == 0 {
			h.kill()
			h.start()
		}
	}
}

// self returns this process as the preview shows it.
func self(h *host) string {
	h.Helper()
	name, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		h.Fatal(err)
	}
	return fmt.Sprintf("%s[%d]", strings.TrimSpace(string(name)), os.Getpid())
}

// TestPreviewTraffic: sources inside the prefix that rate analysis follows are shown.
func TestPreviewTraffic(t *testing.T) {
	h := newDetecting(t)
	h.start()
	h.flood(netip.MustParseAddr("203.0.113.9"), 60, 2000, 2*time.Second)
	for prefix, want := range map[string]int{"203.0.113.0/24": 1, "203.0.113.9": 1, "203.0.113.128/25": 0} {
		p := ctlJSON[control.PreviewResult](h, "block", prefix, "--dry-run")
		if !p.Traffic.Enabled || len(p.Traffic.Sources) != want {
			t.Errorf("%s: got %+v", prefix, p.Traffic)
			continue
		}
		if want == 1 && (p.Traffic.Sources[0].Source != "203.0.113.9/32" ||
			p.Traffic.Sources[0].Nearest != "udp-flood" || p.Traffic.Sources[0].Verdict != "pass") {
			t.Errorf("%s: got %+v", prefix, p.Traffic.Sources[0])
		}
	}
	if list := ctlJSON[[]control.Entry](h, "list"); len(list) > 0 {
		t.Errorf("entries: %+v", list)
	}
}

// TestPreviewSparesTheAllowed: connections that an allow lets pass are not reported as cut.
func TestPreviewSparesTheAllowed(t *testing.T) {
	h := newHost(t)
	h.start()
	addAddress(h, "198.51.100.7/32")
	connect(h, "tcp4", "192.0.2.1:0", "198.51.100.7")
	before := ctlJSON[control.PreviewResult](h, "block", "198.51.100.7", "--dry-run", "--force")
	h.ctl(0, "allow", "198.51.100.0/25")
	after := ctlJSON[control.PreviewResult](h, "block", "198.51.100.7", "--dry-run", "--force")
	if before.Connections.Count != 1 || before.Connections.Spared != 0 || after.Connections.Count != 0 ||
		after.Connections.Spared != 1 {
		t.Errorf("before %+v, after %+v", before.Connections, after.Connections)
	}
}

// TestDoctor: a filtered host, and a host whose daemon is dead.
func TestDoctor(t *testing.T) {
	h := newHost(t)
	find := func(r doctor.Report, code string) doctor.Finding {
		t.Helper()
		i := slices.IndexFunc(r.Findings, func(f doctor.Finding) bool { return f.Code == code })
		if i < 0 {
			t.Fatalf("no %s in %+v", code, r.Findings)
		}
		return r.Findings[i]
	}
	look := func() doctor.Report {
		return ctlJSON[doctor.Report](h, "doctor", "--state-dir", h.daemon.StateDir, "--bpffs", h.daemon.BPFFS)
	}
	expected := look()
	if len(expected.Interfaces) != 1 || expected.Interfaces[0] != (doctor.Expectation{Interface: interfaceName,
		Driver: "veth", Mode: "native"}) {
		t.Errorf("before: %+v", expected.Interfaces)
	}
	h.start()
	r := look()
	if f := find(r, "protected"); f.Interface != interfaceName || !strings.Contains(f.What, "native") {
		t.Errorf("running: %+v", f)
	}
	if f := find(r, "capabilities"); f.Severity != doctor.OK {
		t.Errorf("running: %+v", f)
	}
	h.kill()
	r = look()
	if f := find(r, "daemon"); f.Severity != doctor.Warning {
		t.Errorf("dead: %+v", f)
	}
	if f := find(r, "left-in-place"); f.Interface != interfaceName || f.Severity != doctor.Note {
		t.Errorf("dead: %+v", f)
	}
	// Our own filter, which outlives the daemon, is not reported as foreign.
	if i := slices.IndexFunc(r.Findings, func(f doctor.Finding) bool { return f.Code == "foreign-program" }); i >= 0 {
		t.Errorf("dead: %+v", r.Findings[i])
	}
	// Without its pins our program looks like a foreign one.
	out := h.ctl(1, "doctor", "--bpffs", filepath.Join(filepath.Dir(h.daemon.BPFFS), "elsewhere"))
	if !strings.Contains(out.Stdout, "PROBLEM  XDP program") {
		t.Errorf("other pins: %s", out.Stdout)
	}
}

// TestDoctorTunnel: a layer 3 interface is attached and filters nothing, so the
// doctor calls it a problem.
func TestDoctorTunnel(t *testing.T) {
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		testenv.Missing(t, "TUN devices (/dev/net/tun)")
	}
	h := newHost(t)
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "tunnel0"
	tun := &netlink.Tuntap{LinkAttrs: attrs, Mode: netlink.TUNTAP_MODE_TUN}
	if err := netlink.LinkAdd(tun); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := netlink.LinkDel(tun); err != nil {
			t.Error(err)
		}
	})
	out := h.ctl(1, "doctor", "tunnel0", "--state-dir", h.daemon.StateDir, "--bpffs", h.daemon.BPFFS)
	if !strings.Contains(out.Stdout,
		"tunnel0 (tun): cannot be filtered as it is\n  PROBLEM  its packets have no Ethernet header") {
		t.Errorf("got %s", out.Stdout)
	}
}
