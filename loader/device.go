package loader

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
)

// Mode is the place in the receive path where the program runs.
type Mode string

// The modes.
const (
	ModeAuto    Mode = "auto"    // native, or generic if the driver has none
	ModeNative  Mode = "native"  // in the driver, before a socket buffer exists
	ModeGeneric Mode = "generic" // after the driver and after GRO
)

// Modes as IFLA_XDP_ATTACHED reports them. The flags that request a mode have other values.
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

// device is the state of an interface, as the kernel reports it.
type device struct {
	name    string
	index   int
	mtu     int
	mode    Mode           // empty if no program runs, or in a mode that we never use
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

// hasEthernet returns an error for an interface whose frames begin with an IP header or
// with that of another link layer. XDP can be attached there, but the program reads Ethernet
// headers: it would pass all packets, and the interface would count as protected.
func hasEthernet(attrs *netlink.LinkAttrs) error {
	switch attrs.EncapType {
	case "ether", "loopback":
		return nil
	}
	return fmt.Errorf("its frames have no Ethernet header (link type %s): filter on the interface by which they "+
		"arrive; there PPPoE is looked into, other tunnels if the configuration has them under tunnels, and of the "+
		"rest only the far end can be blocked", attrs.EncapType)
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

// foreign returns an error that describes the program on d, which is not ours.
func (d device) foreign() *ForeignError {
	e := &ForeignError{Interface: d.name, ProgramID: uint32(d.program), Mode: d.mode}
	// A look-up by id needs CAP_SYS_ADMIN. Without it the error has the id only.
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
		return 0, errors.New("the kernel does not tell the id of the program")
	}
	return id, nil
}
