package loader

import (
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

func TestRemoveForeign(t *testing.T) {
	for _, tt := range []struct {
		name string
		put  func(t *testing.T) ebpf.ProgramID
	}{
		{"native", func(t *testing.T) ebpf.ProgramID { return foreignXDP(t, "rf0", unix.XDP_FLAGS_DRV_MODE) }},
		{"generic", func(t *testing.T) ebpf.ProgramID { return foreignXDP(t, "rf0", unix.XDP_FLAGS_SKB_MODE) }},
		{"link", func(t *testing.T) ebpf.ProgramID {
			p := passProgram(t)
			lk, err := link.AttachXDP(link.XDPOptions{Program: p, Interface: linkByName(t, "rf0").Attrs().Index})
			check(t, err)
			t.Cleanup(func() { check(t, lk.Close()) })
			id, err := programID(p)
			check(t, err)
			return id
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := bpffs(t)
			veth(t, "rf0")
			l := open(t, dir, 100)
			id := tt.put(t)
			was, err := l.RemoveForeign("rf0")
			check(t, err)
			if was == nil || was.ProgramID != uint32(id) || was.Name != "xdp_pass" {
				t.Errorf("removed %+v, want program %d", was, id)
			}
			expectProgram(t, "rf0", 0)
			a := attach(t, l, "rf0", ModeNative, 0)
			if was, err := l.RemoveForeign("rf0"); was != nil || err != nil {
				t.Errorf("our own: %+v, %v", was, err)
			}
			expectProgram(t, "rf0", ebpf.ProgramID(a.ProgramID))
		})
	}
}

func TestGlance(t *testing.T) {
	dir := bpffs(t)
	veth(t, "att0")
	l := open(t, dir, 100)
	expect := func(want bool, when string) {
		t.Helper()
		if got := l.Glance("att0"); got != want {
			t.Errorf("%s: %t", when, got)
		}
	}
	expect(false, "before anything is attached")
	attach(t, l, "att0", ModeNative, 0)
	expect(true, "attached")
	detachLink(t, dir)
	expect(false, "detached")
	attach(t, l, "att0", ModeNative, 0)
	expect(true, "attached again")
	lk, _, err := l.pins.openLink("att0")
	check(t, err)
	check(t, lk.Update(passProgram(t)))
	check(t, lk.Close())
	expect(false, "another program in the link")
	attach(t, l, "att0", ModeNative, 0)
	expect(true, "attached once more")
	delLink(t, "att0")
	expect(false, "interface gone")
}
