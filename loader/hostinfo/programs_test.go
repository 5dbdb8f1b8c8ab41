package hostinfo

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/paraxial/paraxial/loader/hostinfo/upstream"
	"github.com/paraxial/paraxial/tests/testenv"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// anyProgram lets a process count that has only the name.
func anyProgram(string, int, string) (bool, error) { return true, nil }

// renamed returns programs that take this test for a genuine one.
func renamed() *programs {
	p := newPrograms("/proc")
	p.others.genuine = anyProgram
	return p
}

// rename gives this process another name, for this test.
func rename(t *testing.T, name string) {
	t.Helper()
	const comm = "/proc/self/comm"
	old, err := os.ReadFile(comm)
	check(t, err)
	check(t, os.WriteFile(comm, []byte(name), 0))
	t.Cleanup(func() { check(t, os.WriteFile(comm, old, 0)) })
}

func programServers(t *testing.T, p *programs) string {
	t.Helper()
	servers, _, err := p.servers()
	check(t, err)
	var words []string
	for _, s := range servers {
		words = append(words, s.Addr.String()+" "+s.What)
	}
	slices.Sort(words)
	return strings.Join(slices.Compact(words), ", ")
}

// The peers of a VPN program are those to which it has connected, not those that connected to it.
func TestVPNPeers(t *testing.T) {
	loopbackUp(t)
	bridge(t, "vpn0", "192.0.2.1/24", "192.0.2.2/24", "192.0.2.3/24")
	connect(t, "tcp4", "192.0.2.1:1194", "192.0.2.1:1194", "192.0.2.2") // this process has both ends
	udp, err := net.Dial("udp4", "192.0.2.3:1194")
	check(t, err)
	t.Cleanup(func() { check(t, udp.Close()) })
	p := newPrograms("/proc")
	if got := programServers(t, p); got != "" {
		t.Errorf("servers of a process with another name: %s", got)
	}
	rename(t, "openvpn")
	if got := programServers(t, newPrograms("/proc")); got != "" {
		t.Errorf("servers of a process that only has the name: %s", got)
	}
	p = renamed() // the name of a process is read once
	const want = "192.0.2.1 the other end of a tunnel of openvpn, 192.0.2.3 the other end of a tunnel of openvpn"
	if got := programServers(t, p); got != want {
		t.Errorf("servers %q, want %q", got, want)
	}
	check(t, udp.Close())
	if udp, err = net.Dial("udp4", "192.0.2.3:1195"); err != nil {
		t.Fatal(err)
	}
	if got := programServers(t, p); got != want {
		t.Errorf("servers after it connected again: %q", got)
	}
}

// Only a process that has a tun interface holds one.
func TestHoldsTunnel(t *testing.T) {
	testenv.Root(t)
	if holdsTunnel("/proc", os.Getpid()) {
		t.Error("this process holds a tunnel before it has made one")
	}
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	check(t, err)
	defer unix.Close(fd)
	if holdsTunnel("/proc", os.Getpid()) {
		t.Error("an open /dev/net/tun counts as a tunnel")
	}
	ifr, err := unix.NewIfreq("tun7")
	check(t, err)
	ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	check(t, unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr))
	if !holdsTunnel("/proc", os.Getpid()) {
		t.Error("a process with tun7 holds no tunnel")
	}
}

