package loader

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// RemoveForeign takes somebody else's XDP program off an interface and returns
// what it was, nil if there is none. One that is held by a link takes
// CAP_SYS_ADMIN, which lets find the link.
func (l *Loader) RemoveForeign(iface string) (*ForeignError, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	dev, err := findDevice(iface)
	if err != nil {
		return nil, fmt.Errorf("remove the XDP program of %s: %w", iface, err)
	}
	if dev.program == 0 {
		return nil, nil
	}
	for _, a := range l.attached {
		if at, err := placeOf(a.link); err == nil && at.on(dev) {
			return nil, nil
		}
	}
	was := dev.foreign()
	if err := removeProgram(dev); err != nil {
		return nil, fmt.Errorf("remove XDP program %d of %s: %w", dev.program, iface, err)
	}
	return was, nil
}

// removeProgram does what `ip link set dev IFACE xdp off` does, or detaches the
// link that does not allow that.
func removeProgram(dev device) error {
	flags := int(dev.mode.flags())
	err := netlink.LinkSetXdpFdWithFlags(&netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: dev.index, Name: dev.name}}, -1, flags)
	if errors.Is(err, unix.EBUSY) {
		return detachForeign(dev)
	}
	return err
}

func detachForeign(dev device) error {
	var links link.Iterator
	defer links.Close()
	for links.Next() {
		info, err := links.Link.Info()
		if err != nil || info.XDP() == nil || int(info.XDP().Ifindex) != dev.index || info.Program != dev.program {
			continue
		}
		return links.Link.Detach()
	}
	if err := links.Err(); err != nil {
		return fmt.Errorf("look for its link: %w (needs root or CAP_SYS_ADMIN)", err)
	}
	return errors.New("the link that holds it is not to be found: end the program that put it there")
}
