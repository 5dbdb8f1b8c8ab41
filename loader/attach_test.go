package loader

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/google/go-cmp/cmp"
	"github.com/paraxial/paraxial/policy"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestAttachNative(t *testing.T) {
	dir := bpffs(t)
	veth(t, "nat0")
	l := open(t, dir, 100)
	if l.Reused() {
		t.Error("Reused is true at the first start")
	}
	a := attach(t, l, "nat0", ModeAuto, 3)
	dev, err := findDevice("nat0")
	check(t, err)
	if a.Mode != ModeNative || dev.mode != ModeNative || uint32(dev.program) != a.ProgramID || a.Note != "" {
		t.Errorf("attachment %+v, interface %+v", a, dev)
	}
	if at := l.Attest("nat0"); !at.Protected || at.Mode != ModeNative || at.ProgramID != a.ProgramID {
		t.Errorf("attestation: %+v", at)
	}
}

// A restart takes over the maps, switches the same link and removes the old
// generation.
func TestReopen(t *testing.T) {
	dir := bpffs(t)
	veth(t, "re0")
	veth(t, "re1.5")
	first := open(t, dir, 100)
	a0 := attach(t, first, "re0", ModeNative, 0)
	a1 := attach(t, first, "re1.5", ModeNative, 1)
	check(t, first.Commit())
	apply(t, first, block("192.0.2.1/32", policy.TickForever, 0, 7))
	ids, err := first.maps.ids(trieNames()...)
	check(t, err)
	check(t, first.Close())

	l := open(t, dir, 100)
	if !l.Reused() {
		t.Fatal("the maps were not taken over")
	}
	again, err := l.maps.ids(trieNames()...)
	check(t, err)
	if diff := cmp.Diff(ids, again); diff != "" {
		t.Errorf("map ids (-before +after):\n%s", diff)
	}
	b0 := attach(t, l, "re0", ModeAuto, 0)
	b1 := attach(t, l, "re1.5", ModeAuto, 1)
	if b0.LinkID != a0.LinkID || b1.LinkID != a1.LinkID {
		t.Errorf("links %d and %d, before %d and %d: want the same", b0.LinkID, b1.LinkID, a0.LinkID, a1.LinkID)
	}
	if b0.ProgramID == a0.ProgramID {
		t.Error("the program was not replaced")
	}
	check(t, l.Commit())
	want := strings.Join([]string{
		"gen-2/allow_v4", "gen-2/allow_v6", "gen-2/attribution", "gen-2/block_v4", "gen-2/block_v6", "gen-2/counters",
		"gen-2/essential", "gen-2/event_credit", "gen-2/events", "gen-2/hits", "gen-2/hits_0",
		"gen-2/index_v4", "gen-2/index_v6",
		"gen-2/limits", "gen-2/prog_re0", "gen-2/prog_re1_2e5", "gen-2/reply_ports",
		"gen-2/samples", "gen-2/tracked", "gen-2/tracking",
		"links/re0", "links/re1_2e5",
	}, "\n")
	if diff := cmp.Diff(want, pins(t, dir)); diff != "" {
		t.Errorf("pins (-want +got):\n%s", diff)
	}
	names, err := l.Interfaces()
	check(t, err)
	if diff := cmp.Diff([]string{"re0", "re1.5"}, names); diff != "" {
		t.Errorf("interfaces (-want +got):\n%s", diff)
	}
	for _, iface := range names {
		if at := l.Attest(iface); !at.Protected {
			t.Errorf("attestation: %+v", at)
		}
	}
}

