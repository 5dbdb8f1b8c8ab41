package e2e

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/tests/testenv"
)

// put writes a file that belongs to another program, for this test.
func (h *host) put(path, text string) {
	h.Helper()
	check(h.T, os.MkdirAll(filepath.Dir(path), 0o755))
	// Programs write beside and rename, so that no reader finds half of a file.
	check(h.T, os.WriteFile(path+".new", []byte(text), 0o644))
	check(h.T, os.Rename(path+".new", path))
	h.Cleanup(func() { os.Remove(path) })
}

// refuses blocks a prefix, which the guard must refuse for this cause.
func (h *host) refuses(prefix, cause string) {
	h.Helper()
	if r := h.ctl(1, "block", prefix); !strings.Contains(r.Stderr, cause) {
		h.Errorf("block %s says %s, want %s", prefix, r.Stderr, cause)
	}
}

// metric returns the value of a metric.
func (h *host) metric(name string) string {
	h.Helper()
	_, page, err := scrape(h.Context(), "")
	check(h.T, err)
	_, rest, _ := strings.Cut(page, "\n"+name)
	value, _, _ := strings.Cut(rest, "\n")
	return value
}

// stub starts a dnsmasq that forwards to a server.
func (h *host) stub(server string) {
	h.Helper()
	path, err := exec.LookPath("dnsmasq")
	if err != nil {
		testenv.Missing(h.T, "needs dnsmasq: install dnsmasq-base")
	}
	// dnsmasq closes every descriptor that it may have, which takes seconds if they are millions.
	cmd := exec.Command("sh", "-c", `ulimit -n 256 && exec "$0" "$@"`, path, "--keep-in-foreground",
		"--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--port=5353",
		"--listen-address=127.0.0.1", "--bind-interfaces", "--user=root", "--pid-file=", "--server="+server)
	check(h.T, cmd.Start())
	h.Cleanup(func() {
		cmd.Process.Kill() // fails only if it has ended
		cmd.Wait()         // it was killed
	})
	h.within("dnsmasq runs", patience, func() bool {
		c, err := net.Dial("tcp", "127.0.0.1:5353")
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

// The guard knows the servers that this host cannot do without, although no packet, route or
// resolv.conf shows them.
func TestGuardKnowsServers(t *testing.T) {
	h := newHost(t)
	h.put("/run/systemd/netif/leases/2", "ADDRESS=198.18.0.7\nSERVER_ADDRESS=203.0.113.1\nDNS=203.0.114.53\n")
	h.put("/run/chrony-dhcp/up0.sources", "server 203.0.115.123 iburst\n")
	h.put("/run/NetworkManager/no-stub-resolv.conf", "nameserver 203.0.116.53\n")
	h.start()
	h.refuses("203.0.113.0/24", "a DHCP server of this host (/run/systemd/netif/leases/2)")
	h.refuses("203.0.114.53", "a DNS resolver of this host")
	h.refuses("203.0.115.0/24", "a time server of this host")
	h.refuses("203.0.116.0/24", "a DNS resolver of this host")
	h.stub("9.9.9.9")
	h.refuses("9.9.9.0/24", "a DNS resolver of this host (the command line of dnsmasq)")
	h.chrony("203.0.117.123")
	h.within("the guard knows the server of chronyd", patience, func() bool {
		r, err := h.daemon.Run(h.Context(), "block", "203.0.117.0/24", "--dry-run")
		check(h.T, err)
		return strings.Contains(r.Stdout, "a time server of this host")
	})
	h.refuses("203.0.117.0/24", "a time server of this host (chronyd uses it)")
	for _, p := range []string{"0.0.0.0/8", "100.100.100.200", "168.63.129.16", "fd00:ec2::254"} {
		h.refuses(p, "covers ")
	}
	h.warns(false, "the guard lacks addresses")
}

// chrony starts a chronyd with a server that no file names. It leaves the clock alone.
func (h *host) chrony(server string) {
	h.Helper()
	path, err := exec.LookPath("chronyd")
	if err != nil {
		testenv.Missing(h.T, "needs chronyd: install chrony")
	}
	cmd := exec.Command(path, "-d", "-x", "-u", "root", "server "+server, "bindcmdaddress 127.0.0.1",
		"bindcmdaddress /", "pidfile "+filepath.Join(h.TempDir(), "pid"))
	check(h.T, cmd.Start())
	h.Cleanup(func() {
		cmd.Process.Kill() // fails only if it has ended
		cmd.Wait()         // it was killed
	})
}

// A wide network that contains a service of a cloud can be blocked, unless this host uses it.
func TestGuardKnowsServicesOfItsCloud(t *testing.T) {
	h := newHost(t)
	h.start()
	const wide, service = "168.63.128.0/20", "168.63.129.16, the DHCP, DNS and health service of Azure"
	h.ctl(0, "block", wide, "100.64.0.0/10")
	h.warns(false, service)
	dst := &net.IPNet{IP: net.ParseIP("168.63.129.16").To4(), Mask: net.CIDRMask(32, 32)}
	link, err := netlink.LinkByName(interfaceName)
	check(t, err)
	route := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: dst,
		Gw: net.IPv4(198, 18, 0, 254), Flags: int(netlink.FLAG_ONLINK)}
	check(t, netlink.RouteAdd(route))
	h.warns(true, "the block of "+wide+" by cli covers "+service)
	h.ctl(0, "unblock", wide)
	h.refuses(wide, "covers "+service)
	h.ctl(0, "block", "100.64.0.0/10") // a service of another cloud
	check(t, netlink.RouteDel(route))
	h.ctl(0, "block", wide)
}

// The other end of a tunnel of this host is protected as soon as the tunnel is there.
func TestGuardKnowsTunnels(t *testing.T) {
	h := newHost(t)
	h.start()
	h.ctl(0, "block", "203.0.113.0/24")
	h.ctl(0, "unblock", "203.0.113.0/24")
	tunnel := &netlink.Vxlan{LinkAttrs: netlink.LinkAttrs{Name: "office"}, VxlanId: 7, Port: 4789,
		Group: net.ParseIP("203.0.113.66")}
	check(t, netlink.LinkAdd(tunnel))
	t.Cleanup(func() { netlink.LinkDel(tunnel) })
	h.refuses("203.0.113.0/24", "covers 203.0.113.66, the other end of the tunnel office (vxlan)")
	check(t, netlink.LinkDel(tunnel))
	h.ctl(0, "block", "203.0.113.0/24")
}

// A server that comes to lie in a block is in log, status and metrics, however it became one.
func TestWarnsOfBlockedServer(t *testing.T) {
	h := newMeteredHost(t)
	h.start()
	h.ctl(0, "block", "203.0.113.0/24")
	const covers = "the block of 203.0.113.0/24 by cli covers "
	h.warns(false, covers)
	for _, tt := range []struct{ path, text, server string }{
		{"/run/systemd/resolve/resolv.conf", "nameserver 203.0.113.53\n", "203.0.113.53, a DNS resolver of this host"},
		{"/run/systemd/netif/leases/2", "SERVER_ADDRESS=203.0.113.1\n", "203.0.113.1, a DHCP server of this host"},
	} {
		begin := time.Now()
		h.logs(covers+tt.server, func() { h.put(tt.path, tt.text) })
		testenv.Figure(t, time.Since(begin) <= 2*time.Second, "warned after %v, want 2 s at most", time.Since(begin))
		h.warns(true, covers+tt.server)
		if n := h.metric("paraxial_warnings "); n != "1" {
			t.Errorf("paraxial_warnings is %s, want 1", n)
		}
		check(t, os.Remove(tt.path))
		h.warns(false, covers)
	}
	tunnel := &netlink.Vxlan{LinkAttrs: netlink.LinkAttrs{Name: "office"}, VxlanId: 7, Port: 4789,
		Group: net.ParseIP("203.0.113.66")}
	h.logs(covers+"203.0.113.66, the other end of the tunnel office", func() { check(t, netlink.LinkAdd(tunnel)) })
	t.Cleanup(func() { netlink.LinkDel(tunnel) })
	h.warns(true, covers+"203.0.113.66")
	check(t, netlink.LinkDel(tunnel))
	h.warns(false, covers)
}

// A file of another program that cannot be used is a warning. Neither the daemon nor the guard of
// the other addresses depends on it.
func TestWarnsOfUnknownServer(t *testing.T) {
	h := newHost(t)
	const lease = "/run/systemd/netif/leases/2"
	h.put(lease, "SERVER_ADDRESS=203.0.113.1\n")
	check(t, os.Chmod(lease, 0o666))
	h.start()
	h.warns(true, "the guard lacks addresses, so a block may cover them: a DHCP server of this host in "+lease+
		" is not known: every user may write to it: chmod o-w")
	if s := ctlJSON[control.Status](h, "status"); len(s.Warnings) == 0 ||
		strings.Contains(strings.Join(s.Warnings, ""), "incomplete") {
		t.Errorf("warnings %q", s.Warnings)
	}
	h.ctl(0, "block", "203.0.113.0/24")
	check(t, os.Chmod(lease, 0o644))
	h.warns(false, "the guard lacks addresses")
	h.warns(true, "the block of 203.0.113.0/24 by cli covers 203.0.113.1, a DHCP server of this host")
}
