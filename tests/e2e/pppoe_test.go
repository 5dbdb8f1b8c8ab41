//go:build devices

package e2e

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/paraxial/paraxial/tests/lab"
	"github.com/paraxial/paraxial/tests/testenv"
)

// A pppSession is a PPPoE session between this host and the other one.
type pppSession struct {
	iface, other   string // that carry it
	name, customer string // of its ends
	local, remote  string
	local6         string
	offset         string // of the number, since a concentrator also sees the frames of the VLANs above its interface
}

var pppSessions = []pppSession{
	{lanName, otherName, "dsl0", "customer0", "10.67.0.2", "10.67.0.1", "2001:db8:67::2", "0"},
	// In a VLAN.
	{lanName + ".5", otherName + ".5", "dsl5", "customer5", "10.67.5.2", "10.67.5.1", "2001:db8:67:5::2", "10"},
}

// Packets of a blocked source do not arrive through a PPPoE session, which pppd has with an access
// concentrator. Those of another source do.
func TestPPPoE(t *testing.T) {
	needPPPoE(t)
	h, _ := newLAN(t)
	h.sh("ip link add link %s name %[1]s.5 type vlan id 5", lanName)
	h.sh("ip link set %s.5 up", lanName)
	h.sh("ip -n %s link add link %s name %[2]s.5 type vlan id 5", otherHost, otherName)
	h.sh("ip -n %s link set %s.5 up", otherHost, otherName)
	server := h.serve()
	for _, session := range pppSessions {
		h.dial(session)
		h.sendsInside(session, server, 0)
	}
	h.ctl(0, "block", bypassBlocked[0], bypassBlocked[1])
	for _, session := range pppSessions {
		h.sendsInside(session, server, 2*eachInside)
	}
}

// eachInside is the number of datagrams of each source that sendsInside sends.
const eachInside = 20

// sendsInside sends datagrams of blocked and of free sources of both families through the session, and
// checks how many are dropped.
func (h *host) sendsInside(s pppSession, server *lab.Server, drops int) {
	h.Helper()
	before, dropped := server.Sources(), h.reason(lanName, "blocked")
	for family, to := range []string{s.local, s.local6} {
		// The order is kept, so the free ones are the last to arrive.
		blocked, free := second(bypassBlocked[family]), second(bypassFree[family])
		for range eachInside {
			h.sendFromOther(blocked, to)
			h.sendFromOther(free, to)
		}
		h.within("the datagrams of a free source arrive", patience,
			func() bool { return server.Sources()[free]-before[free] == eachInside })
		if got := server.Sources()[blocked] - before[blocked]; got != eachInside-drops/2 {
			h.Errorf("%s: %d datagrams of %s arrived, want %d", s.name, got, blocked, eachInside-drops/2)
		}
	}
	if got := h.reason(lanName, "blocked") - dropped; got != uint64(drops) {
		h.Errorf("%s: %d packets are counted as blocked, want %d", s.name, got, drops)
	}
}

// second returns the second address of a prefix.
func second(prefix string) netip.Addr { return netip.MustParsePrefix(prefix).Addr().Next() }

// protocolPPPoE is PX_PROTO_OE of linux/if_pppox.h.
const protocolPPPoE = 0

// needPPPoE fails the test on a kernel without PPPoE, and asks for the programs.
func needPPPoE(t *testing.T) {
	t.Helper()
	testenv.Root(t)
	fd, err := unix.Socket(unix.AF_PPPOX, unix.SOCK_STREAM, protocolPPPoE)
	if err != nil {
		t.Fatalf("open a PPPoE socket: %v", err)
	}
	check(t, unix.Close(fd))
	for _, program := range []string{"pppd", "pppoe-server", "pppoe"} {
		if _, err := exec.LookPath(program); err != nil {
			testenv.Missing(t, "needs "+program+": install ppp and pppoe")
		}
	}
}

// dial opens a PPPoE session. On the other host the sources of both prefixes are behind it.
func (h *host) dial(s pppSession) {
	h.Helper()
	const options = "noauth\nnodetach\nnoccp\nnovj\n+ipv6\nmtu 1492\n"
	dir := h.TempDir()
	log := filepath.Join(dir, "log")
	concentrator := writeConfig(h.T, filepath.Join(dir, "server"),
		options+"ifname "+s.customer+"\nipv6 ::1,::2\nlogfile "+log+"\n")
	client := writeConfig(h.T, filepath.Join(dir, "client"),
		options+"ifname "+s.name+"\nipv6 ::2,::1\nnoipdefault\nlogfile "+log+"\n")
	h.Cleanup(func() {
		if text, err := os.ReadFile(log); h.Failed() && err == nil {
			h.Logf("log of pppd:\n%s", text)
		}
	})
	h.program("ip", "netns", "exec", otherHost, "pppoe-server", "-F", "-I", s.other, "-L", s.remote, "-R", s.local,
		"-O", concentrator, "-o", s.offset)
	h.program("pppd", "plugin", "rp-pppoe.so", "nic-"+s.iface, "file", client)
	h.within("the session is open", patience, func() bool {
		for _, at := range []string{"-4 address show dev " + s.name, "-6 address show dev " + s.name,
			"-n " + otherHost + " -4 address show dev " + s.customer,
			"-n " + otherHost + " -6 address show dev " + s.customer} {
			out, err := exec.Command("ip", strings.Fields(at)...).Output()
			if err != nil || !strings.Contains(string(out), "inet") {
				return false
			}
		}
		return true
	})
	h.sh("ip address add %s/128 dev %s", s.local6, s.name)
	h.sh("ip -n %s route add %s/128 dev %s", otherHost, s.local6, s.customer)
	for family := range bypassBlocked {
		for _, prefix := range []string{bypassBlocked[family], bypassFree[family]} {
			h.sh("ip -n %s address add %s dev %s", otherHost, second(prefix), s.customer)
		}
	}
}

// sendFromOther sends a datagram from an address of the other host.
func (h *host) sendFromOther(source netip.Addr, to string) {
	h.Helper()
	runtime.LockOSThread()
	here, err := netns.Get()
	check(h.T, err)
	defer here.Close()
	there, err := netns.GetFromName(otherHost)
	check(h.T, err)
	defer there.Close()
	check(h.T, netns.Set(there))
	c, err := net.DialUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(source, clientPort)),
		net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(to), serverPort)))
	if err == nil {
		_, err = c.Write([]byte("inside"))
		err = errors.Join(err, c.Close())
	}
	check(h.T, netns.Set(here)) // otherwise the thread stays locked, and ends with the test
	runtime.UnlockOSThread()
	check(h.T, err)
}
