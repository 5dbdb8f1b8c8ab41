package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/paraxial/paraxial/tests/lab/frame"
)

// Addresses of the wire's ends, from the documentation ranges. The peer's addresses are the host's
// gateways; nothing listens there.
var (
	hostPrefix4 = netip.MustParsePrefix("192.0.2.1/24")
	hostPrefix6 = netip.MustParsePrefix("2001:db8::1/64")
	peerAddr4   = netip.MustParseAddr("192.0.2.2")
	peerAddr6   = netip.MustParseAddr("2001:db8::2")
)

var (
	hostMAC = frame.MAC{2, 0, 0, 0, 0, 1}
	peerMAC = frame.MAC{2, 0, 0, 0, 0, 2}
)

// A Wire is a veth pair. The host end is in this network namespace, has addresses and default
// routes, and carries the filter. The peer end is in a separate namespace that sends nothing by
// itself: no address, no ARP, no IPv6. So the host end receives only the frames that were sent.
type Wire struct {
	// Host is the name of the host end.
	Host string

	link   netlink.Link
	peer   netns.NsHandle
	remote *netlink.Handle
	sender *socket
	syncs  uint64
}

// NewWire makes a wire whose host end is called name. Datagrams from any source reach a socket on
// the host end, and replies to any source go to the peer end.
func NewWire(name string) (w *Wire, err error) { return NewWireOf(name, 1) }

// NewWireOf makes a wire with several queues, so that the host end may receive on several CPUs at
// once. Only frames of the same flow stay in order.
func NewWireOf(name string, queues int) (w *Wire, err error) {
	w = &Wire{Host: name}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("make wire %s: %w", name, err), w.Close())
			w = nil
		}
	}()
	if w.peer, err = silentNamespace(); err != nil {
		return w, err
	}
	if w.remote, err = netlink.NewHandleAt(w.peer); err != nil {
		return w, fmt.Errorf("netlink in the peer's namespace: %w", err)
	}
	if err = w.addLinks(queues); err != nil {
		return w, err
	}
	if err = w.configureHost(); err != nil {
		return w, err
	}
	w.sender, err = w.openPeer(0)
	return w, err
}

// Close removes both ends.
func (w *Wire) Close() error {
	var errs []error
	if w.sender != nil {
		errs = append(errs, w.sender.Close())
	}
	if w.link != nil {
		errs = append(errs, netlink.LinkDel(w.link))
	}
	if w.remote != nil {
		w.remote.Close()
	}
	if w.peer.IsOpen() {
		errs = append(errs, w.peer.Close())
	}
	return errors.Join(errs...)
}

// Addr4 is the IPv4 address of the host end.
func (w *Wire) Addr4() netip.Addr { return hostPrefix4.Addr() }

// Addr6 is the IPv6 address of the host end.
func (w *Wire) Addr6() netip.Addr { return hostPrefix6.Addr() }

// From starts a packet from src to the host end.
func (w *Wire) From(src netip.Addr) frame.Packet {
	dst := w.Addr4()
	if src.Is6() {
		dst = w.Addr6()
	}
	return frame.IP(src, dst).Ethernet(hostMAC, peerMAC)
}

// Send puts frames on the wire at the peer end, in order. Several goroutines may
// send at once.
func (w *Wire) Send(frames ...[]byte) error {
	for _, f := range frames {
		if err := w.sender.send(f); err != nil {
			return fmt.Errorf("send to %s: %w", w.Host, err)
		}
	}
	return nil
}

// Sync waits until c has seen all frames sent before. It sends a frame of its own, with an
// experimental EtherType, which a filter counts as not IP.
func (w *Wire) Sync(ctx context.Context, c *Capture) error {
	w.syncs++
	if err := w.Send(syncFrame(hostMAC, peerMAC, w.syncs)); err != nil {
		return err
	}
	return c.waitSync(ctx, w.syncs)
}

// Settle waits until every frame sent before is either dropped or counted by the server, however
// slow the machine is. The wire must have one queue.
func (w *Wire) Settle(ctx context.Context, s *Server) error {
	c, err := w.CaptureHost()
	if err != nil {
		return err
	}
	if err := errors.Join(w.Sync(ctx, c), c.Close()); err != nil {
		return err
	}
	return s.drain(ctx)
}

// silentNamespace makes a network namespace with IPv6 off, and stays in the current one.
func silentNamespace() (netns.NsHandle, error) {
	runtime.LockOSThread()
	here, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return netns.None(), fmt.Errorf("open network namespace: %w", err)
	}
	defer here.Close()
	ns, err := netns.New()
	if err != nil {
		runtime.UnlockOSThread()
		return netns.None(), fmt.Errorf("new network namespace: %w", err)
	}
	err = sysctl("net/ipv6/conf/default/disable_ipv6", "1")
	if back := netns.Set(here); back != nil {
		// The thread stays locked, so that it ends with its goroutine.
		return netns.None(), errors.Join(err, fmt.Errorf("return to network namespace: %w", back), ns.Close())
	}
	runtime.UnlockOSThread()
	if err != nil {
		return netns.None(), errors.Join(err, ns.Close())
	}
	return ns, nil
}

// sysctl acts on the calling thread's network namespace.
func sysctl(name, value string) error {
	path := filepath.Join("/proc/sys", name)
	if err := os.WriteFile(path, []byte(value), 0); err != nil {
		return fmt.Errorf("sysctl %s=%s: %w", name, value, err)
	}
	return nil
}

func (w *Wire) openPeer(protocol uint16) (*socket, error) {
	link, err := w.remote.LinkByName(peerName)
	if err != nil {
		return nil, fmt.Errorf("peer end: %w", err)
	}
	return openSocketAt(w.peer, link.Attrs().Index, protocol)
}

// CaptureHost captures frames that arrive at the host end and have passed XDP.
func (w *Wire) CaptureHost() (*Capture, error) {
	s, err := openSocket(w.link.Attrs().Index, unix.ETH_P_ALL)
	if err != nil {
		return nil, fmt.Errorf("capture on %s: %w", w.Host, err)
	}
	return startCapture(s)
}

// CapturePeer captures, at the peer end, the frames that the host sends.
func (w *Wire) CapturePeer() (*Capture, error) {
	s, err := w.openPeer(unix.ETH_P_ALL)
	if err != nil {
		return nil, fmt.Errorf("capture at the peer of %s: %w", w.Host, err)
	}
	return startCapture(s)
}

// SetPeerMTU sets the MTU of the peer end, which the host's program may limit.
func (w *Wire) SetPeerMTU(mtu int) error {
	link, err := w.remote.LinkByName(peerName)
	if err != nil {
		return fmt.Errorf("peer end: %w", err)
	}
	if err := w.remote.LinkSetMTU(link, mtu); err != nil {
		return fmt.Errorf("set the MTU of the peer of %s to %d: %w", w.Host, mtu, err)
	}
	return nil
}
