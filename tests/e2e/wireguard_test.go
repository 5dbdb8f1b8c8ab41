//go:build devices

package e2e

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/paraxial/paraxial/tests/lab"
	"github.com/paraxial/paraxial/tests/testenv"
)

// The ends of a WireGuard tunnel, inside.
const (
	wgName       = "wg0"
	insideHost   = "10.66.0.1"
	insideClient = "10.66.0.2"
)

// An SSH session through WireGuard has an address of its own. The guard knows the other end of the
// tunnel all the same, refuses to block it, and warns of a tunnel that moves into a block.
func TestWireGuard(t *testing.T) {
	const network, endpoint = "203.0.113.0/24", attacker + ", the other end of the tunnel " + wgName + " (wireguard)"
	s := newSSHHost(newHost(t))
	s.daemon.Interfaces = []string{sshInterface}
	s.wireGuard()
	s.start()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	session, err := s.ssh.Login(ctx, lab.SSHClient{
		Within: s.client, User: "root", From: insideClient, To: insideHost, Port: sshPort,
	})
	check(t, err)
	defer session.Close()

	s.refuses(network, "covers "+endpoint)
	dry := s.ctl(1, "block", network, "--dry-run").Stdout
	if !strings.Contains(dry, "covers "+endpoint) || !strings.Contains(dry, "Not known: ICMP, tunnels") {
		t.Errorf("the dry run does not tell of the tunnel:\n%s", dry)
	}
	check(t, session.Echo("refused"))

	s.ctl(0, "block", network, "--force")
	s.namesTunnels(true, &hostTunnel{iface: wgName, device: "wireguard"})
	s.within("the tunnel is cut", patience, func() bool {
		ping := slices.Concat(s.client, []string{"busybox", "ping", "-c", "1", "-W", "1", insideHost})
		exec.Command(ping[0], ping[1:]...).Run() // gets no answer
		return s.reason(sshInterface, "blocked") > 0
	})
	s.ctl(0, "unblock", network)
	check(t, session.Echo("unblocked"))

	// The tunnel moves to a blocked endpoint.
	s.ctl(0, "block", "203.0.114.0/24")
	s.logs("the block of 203.0.114.0/24 by cli covers 203.0.114.9, the other end of the tunnel "+wgName, func() {
		s.sh("wg set %s peer $(wg show %s peers) endpoint 203.0.114.9:51820", wgName, wgName)
	})
}

// wireGuard makes a tunnel between this host and its clients, who call from the address attacker.
func (s *sshHost) wireGuard() {
	s.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = wgName
	link := &netlink.Wireguard{LinkAttrs: attrs}
	if err := netlink.LinkAdd(link); err != nil {
		s.Fatalf("add a WireGuard device: %v", err)
	}
	s.Cleanup(func() { check(s.T, netlink.LinkDel(link)) })
	if _, err := exec.LookPath("wg"); err != nil {
		testenv.Missing(s.T, "needs wg: install wireguard-tools")
	}
	dir := s.TempDir()
	var public [2]string
	for i, name := range []string{"host", "client"} {
		key := filepath.Join(dir, name)
		s.sh("umask 077 && wg genkey >%s", key)
		public[i] = strings.TrimSpace(s.sh("wg pubkey <%s", key))
	}
	const client = "wg1"
	s.sh("wg set %s listen-port 51820 private-key %s peer %s allowed-ips %s/32", wgName, filepath.Join(dir, "host"),
		public[1], insideClient)
	s.sh("ip address add %s/24 dev %s && ip link set %s up", insideHost, wgName, wgName)
	for _, command := range []string{
		"ip link add " + client + " type wireguard",
		fmt.Sprintf("wg set %s private-key %s peer %s allowed-ips %s/32 endpoint %s:51820", client,
			filepath.Join(dir, "client"), public[0], insideHost, sshServer),
		fmt.Sprintf("ip address add %s/24 dev %s && ip link set %s up", insideClient, client, client),
	} {
		s.shell(command, s.client...)
	}
}
