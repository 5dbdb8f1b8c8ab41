package probe

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/paraxial/paraxial/doctor"
	"github.com/paraxial/paraxial/tests/lab"
	"github.com/paraxial/paraxial/tests/testenv"
)

func TestMain(m *testing.M) { lab.Main(m) }

func check(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func add(t *testing.T, l netlink.Link) netlink.Link {
	t.Helper()
	testenv.Root(t)
	check(t, netlink.LinkAdd(l))
	t.Cleanup(func() { check(t, netlink.LinkDel(l)) })
	return l
}

func veth(t *testing.T, name string) netlink.Link {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	return add(t, &netlink.Veth{LinkAttrs: attrs, PeerName: name + "p"})
}

func look(t *testing.T, o Options) doctor.Facts {
	t.Helper()
	o.BPFFS, o.StateDir = "/sys/fs/bpf/paraxial", t.TempDir()
	f, err := Gather(o)
	check(t, err)
	return f
}

func lookAt(t *testing.T, name string) doctor.Interface {
	t.Helper()
	f := look(t, Options{Interfaces: []string{name}})
	if len(f.Interfaces) != 1 {
		t.Fatalf("got %+v", f.Interfaces)
	}
	return f.Interfaces[0]
}

// xdpAnnounced reports whether the kernel has the netdev family, by its version.
func xdpAnnounced(t *testing.T) bool {
	var name unix.Utsname
	check(t, unix.Uname(&name))
	v := unix.ByteSliceToString(name.Release[:])
	return !strings.HasPrefix(v, "5.") && !strings.HasPrefix(v, "6.0") && !strings.HasPrefix(v, "6.1.") &&
		!strings.HasPrefix(v, "6.2.")
}

func TestVeth(t *testing.T) {
	l := veth(t, "v0")
	i := lookAt(t, "v0")
	if i.Kind != "veth" || i.Driver != "veth" || i.MTU != 1500 || i.Up || i.Carrier || i.Lower != "" ||
		i.Virtio != nil {
		t.Errorf("got %+v", i)
	}
	if i.Channels == nil || i.Channels.Receiving() != 1 {
		t.Errorf("channels %+v", i.Channels)
	}
	if xdpAnnounced(t) && (i.XDP == nil || !i.XDP.Native || !i.XDP.Frags) {
		t.Errorf("XDP %+v", i.XDP)
	}
	check(t, netlink.LinkSetMTU(l, 9000))
	check(t, netlink.LinkSetUp(l))
	peer, err := netlink.LinkByName("v0p")
	check(t, err)
	check(t, netlink.LinkSetUp(peer))
	if i := lookAt(t, "v0"); i.MTU != 9000 || !i.Up || !i.Carrier {
		t.Errorf("got %+v", i)
	}
}

// TestLinkLayer: a TUN device carries bare packets, a TAP device frames.
func TestLinkLayer(t *testing.T) {
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		testenv.Missing(t, "TUN devices (/dev/net/tun)")
	}
	for mode, want := range map[netlink.TuntapMode]string{netlink.TUNTAP_MODE_TUN: "none",
		netlink.TUNTAP_MODE_TAP: "ether"} {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "tt" + want
		add(t, &netlink.Tuntap{LinkAttrs: attrs, Mode: mode})
		if got := lookAt(t, attrs.Name).LinkLayer; got != want {
			t.Errorf("mode %v: %q, want %q", mode, got, want)
		}
	}
	if got := lookAt(t, "lo").LinkLayer; got != "loopback" {
		t.Errorf("lo: %q", got)
	}
}

// TestOffloads turns an offload on and off in the kernel.
func TestOffloads(t *testing.T) {
	veth(t, "v0")
	const gro = "rx-gro"
	for _, on := range []bool{true, false, true} {
		setGRO(t, "v0", on)
		got, ok := lookAt(t, "v0").Offloads[gro]
		if !ok || got.On != on || got.Fixed {
			t.Errorf("%s set to %v: got %+v, %v", gro, on, got, ok)
		}
	}
	if lro := lookAt(t, "v0").Offloads["rx-lro"]; !lro.Fixed || lro.On {
		t.Errorf("LRO, which a veth does not have: %+v", lro)
	}
}

// setGRO is `ethtool -K IFACE gro on|off`.
func setGRO(t *testing.T, iface string, on bool) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	check(t, err)
	defer unix.Close(fd)
	value := [2]uint32{unix.ETHTOOL_SGRO}
	if on {
		value[1] = 1
	}
	check(t, ethtoolIoctl(fd, iface, unsafe.Slice((*byte)(unsafe.Pointer(&value[0])), 8)))
}

