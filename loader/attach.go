package loader

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// Attachment is the program in force on an interface, as read back from the kernel.
type Attachment struct {
	Interface string
	Mode      Mode // native or generic
	ProgramID uint32
	LinkID    uint32
	Frags     bool   // the build for frames in several buffers
	Note      string // what the operator should know; may be empty
}

// attached is the program that this Loader has attached to an interface.
type attached struct {
	Attachment
	ifindex int
	mtu     int // at the time of attaching
	slot    uint32
	build   build
	program *ebpf.Program
	link    link.Link // kept open, so that it outlives its pin
}

func (a *attached) close() error { return errors.Join(a.closeProgram(), a.link.Close()) }

func (a *attached) closeProgram() error { return a.program.Close() }

// candidate is one way to attach.
type candidate struct {
	build build
	mode  Mode
}

// largestPlainMTU is about what fits into a page beside headroom and shared info. Above it
// drivers refuse the plain build, so that frags is tried first.
const largestPlainMTU = 3498

// candidates returns the ways to attach, in the order in which to try them. If the driver
// refuses one build, the other is tried whatever the errno: drivers use different ones for
// the MTU, and some look at the MTU of the peer. Generic mode needs only the plain build,
// because the kernel puts each frame into one buffer.
func candidates(mtu int, mode Mode, withFrags bool) []candidate {
	if mode == ModeGeneric {
		return []candidate{{plain, ModeGeneric}}
	}
	c := []candidate{{plain, ModeNative}}
	if withFrags && mtu > largestPlainMTU {
		c = []candidate{{frags, ModeNative}, {plain, ModeNative}}
	} else if withFrags {
		c = append(c, candidate{frags, ModeNative})
	}
	return c
}

// Attach attaches the program to an interface, counting into slot, or replaces a program
// of ours there without a gap. The error is a *ForeignError if another program is there.
// ModeAuto uses native mode, and generic only if the driver has no native XDP. With
// ModeAuto, a program that runs already keeps its mode.
//
// The result is read back from the kernel. A repeated call repairs the attachment.
func (l *Loader) Attach(ctx context.Context, iface string, mode Mode, slot uint32) (Attachment, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return Attachment{}, err
	}
	if slot >= MaxSlots {
		return Attachment{}, fmt.Errorf("attach XDP to %s: slot %d: want less than %d", iface, slot, MaxSlots)
	}
	a, err := l.attach(iface, mode, slot)
	if err != nil {
		return Attachment{}, fmt.Errorf("attach XDP to %s: %w", iface, explain(err))
	}
	return a.Attachment, nil
}

func (l *Loader) attach(iface string, mode Mode, slot uint32) (*attached, error) {
	if err := l.ensurePins(); err != nil {
		return nil, err
	}
	dev, err := findDevice(iface)
	if err != nil {
		return nil, err
	}
	lk, err := l.takeLink(dev)
	if err != nil {
		l.letGo(dev, lk)
		return nil, err
	}
	if lk == nil && dev.program != 0 {
		return nil, dev.foreign()
	}
	if lk != nil && mode != ModeAuto && mode != dev.mode {
		return l.changeMode(dev, lk, mode, slot)
	}
	auto := mode == ModeAuto
	if lk != nil {
		mode = dev.mode
	}
	a, err := l.tryAll(dev, lk, mode, slot)
	if err != nil {
		l.letGo(dev, lk)
		return nil, err
	}
	switch {
	case !auto || a.Mode != ModeGeneric:
	case lk == nil:
		a.addNote("the driver has no native XDP")
	default:
		a.addNote("generic mode was in force and is kept; xdp_mode: native changes it")
	}
	return l.keep(a), nil
}

// letGo closes a link that takeLink returned, unless it is kept.
func (l *Loader) letGo(dev device, lk link.Link) {
	if held := l.attached[dev.name]; held == nil || held.link != lk {
		closeLink(lk)
	}
}

