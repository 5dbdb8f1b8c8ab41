package e2e

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/tests/lab"
	"github.com/paraxial/paraxial/tests/lab/frame"
	"github.com/paraxial/paraxial/tests/testenv"
)

// lanName is the interface of this host on a network segment with one other host, which has a
// network namespace of its own.
const (
	lanName   = "lan0"
	otherName = "lan1"
	otherHost = "other"
)

// newLAN starts a daemon that filters on the segment.
func newLAN(t *testing.T) (h *host, config string) {
	h = newHost(t)
	h.sh("ip netns add %s", otherHost)
	t.Cleanup(func() { h.sh("ip netns delete %s", otherHost) })
	h.sh("ip link add %s type veth peer name %s netns %s", lanName, otherName, otherHost)
	t.Cleanup(func() { h.sh("ip link delete %s", lanName) })
	h.sh("ip link set %s up", lanName)
	h.sh("ip -n %s link set %s up", otherHost, otherName)
	config = h.configured("interfaces: [" + lanName + "]\n")
	h.start()
	return h, config
}

// sh runs a command of the shell, which must succeed, and returns its output.
func (h *host) sh(format string, args ...any) string {
	h.Helper()
	command := fmt.Sprintf(format, args...)
	out, err := exec.Command("sh", "-c", command).CombinedOutput()
	if err != nil {
		h.Fatalf("%s: %v\n%s", command, err, out)
	}
	return string(out)
}

// program starts a program that runs until the end of the test.
func (h *host) program(args ...string) *os.Process {
	h.Helper()
	if _, err := exec.LookPath("busybox"); err != nil {
		testenv.Missing(h, "busybox (package busybox)")
	}
	cmd := exec.Command(args[0], args[1:]...)
	if err := cmd.Start(); err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd.Process
}

// reason returns the packets that the interface has counted under a reason.
func (h *host) reason(iface, reason string) uint64 {
	h.Helper()
	for _, i := range ctlJSON[control.Stats](h, "stats").Interfaces {
		if i.Name == iface {
			return i.Reasons[reason].Packets
		}
	}
	h.Fatalf("no counters of %s", iface)
	return 0
}

// bogons are private and unused networks, as many public lists have them.
const bogons = "0.0.0.0/8\n10.0.0.0/8\n127.0.0.0/8\n169.254.0.0/16\n172.16.0.0/12\n192.168.0.0/16\n"

// importBogons blocks them. This host's own address is among them, hence the force.
func (h *host) importBogons() {
	h.Helper()
	h.ctl(0, "import", writeConfig(h.T, filepath.Join(h.TempDir(), "bogons.txt"), bogons), "--force")
	for _, source := range []string{"10.20.0.1", "0.0.0.0"} {
		why := ctlJSON[control.WhyResult](h, "why", source)
		if why.Verdict != "drop" || why.EssentialRate != 1000 {
			h.Fatalf("why %s: %+v; want a drop, and the rate of essential packets", source, why)
		}
	}
}

// A host gets an address by DHCP, and keeps it, although a list blocks its server. With essential:
// off it does not.
func TestDHCPOfBlockedServer(t *testing.T) {
	h, config := newLAN(t)
	h.sh("ip -n %s address add 10.20.0.1/24 dev %s", otherHost, otherName)
	h.dhcpServer(otherName, "ip", "netns", "exec", otherHost)
	h.importBogons()
	client, done := h.dhcpClient(lanName)
	h.within("a lease", patience, func() bool { return done("bound") == 1 })
	if !strings.Contains(h.sh("ip address show %s", lanName), "10.20.0.") {
		t.Errorf("the interface has no address of the server:\n%s", h.sh("ip address show %s", lanName))
	}
	renew := func() { check(t, client.Signal(unix.SIGUSR1)) }
	renew()
	h.within("the lease is renewed", patience, func() bool { return done("renew") == 1 })
	if h.reason(lanName, "essential") < 3 {
		t.Errorf("%d packets passed as essential, want an offer and two acknowledgements",
			h.reason(lanName, "essential"))
	}

	writeConfig(t, config, "interfaces: ["+lanName+"]\nessential: off\n")
	if !h.reloads() {
		t.Fatal("the reload failed")
	}
	before, passed := h.reason(lanName, "blocked"), h.reason(lanName, "essential")
	renew()
	h.within("the answer is dropped", patience, func() bool { return h.reason(lanName, "blocked") > before })
	if done("renew") != 1 || h.reason(lanName, "essential") != passed {
		t.Errorf("with essential: off, %d renewals and %d essential packets, want 1 and %d", done("renew"),
			h.reason(lanName, "essential"), passed)
	}
	if r := h.ctl(0, "why", "10.20.0.1"); strings.Contains(r.Stdout, "essential") {
		t.Errorf("with essential: off, why says:\n%s", r.Stdout)
	}

	writeConfig(t, config, "interfaces: ["+lanName+"]\n")
	if !h.reloads() {
		t.Fatal("the reload failed")
	}
	if r := h.ctl(0, "why", "10.20.0.1"); !strings.Contains(r.Stdout, "up to 1000 packets a second") {
		t.Errorf("why does not tell the rate:\n%s", r.Stdout)
	}
	renew()
	h.within("the lease is renewed again, or a new one made", patience,
		func() bool { return done("renew")+done("bound") >= 3 })
}

