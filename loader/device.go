package loader

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
)

// Mode is where in the receive path the program runs.
type Mode string

// The modes.
const (
	ModeAuto    Mode = "auto"    // native, or generic if the driver has none
	ModeNative  Mode = "native"  // in the driver, before a socket buffer exists
	ModeGeneric Mode = "generic" // behind the driver, and behind GRO
)

// Modes as IFLA_XDP_ATTACHED reports them. They are not the flags with which a
// mode is asked for.
const (
	attachedNative  = 1
	attachedGeneric = 2
)

func (m Mode) flags() link.XDPAttachFlags {
	if m == ModeGeneric {
		return link.XDPGenericMode
	}
	return link.XDPDriverMode
}

// device is what the kernel says of an interface.
type device struct {
	name    string
	index   int
	mtu     int
	mode    Mode           // empty if no program runs, or one we never attach
	program ebpf.ProgramID // 0 if none
}

// findDevice reads the interface from the kernel.
func findDevice(name string) (device, error) {
	lk, err := netlink.LinkByName(name)
	if _, ok := errors.AsType[netlink.LinkNotFoundError](err); ok {
		return device{}, ErrNoInterface
	}
	if err != nil {
		return device{}, fmt.Errorf("read interface: %w", err)
	}
	attrs := lk.Attrs()
	if attrs.Name != name {
		return device{}, fmt.Errorf("%s is another name of interface %s: use that", name, attrs.Name)
	}
	if err := hasEthernet(attrs); err != nil {
		return device{}, err
	}
	return deviceOf(attrs), nil
}

// hasEthernet refuses an interface whose frames begin with an IP header, or with
// another link layer's. XDP can be attached there, but the program reads Ethernet
// headers: it would pass everything, and the interface be called protected.
func hasEthernet(attrs *netlink.LinkAttrs) error {
	switch attrs.EncapType {
	case "ether", "loopback":
		return nil
	}
	return fmt.Errorf("its frames have no Ethernet header (link type %s), as those of tunnels: filter on the interface that the packets come in by", attrs.EncapType)
}

func deviceOf(attrs *netlink.LinkAttrs) device {
	d := device{name: attrs.Name, index: attrs.Index, mtu: attrs.MTU}
	if attrs.Xdp == nil {
		return d
	}
	d.program = ebpf.ProgramID(attrs.Xdp.ProgId)
	switch attrs.Xdp.AttachMode {
	case attachedNative:
		d.mode = ModeNative
	case attachedGeneric:
		d.mode = ModeGeneric
	}
	return d
}

// foreign describes the program on d, which is not ours.
func (d device) foreign() *ForeignError {
	e := &ForeignError{Interface: d.name, ProgramID: uint32(d.program), Mode: d.mode}
	// Looking up by id needs CAP_SYS_ADMIN; the id alone has to do without.
	p, err := ebpf.NewProgramFromID(d.program)
	if err != nil {
		return e
	}
	defer p.Close()
	if info, err := p.Info(); err == nil {
		e.Name = info.Name
	}
	return e
}

func programID(p *ebpf.Program) (ebpf.ProgramID, error) {
	info, err := p.Info()
	if err != nil {
		return 0, err
	}
	id, ok := info.ID()
	if !ok {
		return 0, errors.New("the kernel gives the program no id")
	}
	return id, nil
}
