// Package hostinfo reads the addresses that the host depends on: its own addresses, its gateways,
// its resolvers and other servers, the ends of its tunnels, and the peers of SSH sessions. It
// changes nothing and looks up no names.
package hostinfo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"github.com/vishvananda/netlink"

	"github.com/paraxial/paraxial/loader/hostinfo/tunnels"
	"github.com/paraxial/paraxial/loader/hostinfo/upstream"
)

// LocalAddr is an address of the host.
type LocalAddr struct {
	Addr      netip.Addr
	Interface string
}

// Gateway is a router in a route of the host.
type Gateway struct {
	Addr      netip.Addr
	Interface string
}

// Facts are the addresses that the host depends on. They are unmapped and without zone. The
// lists are sorted and have no duplicates.
type Facts struct {
	Addresses []LocalAddr
	Gateways  []Gateway
	Resolvers []netip.Addr // without loopback stubs
	SSHPeers  []netip.Addr // of authenticated sessions
	Tunnels   []tunnels.Endpoint
	Servers   []upstream.Server // DHCP, time, VPN, and the resolvers behind a local one
	Cloud     string            // in which this host is, one of Clouds; "" if it is not known
	Routed    []netip.Addr      // those of Options.Services with a route of their own
	// Problems name the tunnels and servers that are not known.
	Problems []string
}

// Options of Read.
type Options struct {
	// SSHSessions asks for the peers of SSH sessions.
	SSHSessions bool
	// ResolvConf are the files with resolvers, DefaultResolvConf if nil. A file
	// that does not exist counts as empty.
	ResolvConf []string
	// Services are the addresses that Facts.Routed is about.
	Services []netip.Addr
}

// DefaultResolvConf returns the files with resolvers. With systemd-resolved the first one
// has only its stub on loopback.
func DefaultResolvConf() []string {
	return []string{"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"}
}

// Reader reads the facts. It keeps those that cost much to read and cannot change, or whose
// changes the kernel announces. A Reader is for one network namespace.
type Reader struct {
	logins   logins
	network  netFacts
	programs *programs
	cloud    string
	files    *upstream.Reader
	mu       sync.Mutex // guards logins
	using    sync.Mutex // guards programs
	marking  sync.Mutex // guards marked
	marked   Facts
}

// NewReader returns a Reader. It holds a socket open from the first Read until Close.
func NewReader() *Reader {
	return &Reader{
		logins: logins{proc: "/proc"}, programs: newPrograms("/proc"), files: upstream.NewReader(),
		cloud: cloudOf(dmiDir),
	}
}

// Close releases the socket.
func (r *Reader) Close() error { return r.network.close() }

// Read collects the facts as they are now. If some cannot be read, it returns the others and an
// error.
func (r *Reader) Read(ctx context.Context, o Options) (Facts, error) {
	if o.ResolvConf == nil {
		o.ResolvConf = DefaultResolvConf()
	}
	// A block waits for all. Each takes a fraction of a millisecond.
	var peers []netip.Addr
	var peersErr error
	var servers []upstream.Server
	var problems []string
	var reading sync.WaitGroup
	reading.Go(func() { servers, problems = r.servers() })
	if o.SSHSessions {
		reading.Go(func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			peers, peersErr = r.logins.peers()
		})
	}
	f, err := r.readRest(ctx, o)
	reading.Wait()
	f.SSHPeers, f.Servers, f.Problems = peers, servers, append(f.Problems, problems...)
	return f, errors.Join(err, peersErr)
}

// readRest collects the facts other than SSH peers.
func (r *Reader) readRest(ctx context.Context, o Options) (Facts, error) {
	f := Facts{Cloud: r.cloud}
	var errs []error
	note := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	for _, read := range []func(){
		func() { note(r.network.read(&f, o.Services)) },
		func() {
			resolvers, problems, err := r.files.Resolvers(o.ResolvConf)
			f.Resolvers, f.Problems = resolvers, append(f.Problems, problems...)
			note(err)
		},
	} {
		if err := ctx.Err(); err != nil {
			return f, errors.Join(append(errs, err)...)
		}
		read()
	}
	return f, errors.Join(errs...)
}

// dumpTries is the number of attempts to read a list that changes while it is read.
const dumpTries = 5

// dump reads a list from the kernel until a read was not interrupted by a change.
func dump[T any](what string, read func() ([]T, error)) ([]T, error) {
	var list []T
	var err error
	for range dumpTries {
		if list, err = read(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	if err != nil {
		return list, fmt.Errorf("read %s: %w", what, err)
	}
	return list, nil
}

// servers returns the servers of other programs.
func (r *Reader) servers() ([]upstream.Server, []string) {
	r.using.Lock()
	defer r.using.Unlock()
	servers, files, err := r.programs.servers()
	found := r.files.Read(files...)
	if err != nil {
		found.Problems = append(found.Problems, err.Error())
	}
	return append(servers, found.Servers...), found.Problems
}

func toAddr(ip net.IP) (netip.Addr, bool) {
	a, ok := netip.AddrFromSlice(ip)
	return a.Unmap(), ok
}
