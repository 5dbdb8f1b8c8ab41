package loader

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// RemoveForeign removes an XDP program that is not Paraxial's from an interface. It returns
// a description of the program, or nil if there was none. If a link holds the program, this
// needs CAP_SYS_ADMIN to find the link.
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

// removeProgram does the same as `ip link set dev IFACE xdp off`. If a link prevents that,
// it detaches the link.
func removeProgram(dev device) error {
	lk := &netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: dev.index, Name: dev.name}}
	err := netlink.LinkSetXdpFdWithFlags(lk, -1, int(dev.mode.flags()))
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
		return fmt.Errorf("search for its link: %w (needs root or CAP_SYS_ADMIN)", err)
	}
	return errors.New("no link was found that holds it: stop the program that attached it")
}
