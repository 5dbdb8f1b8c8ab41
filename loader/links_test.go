package loader

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/cilium/ebpf/link"
	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// Faults of a filter in force are reported as warnings, and repaired.
func TestAttestWarns(t *testing.T) {
	remove := func(path ...string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			check(t, os.RemoveAll(filepath.Join(append([]string{dir}, path...)...)))
		}
	}
	tests := []struct {
		name    string
		harm    func(t *testing.T, dir string)
		warning string
	}{
		{"pin removed", remove(linksDir, "att0"), "is gone"},
		{"program unpinned", remove("gen-1", "prog_att0"), "is gone"},
		{"map unpinned", remove("gen-1", "block_v4"), "is gone"},
		{"drop counters unpinned", remove("gen-1", "hits_0"), "is gone"},
		{"all pins removed", remove(), "is gone"},
		{"another link in the place of the pin", func(t *testing.T, dir string) {
			remove(linksDir, "att0")(t, dir)
			veth(t, "att1")
			check(t, os.Rename(otherPin(t, dir), filepath.Join(dir, linksDir, "att0")))
		}, "is another link"},
		{"MTU beyond one page", func(t *testing.T, dir string) {
			check(t, netlink.LinkSetMTU(linkByName(t, "att0"), 9000))
		}, "the MTU changed from 1500 to 9000"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := bpffs(t)
			veth(t, "att0")
			l := open(t, dir, 100)
			before := attach(t, l, "att0", ModeNative, 0)
			if at := l.Attest("att0"); !at.Protected || at.Warning != "" {
				t.Fatalf("attestation before: %+v", at)
			}
			tt.harm(t, dir)
			if at := l.Attest("att0"); !at.Protected || !strings.Contains(at.Warning, tt.warning) {
				t.Errorf("attestation: %+v, want a warning with %q", at, tt.warning)
			}
			if after := attach(t, l, "att0", ModeNative, 0); after.LinkID != before.LinkID {
				t.Errorf("link %d after the repair, want the same, %d", after.LinkID, before.LinkID)
			}
			if at := l.Attest("att0"); !at.Protected || at.Warning != "" {
				t.Errorf("attestation after the repair: %+v", at)
			}
			if id, err := pinnedProgramID(l.gen.program("att0")); err != nil || id != mustDevice(t, "att0").program {
				t.Errorf("pinned program %d: %v", id, err)
			}
		})
	}
}

// otherPin pins a link that is not ours under the name att1.
func otherPin(t *testing.T, dir string) string {
	t.Helper()
	lk, err := link.AttachXDP(link.XDPOptions{Program: passProgram(t), Interface: linkByName(t, "att1").Attrs().Index})
	check(t, err)
	defer lk.Close()
	path := filepath.Join(dir, "other")
	check(t, lk.Pin(path))
	return path
}

func mustDevice(t *testing.T, name string) device {
	t.Helper()
	dev, err := findDevice(name)
	check(t, err)
	return dev
}

// A renamed interface keeps its link.
func TestRenamedInterface(t *testing.T) {
	dir := bpffs(t)
	veth(t, "old0")
	l := open(t, dir, 100)
	a := attach(t, l, "old0", ModeNative, 0)
	check(t, netlink.LinkSetDown(linkByName(t, "old0")))
	check(t, netlink.LinkSetName(linkByName(t, "old0"), "new0"))
	t.Cleanup(func() { delLink(t, "new0") })
	if b := attach(t, l, "new0", ModeAuto, 0); b.LinkID != a.LinkID {
		t.Errorf("link %d, before %d", b.LinkID, a.LinkID)
	}
	names, err := l.Interfaces()
	check(t, err)
	if diff := cmp.Diff([]string{"new0"}, names); diff != "" {
		t.Errorf("interfaces (-want +got):\n%s", diff)
	}
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	lk := linkByName(t, from)
	check(t, netlink.LinkSetDown(lk))
	check(t, netlink.LinkSetName(lk, to))
	check(t, netlink.LinkSetUp(lk))
	t.Cleanup(func() { delLink(t, to) })
}