func TestQueues(t *testing.T) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.NumRxQueues, attrs.NumTxQueues = "q0", 4, 4
	add(t, &netlink.Veth{LinkAttrs: attrs, PeerName: "q0p"})
	if c := lookAt(t, "q0").Channels; c == nil || c.MaxRX+c.MaxCombined != 4 || c.Receiving() < 1 {
		t.Errorf("channels %+v", c)
	}
}

func TestBridgeAndItsPort(t *testing.T) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "br0"
	br := add(t, &netlink.Bridge{LinkAttrs: attrs})
	check(t, netlink.LinkSetMaster(veth(t, "v0"), br))
	if i := lookAt(t, "v0"); i.Master != "br0" || i.MasterKind != "bridge" {
		t.Errorf("port: %+v", i)
	}
	if i := lookAt(t, "br0"); i.Kind != "bridge" || xdpAnnounced(t) && (i.XDP == nil || i.XDP.Native) {
		t.Errorf("bridge: %+v", i)
	}
}

func TestStacked(t *testing.T) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.ParentIndex = "mv0", veth(t, "v0").Attrs().Index
	if lower, err := netlink.LinkByName("v0"); err == nil {
		attrs.ParentIndex = lower.Attrs().Index
	}
	add(t, &netlink.Macvlan{LinkAttrs: attrs, Mode: netlink.MACVLAN_MODE_BRIDGE})
	if i := lookAt(t, "mv0"); i.Kind != "macvlan" || i.Lower != "v0" {
		t.Errorf("got %+v", i)
	}
}

// TestKinds: kinds of interfaces that a kernel without the modules cannot create.
func TestKinds(t *testing.T) {
	g := &gatherer{names: map[int]netlink.Link{3: &netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: "eth3"}}}}
	got := g.nic(&netlink.Vlan{LinkAttrs: netlink.LinkAttrs{Name: "no.7", ParentIndex: 3}})
	if got.Kind != "vlan" || got.Lower != "eth3" {
		t.Errorf("VLAN: %+v", got)
	}
	bond := netlink.NewLinkBond(netlink.LinkAttrs{Name: "none"})
	bond.Mode = netlink.BOND_MODE_BALANCE_ALB
	if got := g.nic(bond); got.Kind != "bond" || got.BondMode != "balance-alb" {
		t.Errorf("bond: %+v", got)
	}
	if got := g.nic(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: "none"}}); got.Kind != "" {
		t.Errorf("hardware: %+v", got)
	}
}