// Another capacity needs new maps. The old ones filter until the switch.
func TestReopenOtherCapacity(t *testing.T) {
	dir := bpffs(t)
	veth(t, "cap0")
	first := open(t, dir, 100)
	a := attach(t, first, "cap0", ModeNative, 0)
	check(t, first.Close())

	l := open(t, dir, 200)
	if l.Reused() {
		t.Fatal("maps of another capacity were taken over")
	}
	if got := l.Capacity()[plainMapBlockV4]; got != 200 {
		t.Errorf("capacity %d, want 200", got)
	}
	dev, err := findDevice("cap0")
	check(t, err)
	if uint32(dev.program) != a.ProgramID {
		t.Error("the old program is gone before the switch")
	}
	if b := attach(t, l, "cap0", ModeAuto, 0); b.LinkID != a.LinkID {
		t.Error("a new link was made instead of switching the old one")
	}
	check(t, l.Commit())
	if _, err := os.Stat(filepath.Join(dir, "gen-1")); !os.IsNotExist(err) {
		t.Errorf("the old generation is still there: %v", err)
	}
}

func TestAttachGeneric(t *testing.T) {
	dir := bpffs(t)
	addLink(t, &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}})
	addLink(t, &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "eth0.100"}})
	l := open(t, dir, 100)
	a := attach(t, l, "eth0.100", ModeAuto, 0)
	if a.Mode != ModeGeneric || !strings.Contains(a.Note, "no native XDP") || !strings.Contains(a.Note, "GRO") {
		t.Errorf("attachment: %+v", a)
	}
	_, err := l.Attach(t.Context(), "eth0", ModeNative, 1)
	if !errors.Is(err, unix.EOPNOTSUPP) || !strings.Contains(err.Error(), "generic") {
		t.Errorf("native on a device without it: %v", err)
	}
	if diff := cmp.Diff("links/eth0_2e100", pins(t, dir)[strings.Index(pins(t, dir), "links"):]); diff != "" {
		t.Errorf("links (-want +got):\n%s", diff)
	}
	// With auto the mode stays, because a new attempt at native mode would leave a gap.
	if b := attach(t, l, "eth0.100", ModeAuto, 0); b.LinkID != a.LinkID || b.Mode != ModeGeneric {
		t.Errorf("attached again: %+v", b)
	}
}

func TestModeChange(t *testing.T) {
	dir := bpffs(t)
	veth(t, "mod0")
	l := open(t, dir, 100)
	attach(t, l, "mod0", ModeNative, 0)
	a := attach(t, l, "mod0", ModeGeneric, 0)
	if a.Mode != ModeGeneric || !strings.Contains(a.Note, "from native to generic") {
		t.Errorf("attachment: %+v", a)
	}
	if at := l.Attest("mod0"); !at.Protected || at.Mode != ModeGeneric {
		t.Errorf("attestation: %+v", at)
	}
}

// After the device has refused a mode it still has a filter.
func TestModeChangeRefused(t *testing.T) {
	dir := bpffs(t)
	addLink(t, &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "ref0"}})
	l := open(t, dir, 100)
	attach(t, l, "ref0", ModeGeneric, 0)
	_, err := l.Attach(t.Context(), "ref0", ModeNative, 0)
	if !errors.Is(err, unix.EOPNOTSUPP) || !strings.Contains(err.Error(), "generic mode, as before") {
		t.Errorf("error %v, want a refusal that names the mode in force", err)
	}
	if at := l.Attest("ref0"); !at.Protected || at.Mode != ModeGeneric {
		t.Errorf("attestation: %+v", at)
	}
}

// A veth refuses the plain build if the MTU of its peer is too large.
func TestAttachJumbo(t *testing.T) {
	dir := bpffs(t)
	veth(t, "jum0")
	veth(t, "jum1")
	check(t, netlink.LinkSetMTU(linkByName(t, "jum0p"), 9000))
	check(t, netlink.LinkSetMTU(linkByName(t, "jum1"), 9000))
	check(t, netlink.LinkSetMTU(linkByName(t, "jum1p"), 9000))
	l := open(t, dir, 100)
	for slot, iface := range []string{"jum0", "jum1"} {
		if a := attach(t, l, iface, ModeAuto, uint32(slot)); a.Mode != ModeNative || !a.Frags {
			t.Errorf("attachment: %+v", a)
		}
	}
	// The same link takes the other build.
	before := attach(t, l, "jum0", ModeAuto, 0)
	check(t, netlink.LinkSetMTU(linkByName(t, "jum0p"), 1500))
	if a := attach(t, l, "jum0", ModeAuto, 0); a.Frags || a.LinkID != before.LinkID {
		t.Errorf("with a small MTU again: %+v", a)
	}
}

