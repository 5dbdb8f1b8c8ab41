package loader

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf/link"
)

// takeLink returns the pinned link that is attached to dev, or nil. A link
// whose interface is gone is removed; one of an interface that was renamed
// gets the new name.
func (p pinDir) takeLink(dev device) (link.Link, error) {
	lk, ifindex, err := p.openLink(dev.name)
	if err != nil {
		return nil, err
	}
	if lk != nil && ifindex == dev.index {
		return lk, nil
	}
	// Ours, but of an interface that is gone (0) or has another name now.
	if lk != nil && ifindex == 0 {
		if err := p.dropLink(lk, dev.name); err != nil {
			return nil, err
		}
	} else if lk != nil {
		_ = lk.Close()
		return nil, fmt.Errorf("the pinned link is attached to interface %d, which had this name before: attach that one first, or run `paraxiald detach`", ifindex)
	}
	return p.adoptLink(dev)
}

// adoptLink looks for a link to dev under another name.
func (p pinDir) adoptLink(dev device) (link.Link, error) {
	names, err := p.interfaces()
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		lk, ifindex, err := p.openLink(name)
		if err != nil {
			return nil, err
		}
		if lk != nil && ifindex == dev.index {
			if err := os.Rename(p.link(name), p.link(dev.name)); err != nil {
				return nil, errors.Join(fmt.Errorf("rename the pin of %s: %w", name, err), lk.Close())
			}
			return lk, nil
		}
		closeLink(lk)
	}
	return nil, nil
}

// openLink opens a pinned link, nil if there is none. The ifindex is 0 if its
// interface is gone or it was detached.
func (p pinDir) openLink(iface string) (lk link.Link, ifindex int, err error) {
	lk, err = link.LoadPinnedLink(p.link(iface), nil)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("pinned link of %s: %w", iface, err)
	}
	info, err := lk.Info()
	if err != nil {
		return nil, 0, errors.Join(fmt.Errorf("pinned link of %s: %w", iface, err), lk.Close())
	}
	xdp := info.XDP()
	if xdp == nil {
		return nil, 0, errors.Join(fmt.Errorf("%s is not an XDP link: remove it", p.link(iface)), lk.Close())
	}
	return lk, int(xdp.Ifindex), nil
}

// dropLink detaches a link at once, whoever else holds it, and unpins it.
func (p pinDir) dropLink(lk link.Link, iface string) error {
	err := lk.Detach()
	_ = lk.Close()
	if err != nil {
		return fmt.Errorf("detach XDP from %s: %w", iface, err)
	}
	return removePin(p.link(iface))
}

// Interfaces returns the interfaces that have a link of ours pinned, sorted,
// attached by this Loader or before it.
func (l *Loader) Interfaces() ([]string, error) {
	names, err := l.pins.interfaces()
	if err != nil {
		return nil, fmt.Errorf("list pinned links: %w", err)
	}
	return names, nil
}

// Detach takes the program off an interface. It is no error if there is none.
func (l *Loader) Detach(iface string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.pins.detach(iface); err != nil {
		return err
	}
	if a := l.attached[iface]; a != nil {
		_ = a.program.Close()
		delete(l.attached, iface)
	}
	l.forgetTwin(iface)
	return removePin(l.gen.program(iface))
}

func (p pinDir) detach(iface string) error {
	lk, _, err := p.openLink(iface)
	if err != nil || lk == nil {
		return err
	}
	return p.dropLink(lk, iface)
}

// DetachAll takes the filter off all interfaces and removes the pin directory.
// It returns the names of the interfaces, sorted, and is no error if there is
// nothing. An empty bpffs means DefaultBPFFS.
func DetachAll(bpffs string) ([]string, error) {
	if bpffs == "" {
		bpffs = DefaultBPFFS
	}
	if _, err := os.Stat(bpffs); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err := onBPFFS(bpffs); err != nil {
		return nil, fmt.Errorf("detach: %w", err)
	}
	p := pinDir{filepath.Clean(bpffs)}
	names, err := p.interfaces()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("detach: %w", explain(err))
	}
	for i, name := range names {
		if err := p.detach(name); err != nil {
			return names[:i], explain(err)
		}
	}
	return names, p.remove()
}

// remove takes away what is ours in the directory, and it itself if that was all.
func (p pinDir) remove() error {
	gens, err := p.generations()
	if err != nil {
		return fmt.Errorf("remove pins: %w", err)
	}
	for _, g := range gens {
		if err := g.remove(); err != nil {
			return err
		}
	}
	for _, d := range []string{filepath.Join(p.path, linksDir), p.path} {
		if err := removePin(d); err != nil {
			return err
		}
	}
	return nil
}