// A local resolver counts only if it runs as root or as its own user, and a VPN program only if it
// runs as root or holds a tunnel.
func TestProgramsOfOthers(t *testing.T) {
	proc := t.TempDir()
	for pid, tt := range []struct{ name, uid, args string }{
		{"init", "0", "init"},
		{"dnsmasq", "0", "dnsmasq --server=192.0.2.1"},
		{"dnsmasq", "12345", "dnsmasq --server=192.0.2.2"},
		{"openvpn", "0", "openvpn --remote 192.0.2.3 1194"},
		{"openvpn", "12345", "openvpn --remote 192.0.2.4 1194"},
		{"bash", "0", "bash --server=192.0.2.5"},
	} {
		dir := fmt.Sprintf("%s/%d", proc, pid+1)
		check(t, os.MkdirAll(dir+"/fd", 0o755))
		for file, text := range map[string]string{
			"comm": tt.name + "\n", "cmdline": strings.ReplaceAll(tt.args, " ", "\x00") + "\x00",
			"status": "Name:\tx\nUid:\t" + strings.Repeat(tt.uid+"\t", 4) + "\n",
			"stat":   "1 (x) S 1" + strings.Repeat(" 0", 40),
		} {
			check(t, os.WriteFile(dir+"/"+file, []byte(text), 0o644))
		}
		program := filepath.Join(t.TempDir(), tt.name)
		check(t, os.WriteFile(program, nil, 0o755))
		check(t, os.Symlink(program, dir+"/exe"))
		check(t, os.Mkdir(dir+"/ns", 0o755))
		check(t, os.Symlink("/proc/self/ns/net", dir+"/ns/net"))
	}
	const want = "192.0.2.1 a DNS resolver of this host (the command line of dnsmasq), " +
		"192.0.2.3 a VPN server of this host (the command line of openvpn)"
	if got := programServers(t, &programs{proc: proc}); got != want {
		t.Errorf("servers %q, want %q", got, want)
	}
}

// Read has the tunnels and servers, and so does WatchServers, which tells of each change.
func TestWatchServers(t *testing.T) {
	testenv.Root(t)
	calls := make(chan struct{})
	r := newReader(t)
	go r.WatchServers(t.Context(), func() {
		r.Mark()
		select {
		case calls <- struct{}{}:
		case <-t.Context().Done():
		}
	})
	expectCall(t, calls, "at the start")
	link := &netlink.Vxlan{LinkAttrs: netlink.LinkAttrs{Name: "vxw"}, VxlanId: 9, Port: 4789,
		Group: net.ParseIP("192.0.2.7")}
	check(t, netlink.LinkAdd(link))
	expectCall(t, calls, "after a tunnel came")
	if f := read(t, Options{}); len(f.Tunnels) != 1 || f.Tunnels[0].Addr.String() != "192.0.2.7" {
		t.Errorf("tunnels %v", f.Tunnels)
	}
	check(t, netlink.LinkDel(link))
	expectCall(t, calls, "after it went")
	select {
	case <-calls:
		t.Error("a call without a change")
	case <-time.After(2 * serverInterval):
	}
}

func BenchmarkServers(b *testing.B) {
	p := programs{proc: "/proc"}
	files := upstream.NewReader()
	for b.Loop() {
		_, refs, err := p.servers()
		check(b, err)
		files.Read(refs...)
	}
}

// A chronyd is asked once in a while. Its servers are unknown if it does not answer.
func TestServersOfChrony(t *testing.T) {
	testenv.Root(t)
	rename(t, chronyd)
	asked := 0
	var failure error
	p := &programs{proc: "/proc", ask: func() ([]upstream.Server, error) {
		asked++
		return []upstream.Server{{Addr: netip.AddrFrom4([4]byte{192, 0, 2, byte(asked)}), What: "asked"}}, failure
	}, others: others{genuine: anyProgram}}
	for _, tc := range []struct {
		after   time.Duration
		failure error
		want    string
	}{
		{0, nil, "192.0.2.1 asked"},
		{0, nil, "192.0.2.1 asked"},
		{chronyFor, nil, "192.0.2.2 asked"},
		{chronyFor, errors.New("connection refused"), ""},
	} {
		for key, a := range p.chrony {
			p.chrony[key] = chronyAnswer{a.servers, a.at.Add(-tc.after)}
		}
		failure = tc.failure
		if got := programServers(t, p); got != tc.want {
			t.Errorf("after %v: servers %q, want %q", tc.after, got, tc.want)
		}
	}
}