func TestForeignProgram(t *testing.T) {
	tests := []struct {
		name  string
		flags int
		mode  Mode
		off   string
	}{
		{"same mode", unix.XDP_FLAGS_DRV_MODE, ModeNative, "xdpdrv off"},
		{"auto", unix.XDP_FLAGS_DRV_MODE, ModeAuto, "xdpdrv off"},
		{"other mode", unix.XDP_FLAGS_SKB_MODE, ModeNative, "xdpgeneric off"},
		{"auto, other mode", unix.XDP_FLAGS_SKB_MODE, ModeAuto, "xdpgeneric off"},
		{"generic against native", unix.XDP_FLAGS_DRV_MODE, ModeGeneric, "xdpdrv off"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := bpffs(t)
			veth(t, "for0")
			id := foreignXDP(t, "for0", tt.flags)
			l := open(t, dir, 100)
			_, err := l.Attach(t.Context(), "for0", tt.mode, 0)
			foreign, ok := errors.AsType[*ForeignError](err)
			if !ok {
				t.Fatalf("error %v, want a ForeignError", err)
			}
			if foreign.ProgramID != uint32(id) || foreign.Name != "xdp_pass" || foreign.Interface != "for0" {
				t.Errorf("error %+v, want program %d", foreign, id)
			}
			if !strings.Contains(err.Error(), "(xdp_pass)") || !strings.Contains(err.Error(), tt.off) {
				t.Errorf("error %q does not name the program and the remedy", err)
			}
			dev, err := findDevice("for0")
			check(t, err)
			if dev.program != id {
				t.Errorf("program %d runs, want the foreign one, %d", dev.program, id)
			}
			if at := l.Attest("for0"); at.Protected || at.Problem == "" {
				t.Errorf("attestation: %+v", at)
			}
			if got := pins(t, dir); strings.Contains(got, "for0") {
				t.Errorf("pins left behind:\n%s", got)
			}
		})
	}
}

// A link that is not ours is a foreign program too.
func TestForeignLink(t *testing.T) {
	other := bpffs(t)
	mine := bpffs(t)
	veth(t, "fl0")
	attach(t, open(t, other, 100), "fl0", ModeNative, 0)
	_, err := open(t, mine, 100).Attach(t.Context(), "fl0", ModeNative, 0)
	if foreign, ok := errors.AsType[*ForeignError](err); !ok || foreign.Name != "paraxial" {
		t.Errorf("error %v, want a ForeignError that names paraxial", err)
	}
}

func TestAttachRefusals(t *testing.T) {
	l := open(t, bpffs(t), 100)
	_, err := l.Attach(t.Context(), "nosuch0", ModeAuto, 0)
	if err == nil || !strings.Contains(err.Error(), "no such interface") {
		t.Errorf("missing interface: %v", err)
	}
	if _, err := l.Attach(t.Context(), "lo", ModeAuto, MaxSlots); err == nil {
		t.Error("a slot out of range was accepted")
	}
}