// pass loads a program that passes everything.
func pass(t *testing.T, name string) int {
	t.Helper()
	code := []uint64{0x00000002_0000_00_b7, 0x95} // r0 = XDP_PASS; exit
	license := []byte("GPL\x00")
	attr := struct {
		kind, count         uint32
		code, license       uint64
		level, size         uint32
		log                 uint64
		version, flags      uint32
		name                [16]byte
		ifindex, attachesTo uint32
	}{kind: unix.BPF_PROG_TYPE_XDP, count: 2, code: uint64(uintptr(unsafe.Pointer(&code[0]))),
		license: uint64(uintptr(unsafe.Pointer(&license[0]))), attachesTo: 37}
	copy(attr.name[:], name)
	fd, err := bpf(unix.BPF_PROG_LOAD, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	check(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

func TestForeignProgram(t *testing.T) {
	l := veth(t, "v0")
	fd := pass(t, "stranger")
	for mode, flag := range map[string]int{"native": unix.XDP_FLAGS_DRV_MODE, "generic": unix.XDP_FLAGS_SKB_MODE} {
		check(t, netlink.LinkSetXdpFdWithFlags(l, fd, flag))
		i := lookAt(t, "v0")
		if len(i.Programs) != 1 || i.Programs[0].Mode != mode || i.Programs[0].Name != "stranger" ||
			i.Programs[0].ID == 0 || i.Pinned != 0 {
			t.Errorf("%s: got %+v", mode, i.Programs)
		}
		check(t, netlink.LinkSetXdpFdWithFlags(l, -1, flag))
	}
	if p := lookAt(t, "v0").Programs; len(p) > 0 {
		t.Errorf("after it was taken off: %+v", p)
	}
}

// TestPinnedLink: the program of a pinned link is recognised as ours.
func TestPinnedLink(t *testing.T) {
	l := veth(t, "v.0")
	l, err := netlink.LinkByName(l.Attrs().Name)
	check(t, err)
	link := struct{ program, target, attach, flags uint32 }{uint32(pass(t, "ours")), uint32(l.Attrs().Index), 37, 0}
	fd, err := bpf(unix.BPF_LINK_CREATE, unsafe.Pointer(&link), unsafe.Sizeof(link))
	check(t, err)
	defer unix.Close(fd)
	pin := "/sys/fs/bpf/paraxial/links/v_2e0"
	check(t, os.MkdirAll(filepath.Dir(pin), 0o700))
	t.Cleanup(func() { check(t, os.RemoveAll("/sys/fs/bpf/paraxial")) })
	if i := lookAt(t, "v.0"); i.Pinned != 0 || len(i.Programs) != 1 {
		t.Errorf("before it is pinned: %+v", i)
	}
	path := append([]byte(pin), 0)
	attr := struct {
		path      uint64
		fd, flags uint32
	}{path: uint64(uintptr(unsafe.Pointer(&path[0]))), fd: uint32(fd)}
	_, err = bpf(unix.BPF_OBJ_PIN, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	check(t, err)
	if i := lookAt(t, "v.0"); len(i.Programs) != 1 || i.Pinned != i.Programs[0].ID {
		t.Errorf("pinned: %+v", i)
	}
}

// TestWhichInterfaces: the interfaces that were asked for; otherwise those that are
// filtered, on a default route or have a program; otherwise those that are up.
func TestWhichInterfaces(t *testing.T) {
	plain, filtered, routed := veth(t, "plain"), veth(t, "filtered"), veth(t, "routed")
	for _, l := range []netlink.Link{plain, filtered, routed} {
		check(t, netlink.LinkSetUp(l))
	}
	names := func(o Options) (names []string) {
		for _, i := range look(t, o).Interfaces {
			names = append(names, i.Name)
		}
		slices.Sort(names)
		return names
	}
	want := func(what string, got []string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	want("up", names(Options{}), "filtered", "plain", "routed")
	addr, err := netlink.ParseAddr("192.0.2.1/24")
	check(t, err)
	check(t, netlink.AddrAdd(routed, addr))
	peer, err := netlink.LinkByName("routedp")
	check(t, err)
	check(t, netlink.LinkSetUp(peer))
	l, err := netlink.LinkByName("routed")
	check(t, err)
	check(t, netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Gw: []byte{192, 0, 2, 9}}))
	want("default route", names(Options{}), "routed")
	want("filtered", names(Options{Filtered: []string{"filtered"}}), "filtered", "routed")
	want("asked for", names(Options{Interfaces: []string{"plain"}, Filtered: []string{"filtered"}}), "plain")
	if _, err := Gather(Options{Interfaces: []string{"plaim"}}); err == nil ||
		!strings.Contains(err.Error(), "`ip link`") {
		t.Errorf("interface that is not there: %v", err)
	}
}

// TestTunnels: tunnels that are up are named. Most kernels cannot create all kinds.
func TestTunnels(t *testing.T) {
	up := func(name string) netlink.LinkAttrs { return netlink.LinkAttrs{Name: name, Flags: net.FlagUp} }
	got := tunnels([]netlink.Link{
		&netlink.Gretun{LinkAttrs: up("g0")}, &netlink.Gretap{LinkAttrs: up("g1")}, &netlink.Iptun{LinkAttrs: up("i0")},
		&netlink.Sittun{LinkAttrs: up("s0")}, &netlink.Ip6tnl{LinkAttrs: up("i6")}, &netlink.Vxlan{LinkAttrs: up("v0")},
		&netlink.Geneve{LinkAttrs: up("n0")}, &netlink.Wireguard{LinkAttrs: up("w0")},
		&netlink.Xfrmi{LinkAttrs: up("x0")},
		&netlink.Tuntap{LinkAttrs: up("tun0"), Mode: netlink.TUNTAP_MODE_TUN},
		&netlink.Tuntap{LinkAttrs: up("tap0"), Mode: netlink.TUNTAP_MODE_TAP},
		&netlink.Iptun{LinkAttrs: netlink.LinkAttrs{Name: "tunl0"}}, &netlink.Device{LinkAttrs: up("eth0")},
	})
	var names []string
	for _, l := range got {
		names = append(names, l.Name)
	}
	if want := "g0 g1 i0 s0 i6 v0 n0 w0 x0 tun0"; strings.Join(names, " ") != want {
		t.Errorf("tunnels %v, want %s", names, want)
	}
	vxlan := &netlink.Vxlan{LinkAttrs: netlink.LinkAttrs{Name: "vx0"}, VxlanId: 7, Port: 4789}
	testenv.Root(t)
	check(t, netlink.LinkAdd(vxlan))
	t.Cleanup(func() { check(t, netlink.LinkDel(vxlan)) })
	for _, want := range []int{0, 1} { // only once it is up
		f, err := Gather(Options{})
		check(t, err)
		if len(f.Host.Tunnels) != want {
			t.Errorf("tunnels %v, want %d", f.Host.Tunnels, want)
		}
		check(t, netlink.LinkSetUp(vxlan))
	}
}
