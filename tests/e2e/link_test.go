package e2e

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/paraxial/paraxial/tests/testenv"
)

func (h *host) pinnedLink() link.Link {
	h.Helper()
	lk, err := link.LoadPinnedLink(filepath.Join(h.daemon.BPFFS, "links", interfaceName), nil)
	check(h.T, err)
	return lk
}

func (h *host) linkID() link.ID {
	h.Helper()
	lk := h.pinnedLink()
	defer lk.Close()
	info, err := lk.Info()
	check(h.T, err)
	return info.ID
}

// detachLink does what `bpftool link detach` does.
func (h *host) detachLink() {
	h.Helper()
	lk := h.pinnedLink()
	defer lk.Close()
	check(h.T, lk.Detach())
}

func (h *host) foreignProgram() *ebpf.Program {
	h.Helper()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "somebody_else", Type: ebpf.XDP, License: "GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 2),
			asm.Return()},
	})
	check(h.T, err)
	h.Cleanup(func() { p.Close() })
	return p
}

// takePlace attaches a foreign program in place of ours before the daemon notices.
func (h *host) takePlace() {
	h.Helper()
	var err error
	p := h.foreignProgram()
	nic := nicByName(h.T, interfaceName)
	for range 10 {
		h.detachLink()
		err = netlink.LinkSetXdpFdWithFlags(nic, p.FD(), unix.XDP_FLAGS_DRV_MODE)
		if !errors.Is(err, unix.EBUSY) {
			break
		}
		h.within("the interface is protected again before the next attempt", patience,
			func() bool { return h.nic(interfaceName).Protected })
	}
	check(h.T, err)
}

// The kernel does not announce that a link is detached.
func TestDetachedLinkIsNoticedAtOnce(t *testing.T) {
	h := blocked(t)
	const rounds = 4
	// Each round begins right after a repair, so shortly after an attestation. The next attestation
	// notices that a pin is gone.
	const repair = "interface has been repaired"
	noticed := func(says string, do func()) (took time.Duration) {
		// The log says once that an interface is unprotected, however often its link is detached.
		h.within("the repair is complete", patience, func() bool { return h.nic(interfaceName).Protected })
		start := time.Now()
		h.logs(repair, func() {
			h.logs(says, do)
			took = time.Since(start)
		})
		return took
	}
	pin := filepath.Join(h.daemon.BPFFS, "links", interfaceName)
	removePin := func() { check(t, os.Remove(pin)) }
	noticed(repair, removePin)
	var links, pins time.Duration
	for range rounds {
		pins += noticed(repair, removePin)
	}
	for range rounds {
		links += noticed("INTERFACE UNPROTECTED", h.detachLink)
	}
	h.protected(interfaceName)
	if !h.dropped(h.serve(), blockedSource) {
		t.Error("not dropped after the repair")
	}
	t.Logf("on average the daemon notices a detached link after %s, a missing pin after %s", links/rounds, pins/rounds)
	if links > pins/2 {
		t.Errorf("%d links took %s, as if the attestation alone had found them: %d pins took %s", rounds, links,
			rounds, pins)
	}
	testenv.Figure(t, links/rounds <= 700*time.Millisecond, "a detached link is noticed after %s", links/rounds)
}

func TestRepairNever(t *testing.T) {
	h, rewrite := configured(t, "interfaces: [up0]\nrepair: never\n")
	h.detachLink()
	h.unprotected(interfaceName, "the link was detached")
	h.unprotected(interfaceName, "systemctl restart paraxiald")
	time.Sleep(3 * time.Second)
	if h.nic(interfaceName).Protected {
		t.Error("it was repaired nevertheless")
	}
	rewrite("interfaces: [up0]\n")
	h.protected(interfaceName)
	if !h.dropped(h.serve(), blockedSource) {
		t.Error("not dropped after the repair")
	}
}