// Two interfaces swap their names, as after a new rule of udev. Each keeps its link, and counts
// into the slot of its name.
func TestSwappedNames(t *testing.T) {
	for _, restarted := range []bool{false, true} {
		t.Run(fmt.Sprintf("restarted %t", restarted), func(t *testing.T) {
			dir := bpffs(t)
			veth(t, "sw0")
			veth(t, "sw1")
			l := open(t, dir, 100)
			first, second := attach(t, l, "sw0", ModeNative, 0), attach(t, l, "sw1", ModeNative, 1)
			rename(t, "sw0", "sw9")
			if at := l.Attest("sw0"); at.Protected || !strings.Contains(at.Problem, "renamed to sw9") {
				t.Errorf("attestation of an interface that was renamed: %+v", at)
			}
			rename(t, "sw1", "sw0")
			rename(t, "sw9", "sw1")
			if restarted {
				check(t, l.Close())
				l = open(t, dir, 100)
			}
			for name, want := range map[string]uint32{"sw0": second.LinkID, "sw1": first.LinkID} {
				if a := attach(t, l, name, ModeNative, 0); a.LinkID != want {
					t.Errorf("%s has link %d, want %d", name, a.LinkID, want)
				}
				if at := l.Attest(name); !at.Protected || at.Warning != "" {
					t.Errorf("attestation of %s: %+v", name, at)
				}
			}
			names, err := l.Interfaces()
			check(t, err)
			if diff := cmp.Diff([]string{"sw0", "sw1"}, names); diff != "" {
				t.Errorf("interfaces (-want +got):\n%s", diff)
			}
		})
	}
}

// An interface is moved to another namespace, and a new one has its name, even its index.
func TestMovedInterface(t *testing.T) {
	for _, restarted := range []bool{false, true} {
		t.Run(fmt.Sprintf("restarted %t", restarted), func(t *testing.T) {
			dir := bpffs(t)
			veth(t, "mv0")
			l := open(t, dir, 100)
			before := attach(t, l, "mv0", ModeNative, 0)
			lk := linkByName(t, "mv0")
			elsewhere, there := namespace(t)
			check(t, netlink.LinkSetNsFd(lk, int(elsewhere)))
			t.Cleanup(func() { delLink(t, "mv0p") })
			if at := l.Attest("mv0"); at.Protected ||
				!strings.Contains(at.Problem, "moved to another network namespace") {
				t.Errorf("attestation: %+v", at)
			}
			moved, err := there.LinkByName("mv0")
			check(t, err)
			if got := deviceOf(moved.Attrs()).program; uint32(got) != before.ProgramID {
				t.Errorf("it runs program %d there, want %d, so that it is filtered when it comes back", got,
					before.ProgramID)
			}
			if restarted {
				check(t, l.Close())
				l = open(t, dir, 100)
			}
			addLink(t, &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "mv0", Index: lk.Attrs().Index},
				PeerName: "mv0q"})
			a := attach(t, l, "mv0", ModeAuto, 0)
			if at := l.Attest("mv0"); !at.Protected || a.LinkID == before.LinkID {
				t.Errorf("attestation of the new interface: %+v", at)
			}
			moved, err = there.LinkByName("mv0")
			check(t, err)
			if got := deviceOf(moved.Attrs()).program; got != 0 {
				t.Errorf("program %d is still on the interface that was moved", got)
			}
		})
	}
}

// namespace makes a network namespace and stays in the current one.
func namespace(t *testing.T) (netns.NsHandle, *netlink.Handle) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	here, err := netns.Get()
	check(t, err)
	ns, err := netns.New()
	check(t, err)
	check(t, netns.Set(here))
	check(t, here.Close())
	h, err := netlink.NewHandleAt(ns)
	check(t, err)
	t.Cleanup(func() {
		h.Close()
		check(t, ns.Close())
	})
	return ns, h
}
