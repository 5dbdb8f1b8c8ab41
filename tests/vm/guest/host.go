package main

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/paraxial/paraxial/tests/vm/wire"
)

// mountHost mounts the file system of the host, in which programs find all that is installed there.
// Their writes stay in the memory of this machine.
func mountHost() error {
	const lower, memory = "/run/host", "/run/written"
	for _, m := range []struct {
		source, target, kind string
		flags                uintptr
		data                 string
	}{
		{wire.HostTag, lower, "9p", unix.MS_RDONLY, "trans=virtio,version=9p2000.L,msize=512000,cache=loose"},
		{"tmpfs", memory, "tmpfs", 0, ""},
		{"overlay", wire.HostRoot, "overlay", 0, "lowerdir=" + lower + ",upperdir=" + memory + "/up,workdir=" + memory +
			"/work"},
		{"/proc", wire.HostRoot + "/proc", "", unix.MS_BIND | unix.MS_REC, ""},
		{"/sys", wire.HostRoot + "/sys", "", unix.MS_BIND | unix.MS_REC, ""},
		{"/dev", wire.HostRoot + "/dev", "", unix.MS_BIND | unix.MS_REC, ""},
		{"devpts", wire.HostRoot + "/dev/pts", "devpts", 0, "mode=0620,gid=5"},
		{"tmpfs", wire.HostRoot + "/run", "tmpfs", 0, "mode=0755"},
	} {
		if err := os.MkdirAll(m.target, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.source, m.target, m.kind, m.flags, m.data); err != nil {
			return fmt.Errorf("mount %s on %s: %w", m.source, m.target, err)
		}
		if m.target == memory {
			for _, dir := range []string{"/up", "/work"} {
				if err := os.Mkdir(memory+dir, 0o755); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
