package loader

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"
)

// Attestation tells whether the filter is in force on an interface.
type Attestation struct {
	Interface string
	Mode      Mode // empty if not protected
	Protected bool
	ProgramID uint32
	Problem   string // why not protected
}

// Attest reads from the kernel whether an interface runs, in the mode in which
// it was attached, the program that this Loader put there over its maps. Attach
// repairs what it finds.
func (l *Loader) Attest(iface string) Attestation {
	l.mu.Lock()
	defer l.mu.Unlock()
	a, err := l.attest(iface)
	if err != nil {
		return Attestation{Interface: iface, Problem: err.Error()}
	}
	return Attestation{Interface: iface, Mode: a.Mode, Protected: true, ProgramID: a.ProgramID}
}

func (l *Loader) attest(iface string) (*attached, error) {
	a := l.attached[iface]
	if a == nil {
		return nil, ErrNotAttached
	}
	dev, err := findDevice(iface)
	if err != nil {
		return nil, err
	}
	if dev.index != a.ifindex {
		return nil, fmt.Errorf("the interface was replaced: its index was %d and is %d", a.ifindex, dev.index)
	}
	if err := l.attestLink(a); err != nil {
		return nil, err
	}
	switch {
	case dev.program == 0:
		return nil, errors.New("the interface runs no XDP program")
	case uint32(dev.program) != a.ProgramID:
		return nil, dev.foreign()
	case dev.mode != a.Mode:
		return nil, fmt.Errorf("the mode changed from %s to %s", a.Mode, dev.mode)
	}
	return a, l.usesOurMaps(a.program)
}

// attestLink checks the pinned link of a.
func (l *Loader) attestLink(a *attached) error {
	lk, ifindex, err := l.pins.openLink(a.Interface)
	if err != nil {
		return err
	}
	if lk == nil {
		return fmt.Errorf("the pinned link %s is gone", l.pins.link(a.Interface))
	}
	defer lk.Close()
	info, err := lk.Info()
	switch {
	case err != nil:
		return err
	case ifindex == 0:
		return errors.New("the link was detached from the interface")
	case ifindex != a.ifindex:
		return fmt.Errorf("the pinned link is attached to interface %d, not %d", ifindex, a.ifindex)
	case uint32(info.Program) != a.ProgramID:
		return fmt.Errorf("the pinned link runs program %d, not %d", info.Program, a.ProgramID)
	}
	return nil
}

// usesOurMaps checks that p decides by what Apply writes to.
func (l *Loader) usesOurMaps(p *ebpf.Program) error {
	info, err := p.Info()
	if err != nil {
		return err
	}
	used, ok := info.MapIDs()
	if !ok {
		return errors.New("the kernel does not tell the maps of the program")
	}
	deciding := slices.Concat(trieNames(), indexNames(), []string{plainMapLimits})
	ours, err := l.maps.ids(deciding...)
	if err != nil {
		return err
	}
	for i, id := range ours {
		if !slices.Contains(used, id) {
			return fmt.Errorf("the program does not use map %s", deciding[i])
		}
	}
	return nil
}
