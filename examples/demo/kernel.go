package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
)

// filter describes the part of Paraxial that is attached to the network card.
type filter struct {
	program ebpf.ProgramID
	links   []link.ID
}

// findFilter asks the kernel and not the daemon.
func findFilter() (filter, error) {
	id, err := attachedProgram()
	if err != nil {
		return filter{}, err
	}
	if id == 0 {
		return filter{}, fmt.Errorf("no XDP program on %s", nic)
	}
	f := filter{program: id}
	links := new(link.Iterator)
	defer links.Close()
	for links.Next() {
		if info, err := links.Link.Info(); err == nil && info.Program == id {
			f.links = append(f.links, info.ID)
		}
	}
	return f, links.Err()
}

// attachedProgram returns 0 if the card has no XDP program.
func attachedProgram() (ebpf.ProgramID, error) {
	card, err := netlink.LinkByName(nic)
	if err != nil {
		return 0, fmt.Errorf("look at %s: %w", nic, err)
	}
	if xdp := card.Attrs().Xdp; xdp != nil && xdp.Attached {
		return ebpf.ProgramID(xdp.ProgId), nil
	}
	return 0, nil
}

// checkGone returns an error that names the parts of the filter that still exist.
func (f filter) checkGone(pinDir string) error {
	var left []error
	err := eventually(settle, func() (bool, error) {
		left = f.remains(pinDir)
		return len(left) == 0, nil
	})
	return errors.Join(err, errors.Join(left...))
}

func (f filter) remains(pinDir string) (left []error) {
	if id, err := attachedProgram(); err != nil {
		left = append(left, err)
	} else if id != 0 {
		left = append(left, fmt.Errorf("XDP program %d is left on %s", id, nic))
	}
	if p, err := ebpf.NewProgramFromID(f.program); err == nil {
		left = append(left, fmt.Errorf("BPF program %d is left", f.program), p.Close())
	} else if !errors.Is(err, os.ErrNotExist) {
		left = append(left, err)
	}
	for _, id := range f.links {
		if l, err := link.NewFromID(id); err == nil {
			left = append(left, fmt.Errorf("BPF link %d is left", id), l.Close())
		} else if !errors.Is(err, os.ErrNotExist) {
			left = append(left, err)
		}
	}
	pins, err := filepath.Glob(filepath.Join(pinDir, "*"))
	if err != nil || len(pins) > 0 {
		left = append(left, fmt.Errorf("pins are left: %v", pins))
	}
	return left
}