// changeMode detaches and attaches again, because a link cannot change its mode. If the
// new mode is refused, it attaches in the previous one.
func (l *Loader) changeMode(dev device, lk link.Link, mode Mode, slot uint32) (*attached, error) {
	if err := l.pins.dropLink(lk, dev.name); err != nil {
		return nil, err
	}
	l.release(dev.name)
	a, err := l.tryAll(dev, nil, mode, slot)
	if err != nil {
		back, backErr := l.tryAll(dev, nil, dev.mode, slot)
		if backErr != nil {
			return nil, errors.Join(err, fmt.Errorf("go back to %s mode: %w", dev.mode, backErr))
		}
		l.keep(back)
		return nil, fmt.Errorf("%w; it runs in %s mode, as before", err, dev.mode)
	}
	a.addNote(fmt.Sprintf("changed from %s to %s mode: packets passed unfiltered for a moment", dev.mode, mode))
	return l.keep(a), nil
}

// keep records a as the program that is attached.
func (l *Loader) keep(a *attached) *attached {
	if a.Mode == ModeGeneric {
		a.addNote("generic mode sees packets after GRO, so packet counts are low")
	}
	if old := l.attached[a.Interface]; old != nil {
		_ = old.closeProgram()
		if old.link != a.link {
			closeLink(old.link)
		}
	}
	l.attached[a.Interface] = a
	return a
}

func (a *attached) addNote(s string) {
	if a.Note != "" {
		a.Note += "; "
	}
	a.Note += s
}

// ensurePins restores all that somebody may have removed from the pin directory.
func (l *Loader) ensurePins() error {
	if err := l.pins.check(); err != nil {
		return err
	}
	if err := l.pins.ensure(); err != nil {
		return err
	}
	if err := l.gen.ensure(l.maps); err != nil {
		return err
	}
	return errors.Join(l.hits.pin(l.gen), l.limits.pin(l.gen))
}

// tryAll goes through the candidates until one is accepted.
func (l *Loader) tryAll(dev device, lk link.Link, mode Mode, slot uint32) (*attached, error) {
	var first error
	noNative := true
	for _, c := range candidates(dev.mtu, mode, haveFrags()) {
		a, err := l.install(dev, lk, c, slot)
		if err == nil {
			return a, nil
		}
		if !refusedByDriver(err) {
			return nil, l.occupied(dev, err)
		}
		if first == nil || c.build == plain {
			first = err
		}
		noNative = noNative && errors.Is(err, unix.EOPNOTSUPP)
	}
	if mode == ModeAuto && noNative {
		a, err := l.install(dev, lk, candidate{plain, ModeGeneric}, slot)
		return a, l.occupied(dev, err)
	}
	return nil, refusal(dev, lk, first, noNative)
}

// refusedByDriver tells whether the driver might accept another build.
func refusedByDriver(err error) bool {
	return errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ERANGE)
}

// refusal returns an error for a device that accepts no candidate, with a remedy.
func refusal(dev device, lk link.Link, err error, noNative bool) error {
	switch {
	case noNative:
		return fmt.Errorf("%w (the driver has no native XDP, or not with the current offloads: "+
			"use --xdp-mode generic)", err)
	case lk != nil:
		return fmt.Errorf("%w (the pinned link accepts no new program: run `paraxiald detach` and start again)", err)
	}
	return fmt.Errorf("%w (the driver refuses native XDP, usually because of the MTU, which is %d: "+
		"lower it, also on the peer of a veth, or use --xdp-mode generic)", err, dev.mtu)
}

// occupied replaces the errnos of an interface that is in use by an error that names the
// program. EBUSY means a program in this mode, EEXIST one in the other mode, or one on an
// upper device.
func (l *Loader) occupied(dev device, err error) error {
	if !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.EEXIST) {
		return err
	}
	if now, e := findDevice(dev.name); e == nil && now.program != 0 {
		return now.foreign()
	}
	if errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("%w (a bond or another device above it may run an XDP program: attach to that one only)", err)
	}
	return err
}

