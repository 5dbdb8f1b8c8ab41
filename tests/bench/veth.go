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

// vethEntries is the number of blocked addresses in this part. All traffic comes from them.
const vethEntries = 100_000

// A vethRow is the rate at which a contender receives packets of blocked sources from the wire.
type vethRow struct {
	Contender string    `json:"contender"`
	Missing   string    `json:"missing,omitempty"` // reason why it was not measured
	Mpps      float64   `json:"mpps"`              // per core, including sending; best of Rounds
	Rounds    []float64 `json:"rounds_mpps"`
	Delivered uint64    `json:"delivered"` // packets that got through nevertheless
}

// A veth is a wire whose host end receives through NAPI, as a network card does.
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
	return nil
}

// Close removes both ends.
func (v *veth) Close() error {
	link, err := netlink.LinkByName(hostName)
	if err != nil {
		return err
	}
	return netlink.LinkDel(link)
}

// setGRO does the same as ethtool -K NAME gro on.
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

// received returns the number of frames that the host end has taken off the wire. Frames that did
// not fit its ring are not included.
func received() (uint64, error) {
	b, err := os.ReadFile("/sys/class/net/" + hostName + "/statistics/rx_packets")
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(string(bytes.TrimSpace(b)), 10, 64)
}

// delivered returns the number of IPv4 packets that have passed all filters.
func delivered() (uint64, error) {
	b, err := os.ReadFile("/proc/self/net/snmp")
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

// sendTemplate returns the frame to send, and its header's checksum in the form that header_sum of
// bench.c needs.
func (v *veth) sendTemplate() (f []byte, headerSum uint32) {
	var to, from frame.MAC
	copy(to[:], v.host.Attrs().HardwareAddr)
	copy(from[:], v.peer.Attrs().HardwareAddr)
	src, dst := netip.AddrFrom4([4]byte{}), netip.MustParseAddr("192.0.2.1")
	f = frame.IP(src, dst).Ethernet(to, from).UDP(40000, 9, make([]byte, 18))
	for i := 0; i < frame.IPv4Size; i += 2 {
		if i != 10 { // skip the checksum itself
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

// liveFrames is BPF_F_TEST_XDP_LIVE_FRAMES: run the program on real frames and carry out its
// verdict. Linux 5.18.
const liveFrames = 2

// frames is the number of frames injected at a time: the slowest contender takes a second for them.
const frames = 1 << 19

// rate injects frames. The kernel receives them in the same thread, between two batches, so the
// processor time of that thread is the cost of sending and receiving, however busy the machine is
// otherwise.
func (v *veth) rate(send *ebpf.Program, frame []byte) (mpps float64, passed uint64, err error) {
	unpin, err := pin(0)
	if err != nil {
		return 0, 0, err
	}
	defer unpin()
	before, err := v.odometer()
	if err != nil {
		return 0, 0, err
	}
	_, err = send.Run(&ebpf.RunOptions{
		Data:    frame,
		Context: xdpMD{DataEnd: uint32(len(frame)), Ingress: uint32(v.peer.Attrs().Index)},
		Repeat:  frames,
		Flags:   liveFrames,
	})
	if err != nil {
		return 0, 0, fmt.Errorf("inject frames (needs Linux 5.18): %w", err)
	}
	after, err := v.odometer()
	if err != nil {
		return 0, 0, err
	}
	if got := after.received - before.received; got < frames {
		return 0, 0, fmt.Errorf("%d of %d frames were received: the rest was lost before the filter", got, frames)
	}
	mpps = float64(after.received-before.received) / float64((after.cpu - before.cpu).Microseconds())
	return mpps, after.delivered - before.delivered, nil
}

type odometer struct {
	received, delivered uint64
	cpu                 time.Duration // of the calling thread
}

func (v *veth) odometer() (o odometer, err error) {
	if o.received, err = received(); err != nil {
		return o, fmt.Errorf("count frames: %w", err)
	}
	if o.delivered, err = delivered(); err != nil {
		return o, fmt.Errorf("count packets: %w", err)
	}
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &u); err != nil {
		return o, fmt.Errorf("read processor time: %w", err)
	}
	o.cpu = time.Duration(u.Utime.Nano() + u.Stime.Nano())
	return o, nil
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
	t, err := newTables(l.prefixes, policy.Forever, tuning{headerSum: sum, floor: floorReasonREASON_BLOCKED})
	if err != nil {
		return nil, err
	}
	defer t.Close()
	if err := t.setSources(l.blocked()); err != nil {
		return nil, err
	}
	all := contenders(ctx, t, l.prefixes, v)
	rounds := 7
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
			mpps, passed, err := v.contest(c, t.index.Programs[shippedProgSend], frame)
			if err != nil {
				return rows, fmt.Errorf("%s on a veth: %w", c.name, err)
			}
			rows[i].Rounds = append(rows[i].Rounds, mpps)
			rows[i].Delivered += passed
		}
	}
	for i := range rows {
		if len(rows[i].Rounds) > 0 {
			rows[i].Mpps = slices.Max(rows[i].Rounds)
		}
	}
	return rows, nil
}

func (v *veth) contest(c contender, send *ebpf.Program, frame []byte) (mpps float64, passed uint64, err error) {
	disarm, err := c.arm()
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, disarm()) }()
	return v.rate(send, frame)
}
