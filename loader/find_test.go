package loader

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/cilium/ebpf/link"
	"github.com/google/go-cmp/cmp"
)

func TestBPFMounts(t *testing.T) {
	const mountinfo = `22 1 254:0 / / rw,relatime - ext4 /dev/root rw
31 23 0:27 / /sys/fs/bpf rw,nosuid shared:9 - bpf bpf rw,mode=700
40 22 0:33 / /run/with\040space\134 rw master:1 propagate_from:2 - bpf none rw
41 22 0:34 / /bpf rw - tmpfs bpf rw
short
`
	if diff := cmp.Diff([]string{"/sys/fs/bpf", `/run/with space\`}, bpfMounts(mountinfo)); diff != "" {
		t.Errorf("mount points (-want +got):\n%s", diff)
	}
}

// The pins of Paraxial are found wherever they are, and those of other software are not.
func TestFindPins(t *testing.T) {
	first := bpffs(t)
	root := filepath.Dir(first)
	check(t, os.MkdirAll(filepath.Join(root, "a", "b"), 0o700))
	deep := filepath.Join(root, "a", "b", "deep")
	second := bpffs(t)
	veth(t, "fnd0")
	veth(t, "fnd1")
	veth(t, "fnd2")
	attach(t, open(t, first, 1), "fnd0", ModeNative, 0)
	attach(t, open(t, deep, 1), "fnd1", ModeNative, 0)
	check(t, os.RemoveAll(filepath.Join(deep, "gen-1"))) // the link is still in force
	open(t, second, 1)

	// Other software: a link in a directory of the same name, and empty directories.
	for _, dir := range []string{"cilium/links", "x/links", "y/gen-1"} {
		check(t, os.MkdirAll(filepath.Join(root, dir), 0o700))
	}
	lk, err := link.AttachXDP(link.XDPOptions{Program: passProgram(t), Interface: linkByName(t, "fnd2").Attrs().Index})
	check(t, err)
	defer lk.Close()
	check(t, lk.Pin(filepath.Join(root, "cilium", "links", "fnd2")))

	found, err := FindPins()
	check(t, err)
	got := map[string]bool{}
	for _, dir := range found {
		got[dir] = true
	}
	for dir, want := range map[string]bool{
		first: true, deep: true, second: true,
		filepath.Join(root, "cilium"): false, filepath.Join(root, "x"): false, filepath.Join(root, "y"): false,
	} {
		if got[dir] != want {
			t.Errorf("%s found %t, want %t, in %v", dir, got[dir], want, found)
		}
	}
}