// A DHCP server hears its clients, which have no address yet, although a list blocks 0.0.0.0/8.
func TestDHCPServerOfBlockedClients(t *testing.T) {
	h, _ := newLAN(t)
	h.sh("ip address add 10.20.0.1/24 dev %s", lanName)
	h.dhcpServer(lanName)
	h.importBogons()
	_, done := h.dhcpClient(otherName, "ip", "netns", "exec", otherHost)
	h.within("a lease", patience, func() bool { return done("bound") == 1 })
	if h.reason(lanName, "essential") < 2 {
		t.Errorf("%d packets passed as essential, want two or more", h.reason(lanName, "essential"))
	}
}

func (h *host) dhcpServer(iface string, inside ...string) {
	h.Helper()
	dir := h.TempDir()
	leases := writeConfig(h.T, filepath.Join(dir, "leases"), "")
	config := writeConfig(h.T, filepath.Join(dir, "udhcpd.conf"), fmt.Sprintf(
		"start 10.20.0.100\nend 10.20.0.120\ninterface %s\nlease_file %s\npidfile %s\n"+
			"option subnet 255.255.255.0\noption lease 3600\n", iface, leases, filepath.Join(dir, "pid")))
	h.program(append(inside, "busybox", "udhcpd", "-f", config)...)
}

// dhcpClient starts a client. done returns how often it has got an event: bound or renew.
func (h *host) dhcpClient(iface string, inside ...string) (client *os.Process, done func(event string) int) {
	h.Helper()
	dir := h.TempDir()
	events := writeConfig(h.T, filepath.Join(dir, "events"), "")
	script := writeConfig(h.T, filepath.Join(dir, "script"), "#!/bin/sh\n"+
		"case $1 in bound|renew) ip address replace $ip/24 dev $interface;; esac\necho $1 >>"+events+"\n")
	check(h.T, os.Chmod(script, 0o700))
	client = h.program(append(inside, "busybox", "udhcpc", "-f", "-i", iface, "-s", script, "-t", "1000", "-T", "1")...)
	return client, func(event string) int {
		b, err := os.ReadFile(events)
		check(h.T, err)
		return strings.Count(string(b), event+"\n")
	}
}

// IPv6 finds neighbours, and finds that an address is taken, although the network, the link-local
// addresses and the unspecified address are blocked.
func TestNeighboursOfBlockedNetwork(t *testing.T) {
	h, _ := newLAN(t)
	h.sh("ip address add 2001:db8:20::1/64 dev %s", lanName)
	h.sh("ip -n %s address add 2001:db8:20::2/64 dev %s", otherHost, otherName)
	settled := func(inside, iface string) func() bool {
		return func() bool {
			shown := h.sh("ip %s -6 address show %s", inside, iface)
			return !strings.Contains(strings.ReplaceAll(shown, "dadfailed tentative", "dadfailed"), "tentative")
		}
	}
	h.within("the addresses are checked", patience, settled("", lanName))
	h.within("the addresses are checked", patience, settled("-n "+otherHost, otherName))
	for _, prefix := range []string{"2001:db8:20::/64", "fe80::/10", "::/128"} {
		h.ctl(0, "block", prefix, "--force")
	}

	h.sh("ip -6 neigh flush dev %s", lanName)
	// The answer, that the port is closed, is dropped. The neighbour's address is found all the same.
	c, err := net.Dial("udp", "[2001:db8:20::2]:9")
	check(t, err)
	defer c.Close()
	_, err = c.Write([]byte("hello"))
	check(t, err)
	h.within("the neighbour is found", patience, func() bool {
		return strings.Contains(h.sh("ip -6 neigh show 2001:db8:20::2 dev %s", lanName), "lladdr")
	})
	h.within("the answer is dropped", patience, func() bool { return h.reason(lanName, "blocked") > 0 })

	// Each host takes an address of the other.
	h.sh("ip address add 2001:db8:20::2/64 dev %s", lanName)
	h.within("the address is checked", patience, settled("", lanName))
	h.sh("ip -n %s address add 2001:db8:20::1/64 dev %s", otherHost, otherName)
	h.within("the address is checked", patience, settled("-n "+otherHost, otherName))
	for _, show := range []string{
		"ip -6 address show " + lanName, "ip -n " + otherHost + " -6 address show " + otherName,
	} {
		if out := h.sh("%s", show); !strings.Contains(out, "dadfailed") {
			t.Errorf("%s: a taken address was not noticed:\n%s", show, out)
		}
	}
}