// install loads a candidate and switches the link to it, or makes a link.
func (l *Loader) install(dev device, lk link.Link, c candidate, slot uint32) (*attached, error) {
	p, err := l.loadBuild(c.build, slot)
	if err != nil {
		return nil, err
	}
	if err := l.carrySlot(slot); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	a, err := l.switchTo(dev, lk, c, p)
	if err != nil {
		_ = p.Close()
		return nil, err
	}
	l.moved[slot] = true
	a.slot = slot
	return a, nil
}

// switchTo pins p beside the program in force, switches the link, and renames the pin. So
// after a crash at any point, the program of the link is pinned under one of two names.
func (l *Loader) switchTo(dev device, lk link.Link, c candidate, p *ebpf.Program) (*attached, error) {
	next := l.gen.next(dev.name)
	if err := removePin(next); err != nil {
		return nil, err
	}
	if err := p.Pin(next); err != nil {
		return nil, fmt.Errorf("pin program: %w", err)
	}
	isNew := lk == nil
	lk, err := l.pins.point(dev, lk, c.mode, p)
	if err != nil {
		return nil, errors.Join(err, removePin(next))
	}
	if err := os.Rename(next, l.gen.program(dev.name)); err != nil {
		if isNew {
			closeLink(lk)
		}
		return nil, fmt.Errorf("pin program: %w", err)
	}
	a, err := readBack(dev, lk, c.mode, p)
	if err != nil {
		err = fmt.Errorf("read back: %w", err)
		if isNew {
			err = errors.Join(err, l.pins.dropLink(lk, dev.name), removePin(l.gen.program(dev.name)))
		}
		return nil, err
	}
	a.build, a.Frags, a.program, a.link, a.mtu = c.build, c.build == frags, p, lk, dev.mtu
	return a, nil
}

// point makes the given link run prog, or makes and pins a new link for it.
func (p pinDir) point(dev device, lk link.Link, mode Mode, prog *ebpf.Program) (link.Link, error) {
	if lk != nil {
		return lk, lk.Update(prog)
	}
	lk, err := link.AttachXDP(link.XDPOptions{Program: prog, Interface: dev.index, Flags: mode.flags()})
	if err != nil {
		return nil, err
	}
	if err := lk.Pin(p.link(dev.name)); err != nil {
		return nil, errors.Join(fmt.Errorf("pin link: %w", err), lk.Close())
	}
	return lk, nil
}

// readBack returns the attachment as the kernel reports it, if link and interface both run
// p in the requested mode.
func readBack(asked device, lk link.Link, mode Mode, p *ebpf.Program) (*attached, error) {
	id, err := programID(p)
	if err != nil {
		return nil, err
	}
	dev, err := findDevice(asked.name)
	if err != nil {
		return nil, err
	}
	info, err := lk.Info()
	if err != nil {
		return nil, err
	}
	if info.Program != id || dev.program != id {
		return nil, fmt.Errorf("program %d was attached, but the link runs %d and the interface %d",
			id, info.Program, dev.program)
	}
	if dev.index != asked.index || dev.mode != mode {
		return nil, fmt.Errorf("it runs on interface %d in %s mode, not on %d in %s mode",
			dev.index, dev.mode, asked.index, mode)
	}
	return &attached{
		Attachment: Attachment{Interface: dev.name, Mode: mode, ProgramID: uint32(id), LinkID: uint32(info.ID)},
		ifindex:    dev.index,
	}, nil
}

func removePin(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove pin: %w", err)
	}
	return nil
}

// removeEmpty removes a directory of pins, unless something is left in it.
func removeEmpty(dir string) error {
	if err := removePin(dir); err != nil && !errors.Is(err, unix.ENOTEMPTY) {
		return err
	}
	return nil
}