func TestAttestNotices(t *testing.T) {
	tests := []struct {
		name    string
		harm    func(t *testing.T, l *Loader, dir string)
		problem string
	}{
		{"link detached", func(t *testing.T, l *Loader, dir string) { detachLink(t, dir) }, "detached"},
		{"another program in the link", func(t *testing.T, l *Loader, dir string) {
			lk, err := link.LoadPinnedLink(filepath.Join(dir, linksDir, "att0"), nil)
			check(t, err)
			defer lk.Close()
			p, err := l.loadBuild(plain, 5)
			check(t, err)
			defer p.Close()
			check(t, lk.Update(p))
		}, "the link runs program"},
		{"foreign program instead", func(t *testing.T, l *Loader, dir string) {
			detachLink(t, dir)
			foreignXDP(t, "att0", unix.XDP_FLAGS_DRV_MODE)
		}, "detached"},
		{"interface deleted", func(t *testing.T, l *Loader, dir string) { delLink(t, "att0") }, "no such interface"},
		{"interface recreated", func(t *testing.T, l *Loader, dir string) {
			delLink(t, "att0")
			veth(t, "att0")
		}, "replaced"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := bpffs(t)
			veth(t, "att0")
			l := open(t, dir, 100)
			attach(t, l, "att0", ModeNative, 0)
			if at := l.Attest("att0"); !at.Protected {
				t.Fatalf("attestation before: %+v", at)
			}
			tt.harm(t, l, dir)
			at := l.Attest("att0")
			if at.Protected || at.Mode != "" || !strings.Contains(at.Problem, tt.problem) {
				t.Errorf("attestation: %+v, want a problem with %q", at, tt.problem)
			}
			if _, err := findDevice("att0"); err != nil || strings.HasPrefix(tt.name, "foreign") {
				return
			}
			attach(t, l, "att0", ModeNative, 0)
			if at := l.Attest("att0"); !at.Protected {
				t.Errorf("attestation after the repair: %+v", at)
			}
		})
	}
}

func detachLink(t *testing.T, dir string) {
	t.Helper()
	lk, err := link.LoadPinnedLink(filepath.Join(dir, linksDir, "att0"), nil)
	check(t, err)
	defer lk.Close()
	check(t, lk.Detach())
}

func TestDetach(t *testing.T) {
	dir := bpffs(t)
	veth(t, "det0")
	l := open(t, dir, 100)
	attach(t, l, "det0", ModeNative, 0)
	for range 2 {
		check(t, l.Detach("det0"))
	}
	expectProgram(t, "det0", 0)
	if got := pins(t, dir); strings.Contains(got, "det0") {
		t.Errorf("pins left behind:\n%s", got)
	}
}

func TestDetachAll(t *testing.T) {
	dir := bpffs(t)
	veth(t, "all0")
	veth(t, "all1.7")
	l := open(t, dir, 100)
	attach(t, l, "all0", ModeNative, 0)
	attach(t, l, "all1.7", ModeGeneric, 1)
	if _, err := detachAll(t, dir); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("while it is open: %v", err)
	}
	check(t, l.Close())
	names, err := detachAll(t, dir)
	check(t, err)
	if diff := cmp.Diff([]string{"all0", "all1.7"}, names); diff != "" {
		t.Errorf("interfaces (-want +got):\n%s", diff)
	}
	expectProgram(t, "all0", 0)
	expectProgram(t, "all1.7", 0)
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the pin directory is still there: %v", err)
	}
	if names, err := detachAll(t, dir); err != nil || len(names) != 0 {
		t.Errorf("detached again: %q, %v", names, err)
	}
}

func expectProgram(t *testing.T, iface string, want ebpf.ProgramID) {
	t.Helper()
	dev, err := findDevice(iface)
	check(t, err)
	if dev.program != want {
		t.Errorf("%s runs program %d, want %d", iface, dev.program, want)
	}
}

// An interface without Ethernet headers is refused, though the kernel would accept the
// program.
func TestNoEthernet(t *testing.T) {
	dir := bpffs(t)
	addLink(t, &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: "tun7"}, Mode: netlink.TUNTAP_MODE_TUN})
	l := open(t, dir, 100)
	_, err := l.Attach(t.Context(), "tun7", ModeAuto, 0)
	if err == nil || !strings.Contains(err.Error(), "no Ethernet header") {
		t.Fatalf("error %v, want one about the Ethernet header", err)
	}
	if dev := linkByName(t, "tun7"); dev.Attrs().Xdp != nil && dev.Attrs().Xdp.Attached {
		t.Error("the program is attached though it was refused")
	}
}