// Floods from blocked sources that look like essential packets are held to the rate of the interface,
// whatever they pretend to be. Each packet is counted.
func TestForgedEssentialFloods(t *testing.T) {
	h := newHost(t)
	h.start()
	for _, prefix := range bypassBlocked {
		h.ctl(0, "block", prefix)
	}
	v4 := netip.MustParsePrefix(bypassBlocked[0]).Addr().Next()
	v6 := netip.MustParsePrefix(bypassBlocked[1]).Addr().Next()
	for _, flood := range []struct {
		name  string
		frame []byte
	}{
		{"DHCP answers", h.wire.From(v4).UDP(67, 68, make([]byte, 240))},
		{"neighbour advertisements", h.wire.From(v6).HopLimit(255).Raw(frame.ICMPv6, append([]byte{136, 0},
			make([]byte, 22)...))},
		{"IGMP", h.wire.From(v4).HopLimit(1).Raw(2, []byte{0x11, 0, 0, 0, 0, 0, 0, 0})},
	} {
		counts := func() (c [3]uint64) {
			for i, reason := range []string{"essential", "essential_limited", "blocked"} {
				c[i] = h.reason(interfaceName, reason)
			}
			return c
		}
		const sent, atOnce = 20_000, 100
		before, begin := counts(), time.Now()
		for range sent / atOnce {
			for range atOnce {
				check(t, h.wire.Send(flood.frame))
			}
		}
		h.waitTaken()
		after, took := counts(), time.Since(begin)
		passed, held := after[0]-before[0], after[1]-before[1]
		t.Logf("%s: %d of %d passed in %s", flood.name, passed, sent, took)
		// At once 98 of the pool of the kind, and 4 of each of two shares. Then 126 a second.
		if most := 106 + uint64(took.Seconds()*126) + 3; passed > most || passed < 106 {
			t.Errorf("%s: %d passed in %s, want from 106 to %d", flood.name, passed, took, most)
		}
		if passed+held != sent || after[2] != before[2] {
			t.Errorf("%s: %d passed, %d were over the rate and %d blocked, want %d in all and 0", flood.name, passed,
				held, after[2]-before[2], sent)
		}
	}
	for _, e := range ctlJSON[[]control.Entry](h, "list") {
		t.Logf("%s: %d drops", e.Prefix, e.Drops)
	}
}

// A flood of forged DHCP answers from a blocked range does not keep out those of a blocked server on
// the segment.
func TestDHCPDuringForgedFlood(t *testing.T) {
	const rounds, atOnce, answers = 100, 250, 4
	h := newHost(t)
	h.start()
	h.ctl(0, "block", "198.18.0.0/15", "10.20.0.0/16")
	server, err := lab.Serve(68)
	check(t, err)
	t.Cleanup(func() { server.Close() })
	dhcp := netip.MustParseAddr("10.20.0.1")
	answer := h.wire.From(dhcp).Ethernet(frame.MAC{2, 0, 0, 0, 0, 1}, frame.MAC{2, 0, 0, 0, 0, 9}).
		UDP(67, 68, make([]byte, 240))
	for round := range rounds {
		flood := make([][]byte, atOnce)
		for i := range flood {
			flood[i] = h.wire.From(ipv4(198, 18, byte(round), byte(i))).UDP(67, 68, make([]byte, 240))
		}
		check(t, h.wire.Send(flood...))
		if round%(rounds/answers) == rounds/answers-1 {
			check(t, h.wire.Send(answer))
		}
	}
	h.settle(server)
	held, arrived := h.reason(interfaceName, "essential_limited"), server.Sources()[dhcp]
	t.Logf("%d of %d forged packets were over the rate", held, rounds*atOnce)
	if arrived != answers || held < rounds*atOnce/2 {
		t.Errorf("%d of %d answers of the server arrived, and %d of %d forged ones were dropped", arrived, answers,
			held, rounds*atOnce)
	}
}
