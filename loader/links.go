package loader

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
)

// asideSuffix marks the pin of a link whose interface was renamed, while another pin still
// has the new name. No interface has a colon in its name.
const asideSuffix = ":was"

// place tells where a link is attached, as the kernel reports it.
type place struct {
	link    link.ID
	ifindex int // 0 if the interface is gone or the link was detached
	program ebpf.ProgramID
}

func placeOf(lk link.Link) (place, error) {
	info, err := lk.Info()
	if err != nil {
		return place{}, err
	}
	xdp := info.XDP()
	if xdp == nil {
		return place{}, errors.New("not an XDP link: move it away")
	}
	return place{link: info.ID, ifindex: int(xdp.Ifindex), program: info.Program}, nil
}

// on tells whether the link is on dev. The index alone is not enough: the interface with
// that index may be in another network namespace.
func (p place) on(dev device) bool {
	return p.ifindex != 0 && p.ifindex == dev.index && p.program == dev.program
}

// device finds the interface that the link is on, if it is in this namespace.
func (p place) device() (dev device, here bool, err error) {
	lk, err := netlink.LinkByIndex(p.ifindex)
	if _, ok := errors.AsType[netlink.LinkNotFoundError](err); ok {
		return device{}, false, nil
	}
	if err != nil {
		return device{}, false, fmt.Errorf("read interface %d: %w", p.ifindex, err)
	}
	dev = deviceOf(lk.Attrs())
	return dev, p.on(dev), nil
}

// takeLink returns our link that is on dev, pinned under the name of dev, or nil. The pin
// follows the interface when that is renamed. If the pin of that name is a link on an
// interface with another name, it is put aside, and found when that interface is attached.
// The caller closes the link unless it is kept.
func (l *Loader) takeLink(dev device) (link.Link, error) {
	if a := l.attached[dev.name]; a != nil {
		if at, err := placeOf(a.link); err == nil && at.on(dev) {
			return a.link, l.pins.pinLink(a.link, at, dev.name)
		}
		l.release(dev.name)
	}
	if err := l.vacate(dev); err != nil {
		return nil, err
	}
	for name, a := range l.attached {
		if at, err := placeOf(a.link); err == nil && at.on(dev) {
			lk := a.link
			delete(l.attached, name)
			_ = a.closeProgram()
			return lk, l.pins.pinLink(lk, at, dev.name)
		}
	}
	return l.pins.adoptLink(dev)
}

// pinLink pins an open link under a name, unless it is pinned there.
func (p pinDir) pinLink(lk link.Link, at place, name string) error {
	pinned, there, err := p.openLink(name)
	if err != nil {
		return err
	}
	if pinned != nil {
		_ = pinned.Close()
		if there.link == at.link {
			return nil
		}
		if err := removePin(p.link(name)); err != nil {
			return err
		}
	}
	if err := errors.Join(lk.Unpin(), lk.Pin(p.link(name))); err != nil {
		return fmt.Errorf("pin link: %w", err)
	}
	return nil
}

// vacate frees the name of dev among the pins, if the link there is on another interface.
func (l *Loader) vacate(dev device) error {
	lk, at, err := l.pins.openLink(dev.name)
	if err != nil || lk == nil {
		return err
	}
	if at.on(dev) {
		return lk.Close()
	}
	if at.ifindex == 0 {
		return l.pins.dropLink(lk, dev.name)
	}
	other, here, err := at.device()
	if err != nil {
		return errors.Join(err, lk.Close())
	}
	if !here {
		l.log.Warn("the interface that had this name is in another network namespace; its filter is detached",
			"interface", dev.name)
		return l.pins.dropLink(lk, dev.name)
	}
	defer lk.Close()
	l.log.Warn("another interface has this name now; the filter stays on the interface that had it",
		"name", dev.name, "renamed", other.name)
	to := l.pins.link(other.name)
	if _, err := os.Lstat(to); err == nil {
		to = l.pins.link(other.name + asideSuffix)
	}
	if err := errors.Join(removePin(to), os.Rename(l.pins.link(dev.name), to)); err != nil {
		return fmt.Errorf("put the link of %s aside: %w", other.name, err)
	}
	return nil
}

// adoptLink looks for a pinned link to dev under any name, and pins it under the name of
// dev.
func (p pinDir) adoptLink(dev device) (link.Link, error) {
	names, err := p.interfaces()
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		lk, at, err := p.openLink(name)
		if err != nil {
			return nil, err
		}
		if lk != nil && at.on(dev) {
			if err := lk.Pin(p.link(dev.name)); err != nil {
				return nil, errors.Join(fmt.Errorf("rename the pin of %s: %w", name, err), lk.Close())
			}
			return lk, nil
		}
		closeLink(lk)
	}
	return nil, nil
}

// openLink opens a pinned link, nil if there is none.
func (p pinDir) openLink(iface string) (link.Link, place, error) {
	lk, err := link.LoadPinnedLink(p.link(iface), nil)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, place{}, nil
	}
	if err != nil {
		return nil, place{}, fmt.Errorf("open the pinned link %s: %w (if it is no link, move it away)",
			p.link(iface), err)
	}
	at, err := placeOf(lk)
	if err != nil {
		return nil, place{}, errors.Join(fmt.Errorf("%s: %w", p.link(iface), err), lk.Close())
	}
	return lk, at, nil
}

// dropLink detaches a link at once, even if another process has it open, and unpins it.
func (p pinDir) dropLink(lk link.Link, iface string) error {
	err := lk.Detach()
	_ = lk.Close()
	if err != nil {
		return fmt.Errorf("detach XDP from %s: %w", iface, err)
	}
	return removePin(p.link(iface))
}

// release closes program and link of an interface. Their pins stay.
func (l *Loader) release(iface string) {
	if a := l.attached[iface]; a != nil {
		_ = a.close()
		delete(l.attached, iface)
	}
}

func closeLink(lk link.Link) {
	if lk != nil {
		_ = lk.Close()
	}
}
