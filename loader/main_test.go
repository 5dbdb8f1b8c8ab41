package loader

import (
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/paraxial/paraxial/loader/internal/isolated"
	"github.com/paraxial/paraxial/policy"
	"github.com/paraxial/paraxial/tests/testenv"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { isolated.Main(m) }

// bpffs mounts a BPF file system for the test and returns a directory on it.
func bpffs(tb testing.TB) string {
	tb.Helper()
	testenv.Root(tb)
	check(tb, unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	dir := tb.TempDir()
	check(tb, unix.Mount("bpf", dir, "bpf", 0, "mode=0700"))
	tb.Cleanup(func() { check(tb, unix.Unmount(dir, unix.MNT_DETACH)) })
	return filepath.Join(dir, "paraxial")
}

func check(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func open(tb testing.TB, dir string, maxEntries uint32) *Loader {
	tb.Helper()
	l, err := Open(Options{BPFFS: dir, MaxEntries: maxEntries, Log: slog.New(slog.NewTextHandler(tb.Output(), nil))})
	check(tb, err)
	tb.Cleanup(func() { check(tb, l.Close()) })
	return l
}

// detachAll is DetachAll with the log of the test, and a short wait.
func detachAll(tb testing.TB, dir string) ([]string, error) {
	tb.Helper()
	return DetachAll(dir, 50*time.Millisecond, slog.New(slog.NewTextHandler(tb.Output(), nil)))
}

func attach(tb testing.TB, l *Loader, iface string, mode Mode, slot uint32) Attachment {
	tb.Helper()
	a, err := l.Attach(tb.Context(), iface, mode, slot)
	check(tb, err)
	return a
}

func apply(tb testing.TB, l *Loader, nodes ...policy.Node) {
	tb.Helper()
	check(tb, l.Apply(tb.Context(), policy.Delta{Put: nodes}))
}

// veth makes a pair of interfaces that are up, name and name + "p". The kernel sends nothing on
// them by itself.
func veth(tb testing.TB, name string) {
	tb.Helper()
	testenv.Root(tb)
	addLink(tb, &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: name + "p"})
	for _, n := range []string{name, name + "p"} {
		check(tb, os.WriteFile("/proc/sys/net/ipv6/conf/"+n+"/disable_ipv6", []byte("1"), 0))
		check(tb, netlink.LinkSetUp(linkByName(tb, n)))
	}
}

func addLink(tb testing.TB, lk netlink.Link) {
	tb.Helper()
	testenv.Root(tb)
	check(tb, netlink.LinkAdd(lk))
	tb.Cleanup(func() { delLink(tb, lk.Attrs().Name) })
}

func delLink(tb testing.TB, name string) {
	tb.Helper()
	if lk, err := netlink.LinkByName(name); err == nil {
		check(tb, netlink.LinkDel(lk))
	}
}

func linkByName(tb testing.TB, name string) netlink.Link {
	tb.Helper()
	lk, err := netlink.LinkByName(name)
	check(tb, err)
	return lk
}

// passProgram loads a program that is not ours.
func passProgram(tb testing.TB) *ebpf.Program {
	tb.Helper()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "xdp_pass", Type: ebpf.XDP, AttachType: ebpf.AttachXDP, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 2), asm.Return()},
	})
	check(tb, err)
	tb.Cleanup(func() { p.Close() })
	return p
}

// foreignXDP attaches a program to an interface in the way of ip link.
func foreignXDP(tb testing.TB, iface string, flags int) ebpf.ProgramID {
	tb.Helper()
	p := passProgram(tb)
	check(tb, netlink.LinkSetXdpFdWithFlags(linkByName(tb, iface), p.FD(), flags))
	id, err := programID(p)
	check(tb, err)
	return id
}

// pins lists all files in a pin directory, for comparison.
func pins(tb testing.TB, dir string) string {
	tb.Helper()
	var names []string
	check(tb, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if rel, _ := filepath.Rel(dir, path); !d.IsDir() {
			names = append(names, rel)
		}
		return err
	}))
	return strings.Join(names, "\n")
}

func block(prefix string, drop, shadow policy.Tick, hit uint32) policy.Node {
	v := policy.Verdict{Drop: drop, Shadow: shadow, HitID: hit}
	return policy.Node{Kind: policy.Block, Prefix: netip.MustParsePrefix(prefix), Verdict: v}
}

func allow(prefix string, until policy.Tick) policy.Node {
	return policy.Node{Kind: policy.Allow, Prefix: netip.MustParsePrefix(prefix), Verdict: policy.Verdict{Allow: until}}
}

func bootNow(tb testing.TB) policy.Deadline {
	tb.Helper()
	var ts unix.Timespec
	check(tb, unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts))
	return policy.Deadline(ts.Nano())
}