func TestForeignProgramInstead(t *testing.T) {
	h, rewrite := configured(t, "interfaces: [up0]\n")
	p := h.foreignProgram()
	for flags, want := range map[int]error{unix.XDP_FLAGS_DRV_MODE: unix.EBUSY, unix.XDP_FLAGS_SKB_MODE: unix.EEXIST} {
		if err := netlink.LinkSetXdpFdWithFlags(nicByName(t, interfaceName), p.FD(), flags); !errors.Is(err, want) {
			t.Errorf("a foreign program over ours: %v, want %v", err, want)
		}
	}
	h.protected(interfaceName)
	h.takePlace()
	h.unprotected(interfaceName, "somebody_else")
	h.unprotected(interfaceName, "ip link set dev up0 xdpdrv off")
	time.Sleep(3 * time.Second) // time in which it must not be repaired
	h.unprotected(interfaceName, "somebody_else")
	check(t, netlink.LinkSetXdpFdWithFlags(nicByName(t, interfaceName), -1, unix.XDP_FLAGS_DRV_MODE))
	h.protected(interfaceName)

	rewrite("interfaces: [up0]\nrepair: always\n")
	h.logs("a foreign XDP program was removed", h.takePlace)
	h.protected(interfaceName)
	if !h.dropped(h.serve(), blockedSource) {
		t.Error("not dropped after the repair")
	}
}

// The traffic stays filtered while pins are gone, and the pins come back.
func TestPinsRemoved(t *testing.T) {
	h := blocked(t)
	s := h.serve()
	id := h.linkID()
	for _, pins := range []string{filepath.Join(h.daemon.BPFFS, "links", interfaceName), h.daemon.BPFFS} {
		h.logs("interface has been repaired", func() { check(t, os.RemoveAll(pins)) })
		h.protected(interfaceName)
		if got := h.linkID(); got != id {
			t.Errorf("link %d is pinned, want %d, which was never detached", got, id)
		}
	}
	if strings.Contains(h.run.Log(), "INTERFACE UNPROTECTED") {
		t.Error("the interface was unprotected in between")
	}
	h.kill()
	if !h.dropped(s, blockedSource) || h.dropped(s, freeSource) {
		t.Error("the filter ended with the daemon")
	}
	h.start()
	h.ctl(1, "unblock", freeSource)
	h.ctl(0, "unblock", blockedSource)
}

func TestBPFFSUnmounted(t *testing.T) {
	const mountPoint = "/sys/fs/bpf"
	h := blocked(t)
	s := h.serve()
	if err := unix.Unmount(mountPoint, 0); !errors.Is(err, unix.EBUSY) {
		t.Errorf("umount while the daemon runs: %v, want EBUSY", err)
	}
	check(t, unix.Unmount(mountPoint, unix.MNT_DETACH))
	mounted := false
	mount := func() {
		if !mounted {
			mounted = true
			check(t, unix.Mount("bpf", mountPoint, "bpf", 0, "mode=0700"))
		}
	}
	defer mount()
	h.within("status says what to do", patience, func() bool {
		return strings.Contains(h.nic(interfaceName).Note,
			"mount -t bpf -o mode=0700 bpf /sys/fs/bpf")
	})
	if !strings.Contains(h.run.Log(), "but has a fault") {
		t.Error("the log does not report the missing pins")
	}
	h.protected(interfaceName)
	h.ctl(0, "block", "198.51.100.0/24")
	h.ctl(0, "block", "198.51.101.0/24", "--limit", "1/s")
	if !h.dropped(s, blockedSource) || !h.dropped(s, "198.51.100.1") || h.dropped(s, freeSource) {
		t.Error("the filter does not work without pins")
	}
	mount()
	h.within("the pins are restored", patience, func() bool { return h.nic(interfaceName).Note == "" })
	h.kill()
	if !h.dropped(s, blockedSource) || !h.dropped(s, "198.51.100.1") || h.dropped(s, freeSource) {
		t.Error("the filter ended with the daemon")
	}
	h.start()
	h.ctl(0, "unblock", "198.51.101.0/24")
}
