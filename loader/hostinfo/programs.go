package hostinfo

import (
	"fmt"
	"net/netip"
	"os"
	"os/user"
	"slices"
	"strings"
	"time"

	"github.com/paraxial/paraxial/loader/hostinfo/upstream"
)

const (
	dnsmasq = "dnsmasq"
	chronyd = "chronyd"
)

// vpnPrograms are the names of programs that carry a tunnel in user space. /proc shows at most 15
// bytes of a name.
func vpnPrograms() []string {
	return []string{"openvpn", "openconnect", "vpnc", "tincd", "tailscaled", "wireguard-go", "boringtun-cli",
		"zerotier-one"}
}

// programs finds the servers of programs that have them on their command line or in their sockets,
// or tell them: local resolvers, tunnels in user space, and chronyd.
//
// A process counts only if it is genuine. A resolver or chronyd must run as root or as its own user,
// and a VPN program as root, or hold a tun interface of this network namespace, for which somebody
// had to be root.
type programs struct {
	proc   string
	others others
	vpns   map[login]vpn
	chrony map[login]chronyAnswer
	ask    func() ([]upstream.Server, error) // upstream.Chrony, but in tests
}

func newPrograms(proc string) *programs { return &programs{proc: proc, ask: upstream.Chrony} }

// chronyAnswer is what a chronyd answered last.
type chronyAnswer struct {
	servers []upstream.Server
	at      time.Time
}

// chronyFor is how long an answer of chronyd is kept. It polls its servers once a minute or less.
const chronyFor = 10 * time.Second

// vpn is what was read of a VPN program last.
type vpn struct {
	sockets []uint32
	peers   []netip.Addr
	at      time.Time
}

// peersFor is how long the peers of the same sockets are kept.
const peersFor = time.Second

// servers returns the servers that programs use now, and the files that they read.
func (p *programs) servers() (servers []upstream.Server, files []upstream.Reference, err error) {
	pids, err := readNumbered(p.proc)
	if err != nil {
		return nil, nil, err
	}
	vpns, chrony := make(map[login]vpn), make(map[login]chronyAnswer)
	err = p.others.search(p.proc, pids, append(vpnPrograms(), dnsmasq, chronyd), func(pid int, name string) error {
		proc, err := readProcess(p.proc, pid, name)
		if err != nil {
			return err
		}
		var found []upstream.Server
		var refs []upstream.Reference
		switch name {
		case dnsmasq:
			if proc.root || isUser(proc.uid, dnsmasq, "libvirt-dnsmasq") {
				var args []string
				args, err = arguments(p.proc, pid)
				found, refs = upstream.OfDnsmasq(args)
			}
		case chronyd:
			if proc.root || isUser(proc.uid, "_chrony", "chrony") {
				found = p.ofChrony(proc, chrony)
			}
		default:
			found, refs, err = p.ofVPN(proc, vpns)
		}
		servers, files = append(servers, found...), append(files, refs...)
		return err
	})
	p.vpns, p.chrony = vpns, chrony
	if err != nil {
		return servers, files, fmt.Errorf("find VPN programs and resolvers: %w", err)
	}
	return servers, files, nil
}

// ofChrony returns the servers that chronyd uses. A chronyd without a command port does not answer,
// and then its servers are known from its configuration only.
func (p *programs) ofChrony(proc process, known map[login]chronyAnswer) []upstream.Server {
	key := login{proc.pid, proc.start}
	last, ok := p.chrony[key]
	if !ok || time.Since(last.at) > chronyFor {
		servers, err := p.ask()
		if err != nil {
			servers = nil
		}
		last = chronyAnswer{servers, time.Now()}
	}
	known[key] = last
	return last.servers
}

// ofVPN returns the servers of a VPN program: those that it is connected to, and those on its
// command line, because OpenVPN does not connect its sockets of UDP.
func (p *programs) ofVPN(proc process, vpns map[login]vpn) ([]upstream.Server, []upstream.Reference, error) {
	if !proc.root && !holdsTunnel(p.proc, proc.pid) {
		return nil, nil, nil
	}
	sockets, err := socketsOf(p.proc, proc.pid)
	if err != nil {
		return nil, nil, err
	}
	key := login{proc.pid, proc.start}
	v := p.vpns[key]
	if !slices.Equal(v.sockets, sockets) || time.Since(v.at) > peersFor {
		v = vpn{sockets: sockets, at: time.Now()}
		if v.peers, err = outbound(sockets); err != nil {
			return nil, nil, err
		}
	}
	vpns[key] = v
	args, err := arguments(p.proc, proc.pid)
	if err != nil {
		return nil, nil, err
	}
	servers, files := upstream.OfOpenVPN(args)
	for _, a := range v.peers {
		servers = append(servers, upstream.Server{Addr: a, What: "the other end of a tunnel of " + proc.name})
	}
	return servers, files, nil
}

// outbound returns the peers to which the sockets are connected. Peers that connected to this host
// do not count: anyone can do that.
func outbound(sockets []uint32) ([]netip.Addr, error) {
	if len(sockets) == 0 {
		return nil, nil
	}
	all, err := Connections(func(a netip.Addr) bool { return !a.IsLoopback() && !a.IsUnspecified() })
	if err != nil {
		return nil, err
	}
	var peers []netip.Addr
	for _, c := range all {
		if !c.Inbound && slices.Contains(sockets, c.inode) {
			peers = append(peers, c.Peer)
		}
	}
	return peers, nil
}

// holdsTunnel reports whether a process has a tun or tap interface. The kernel shows the name of
// the interface with the descriptor.
func holdsTunnel(proc string, pid int) bool {
	dir := fmt.Sprintf("%s/%d/", proc, pid)
	descriptors, err := readNumbered(dir + "fd")
	if err != nil {
		return false
	}
	for _, fd := range descriptors {
		number := fmt.Sprint(fd.number)
		if target, err := os.Readlink(dir + "fd/" + number); err != nil || target != "/dev/net/tun" {
			continue
		}
		info, err := os.ReadFile(dir + "fdinfo/" + number)
		if _, name, ok := strings.Cut(string(info), "\niff:"); err == nil && ok && strings.TrimSpace(name) != "" {
			return true
		}
	}
	return false
}

func isUser(uid string, names ...string) bool {
	return slices.ContainsFunc(names, func(name string) bool {
		u, err := user.Lookup(name)
		return err == nil && u.Uid == uid
	})
}
