package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/paraxial/paraxial/policy"
	"github.com/paraxial/paraxial/tests/lab/frame"
)

// The two ends of the wire. Frames are injected at the peer and received by the host.
const (
	hostName = "up0"
	peerName = "gen0"
)

// vethEntries is how many addresses are blocked in this part, and all traffic is from them.
const vethEntries = 100_000

// A vethRow is the rate at which a contender takes packets of blocked sources
// off the wire.
type vethRow struct {
	Contender string    `json:"contender"`
	Missing   string    `json:"missing,omitempty"` // why it was not measured
	Mpps      float64   `json:"mpps"`              // median of Rounds
	Rounds    []float64 `json:"rounds_mpps"`
	Delivered uint64    `json:"delivered"` // packets that got through all the same
}

// A veth is a wire whose host end receives through NAPI, as a network card does:
// in a thread of its own, so that it need not share a CPU with the sender.
type veth struct{ host, peer netlink.Link }

func newVeth() (*veth, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = hostName
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: peerName}); err != nil {
		return nil, fmt.Errorf("add veth pair: %w", err)
	}
	v := &veth{}
	if err := v.configure(); err != nil {
		return nil, errors.Join(fmt.Errorf("configure the veth pair: %w", err), v.Close())
	}
	return v, nil
}

func (v *veth) configure() (err error) {
	if v.host, err = netlink.LinkByName(hostName); err != nil {
		return err
	}
	if v.peer, err = netlink.LinkByName(peerName); err != nil {
		return err
	}
	// Without GRO a veth has no NAPI, and takes no injected frames unless it has a native program.
	if err := setGRO(hostName); err != nil {
		return err
	}
	if err := netlink.LinkSetARPOff(v.peer); err != nil {
		return err
	}
	address := &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(192, 0, 2, 1), Mask: net.CIDRMask(24, 32)}}
	if err := netlink.AddrAdd(v.host, address); err != nil {
		return err
	}
	for _, sysctl := range []string{"all", hostName} {
		if err := os.WriteFile("/proc/sys/net/ipv4/conf/"+sysctl+"/rp_filter", []byte("0"), 0); err != nil {
			return err
		}
	}
	for _, l := range []netlink.Link{v.peer, v.host} {
		if err := netlink.LinkSetUp(l); err != nil {
			return err
		}
	}
	return os.WriteFile("/sys/class/net/"+hostName+"/threaded", []byte("1"), 0)
}

// Close removes both ends.
func (v *veth) Close() error {
	link, err := netlink.LinkByName(hostName)
	if err != nil {
		return err
	}
	return netlink.LinkDel(link)
}

// setGRO is ethtool -K NAME gro on.
func setGRO(name string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	value := struct{ cmd, data uint32 }{unix.ETHTOOL_SGRO, 1}
	request := struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}{data: unsafe.Pointer(&value)}
	copy(request.name[:], name)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request)))
	runtime.KeepAlive(&value)
	if errno != 0 {
		return fmt.Errorf("turn GRO on: %w", errno)
	}
	return nil
}

// received is how many frames the host end has taken off the wire. What did not
// fit its ring is not among them.
func received() (uint64, error) {
	b, err := os.ReadFile("/sys/class/net/" + hostName + "/statistics/rx_packets")
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(string(bytes.TrimSpace(b)), 10, 64)
}

// delivered is how many IPv4 packets have passed all filters.
func delivered() (uint64, error) {
	b, err := os.ReadFile(filepath.Join("/proc/self/net/snmp"))
	if err != nil {
		return 0, err
	}
	var names []string
	for line := range strings.Lines(string(b)) {
		fields := strings.Fields(line)
		if fields[0] != "Ip:" {
			continue
		}
		if names == nil {
			names = fields
		} else if i := slices.Index(names, "InDelivers"); i > 0 {
			return strconv.ParseUint(fields[i], 10, 64)
		}
	}
	return 0, errors.New("no InDelivers in /proc/self/net/snmp")
}

