package loader

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"

	"github.com/cilium/ebpf"
)

// Attestation tells whether the filter is in force on an interface.
type Attestation struct {
	Interface string
	Mode      Mode // empty if not protected
	Protected bool
	ProgramID uint32
	Problem   string // the reason if it is not protected
	Missing   bool   // the interface does not exist
	Warning   string // a fault of a filter that is in force
}

// Attest reads from the kernel whether an interface runs the program that this Loader
// attached, over its maps and in the mode in which it was attached. Attach repairs the
// faults that it finds.
func (l *Loader) Attest(iface string) Attestation {
	l.mu.Lock()
	defer l.mu.Unlock()
	a, dev, err := l.attest(iface)
	if err != nil {
		return Attestation{Interface: iface, Problem: err.Error(), Missing: errors.Is(err, ErrNoInterface)}
	}
	return Attestation{
		Interface: iface, Mode: a.Mode, Protected: true, ProgramID: a.ProgramID, Warning: l.warning(a, dev),
	}
}

func (l *Loader) attest(iface string) (*attached, device, error) {
	a := l.attached[iface]
	dev, err := findDevice(iface)
	switch {
	case err != nil && a != nil:
		return nil, dev, withPlace(a, err)
	case err != nil:
		return nil, dev, err
	case a == nil && dev.program != 0:
		return nil, dev, dev.foreign()
	case a == nil:
		return nil, dev, ErrNotAttached
	case dev.index != a.ifindex:
		err := fmt.Errorf("the interface was replaced: its index was %d and is %d", a.ifindex, dev.index)
		return nil, dev, withPlace(a, err)
	}
	if err := attestLink(a, dev); err != nil {
		return nil, dev, err
	}
	switch {
	case dev.program == 0:
		return nil, dev, errors.New("the interface runs no XDP program")
	case uint32(dev.program) != a.ProgramID:
		return nil, dev, dev.foreign()
	case dev.mode != a.Mode:
		return nil, dev, fmt.Errorf("the mode changed from %s to %s", a.Mode, dev.mode)
	}
	return a, dev, l.usesOurMaps(a.program)
}

// withPlace adds to err where the interface is that the filter is still on: it may have
// another name, or be in another network namespace.
func withPlace(a *attached, err error) error {
	at, e := placeOf(a.link)
	if e != nil || at.ifindex == 0 {
		return err
	}
	dev, here, e := at.device()
	switch {
	case e != nil:
		return err
	case here:
		return fmt.Errorf("the interface was renamed to %s, and the filter is still on it: "+
			"name %s under interfaces and reload; %w", dev.name, dev.name, err)
	}
	return fmt.Errorf("the interface was moved to another network namespace, and the filter is still on it there: "+
		"move it back, or remove it from interfaces and reload; %w", err)
}

// attestLink checks that the link of a is attached to its interface and runs its program.
func attestLink(a *attached, dev device) error {
	at, err := placeOf(a.link)
	switch {
	case err != nil:
		return err
	case at.ifindex == 0 && dev.program != 0:
		return fmt.Errorf("the link was detached from the interface: %w", dev.foreign())
	case at.ifindex == 0:
		return errors.New("the link was detached from the interface")
	case at.ifindex != a.ifindex:
		return fmt.Errorf("the link is attached to interface %d, not %d", at.ifindex, a.ifindex)
	case uint32(at.program) != a.ProgramID:
		return fmt.Errorf("the link runs program %d, not %d", at.program, a.ProgramID)
	}
	return nil
}

// Glance tells whether the link of an interface is still attached to it and runs the same
// program. It costs one system call. The kernel announces neither that a link is detached
// nor that it gets another program.
func (l *Loader) Glance(iface string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.attached[iface]
	if a == nil {
		return false
	}
	at, err := placeOf(a.link)
	return err == nil && at.ifindex == a.ifindex && uint32(at.program) == a.ProgramID
}

// warning describes a fault of a filter that is in force. It is empty if there is none.
func (l *Loader) warning(a *attached, dev device) string {
	if err := l.attestPins(a); err != nil {
		return fmt.Sprintf("%v; the filter goes on, but ends when paraxiald stops", err)
	}
	if a.Mode == ModeNative && (a.mtu > largestPlainMTU) != (dev.mtu > largestPlainMTU) {
		return fmt.Sprintf("the MTU changed from %d to %d, which needs the other build of the program", a.mtu, dev.mtu)
	}
	return ""
}

// attestPins checks that all objects are pinned that the next start needs.
func (l *Loader) attestPins(a *attached) error {
	if err := l.pins.check(); err != nil {
		return err
	}
	lk, at, err := l.pins.openLink(a.Interface)
	if err != nil {
		return err
	}
	closeLink(lk)
	if lk == nil {
		return fmt.Errorf("the pinned link %s is gone", l.pins.link(a.Interface))
	}
	if uint32(at.link) != a.LinkID {
		return fmt.Errorf("%s is another link", l.pins.link(a.Interface))
	}
	paths := []string{l.gen.program(a.Interface)}
	for _, name := range slices.Sorted(maps.Keys(l.maps)) {
		paths = append(paths, l.gen.pin(name))
	}
	for _, s := range []*segmented{l.hits, l.limits} {
		for n := range s.all() {
			paths = append(paths, l.gen.segment(s.name, n))
		}
	}
	for _, path := range paths {
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("the pin %s is gone", path)
		}
	}
	return nil
}

// usesOurMaps checks that p uses the maps that Apply writes to.
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