// sendTemplate is the frame that is sent, and its header's checksum as
// header_sum of bench.c wants it.
func (v *veth) sendTemplate() (f []byte, headerSum uint32) {
	var to, from frame.MAC
	copy(to[:], v.host.Attrs().HardwareAddr)
	copy(from[:], v.peer.Attrs().HardwareAddr)
	src, dst := netip.AddrFrom4([4]byte{}), netip.MustParseAddr("192.0.2.1")
	f = frame.IP(src, dst).Ethernet(to, from).UDP(40000, 9, make([]byte, 18))
	for i := 0; i < frame.IPv4Size; i += 2 {
		if i != 10 { // the checksum itself
			headerSum += uint32(binary.NativeEndian.Uint16(f[frame.EthernetSize+i:]))
		}
	}
	return f, headerSum
}

// xdpMD is struct xdp_md of the kernel.
type xdpMD struct {
	Data, DataEnd, DataMeta     uint32
	Ingress, RxQueue, EgressIfi uint32
}

// liveFrames is BPF_F_TEST_XDP_LIVE_FRAMES: run the program on real frames and do
// what it says. Linux 5.18.
const liveFrames = 2

// flood sends as fast as it can until ctx ends.
func (v *veth) flood(ctx context.Context, send *ebpf.Program, frame []byte) error {
	unpin, err := pin(0)
	if err != nil {
		return err
	}
	defer unpin()
	for ctx.Err() == nil {
		_, err := send.Run(&ebpf.RunOptions{
			Data:    frame,
			Context: xdpMD{DataEnd: uint32(len(frame)), Ingress: uint32(v.peer.Attrs().Index)},
			Repeat:  1 << 16,
			Flags:   liveFrames,
		})
		if err != nil {
			return fmt.Errorf("inject frames (needs Linux 5.18): %w", err)
		}
	}
	return nil
}

// rate measures for a second, after a moment to get under way.
func (v *veth) rate(ctx context.Context, send *ebpf.Program, frame []byte) (mpps float64, passed uint64, err error) {
	ctx, stop := context.WithCancel(ctx)
	sent := make(chan error, 1)
	go func() { sent <- v.flood(ctx, send, frame) }()
	defer func() {
		stop()
		err = errors.Join(err, <-sent)
	}()
	const warmup, window = 200 * time.Millisecond, time.Second
	time.Sleep(warmup)
	before, err := received()
	if err != nil {
		return 0, 0, err
	}
	passedBefore, err := delivered()
	if err != nil {
		return 0, 0, err
	}
	begin := time.Now()
	time.Sleep(window)
	after, err := received()
	if err != nil {
		return 0, 0, err
	}
	took := time.Since(begin)
	passed, err = delivered()
	return float64(after-before) / took.Seconds() / 1e6, passed - passedBefore, err
}

// measureVeth measures the contenders in turns.
func measureVeth(ctx context.Context, quick bool, log logger) (rows []vethRow, err error) {
	v, err := newVeth()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	frame, sum := v.sendTemplate()
	l := newList(mixHosts, vethEntries)
	t, err := newTables(l.prefixes, policy.Forever, sum)
	if err != nil {
		return nil, err
	}
	defer t.Close()
	if err := t.setSources(l.blocked()); err != nil {
		return nil, err
	}
	all := contenders(ctx, t, l.prefixes, v)
	rounds := 5
	if quick {
		rounds = 1
	}
	rows = make([]vethRow, len(all))
	for round := range rounds {
		for i, c := range all {
			rows[i].Contender, rows[i].Missing = c.name, c.missing
			if c.missing != "" {
				continue
			}
			log("veth: %s, round %d of %d", c.name, round+1, rounds)
			mpps, passed, err := v.contest(ctx, c, t.index.Programs[shippedProgSend], frame)
			if err != nil {
				return rows, fmt.Errorf("%s on a veth: %w", c.name, err)
			}
			rows[i].Rounds = append(rows[i].Rounds, mpps)
			rows[i].Delivered += passed
		}
	}
	for i := range rows {
		if sorted := slices.Sorted(slices.Values(rows[i].Rounds)); len(sorted) > 0 {
			rows[i].Mpps = sorted[len(sorted)/2]
		}
	}
	return rows, nil
}

func (v *veth) contest(ctx context.Context, c contender, send *ebpf.Program, frame []byte) (mpps float64, passed uint64, err error) {
	disarm, err := c.arm()
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, disarm()) }()
	return v.rate(ctx, send, frame)
}
