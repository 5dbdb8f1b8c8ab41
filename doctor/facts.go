// Package doctor judges whether a host is fit for the packet filter. It is given
// facts, which doctor/probe gathers, and looks at nothing itself.
package doctor

// Facts are what is known of a host. What a caller may not see, or a kernel
// cannot say, is nil or empty, and named in Unseen if more rights would show it.
type Facts struct {
	Host       Host
	Daemon     Daemon
	Interfaces []Interface
	Unseen     []Unseen
	// Root are the capabilities of a caller that is root, nil of any other.
	Root *uint64
}

// Unseen is a fact that could not be had.
type Unseen struct {
	What  string
	Cause string
}

// Host is what all interfaces share.
type Host struct {
	Release         string // as uname -r
	CPUs            int    // that the kernel may bring up
	BTF             bool
	JIT             *int // net.core.bpf_jit_enable
	UnprivilegedBPF *int // kernel.unprivileged_bpf_disabled
	BPFFS           FileSystem
	StateDir        FileSystem
	ClockSynced     *bool
}

// FileSystem is what a path is on. Path is the nearest that exists.
type FileSystem struct {
	Asked, Path string
	BPF         bool
	ReadOnly    bool
	Free        uint64 // bytes that root may use
}

// Daemon is what paraxiald says of itself, and the kernel of it.
type Daemon struct {
	Reachable  bool
	Version    string
	Error      string // why it is not reachable
	Forbidden  bool   // it may run, but the caller may not ask it
	Interfaces []Filtered
	// Capabilities are those in effect, nil if they cannot be seen.
	Capabilities *uint64
	// Memlock is the limit on locked memory, nil if it cannot be seen.
	Memlock *uint64
}

// Filtered is an interface that the daemon is to filter.
type Filtered struct {
	Name      string
	Protected bool
	Mode      string
	ProgramID uint32
	Note      string
}

// Interface is what the kernel says of one interface.
type Interface struct {
	Name       string
	Kind       string // veth, vlan, bond, …; empty for hardware
	LinkLayer  string // what its frames begin with: ether, loopback, ppp, none, …
	Driver     string // empty if it has none
	MTU        int
	Up         bool // set up by the operator
	Carrier    bool
	Lower      string // what a VLAN or the like stands on
	Master     string // the bond, bridge or team that it is part of
	MasterKind string
	BondMode   string
	XDP        *XDP // nil: the kernel cannot say, before Linux 6.3
	Programs   []Program
	Pinned     uint32 // the program of our pinned link, 0 if there is none or it cannot be seen
	Channels   *Channels
	Offloads   map[string]Offload // by the kernel's name, as `ethtool -k` shows most of them
	Virtio     *Virtio            // nil unless it is a virtio device
}

// XDP is what a driver announces.
type XDP struct {
	Native bool
	Frags  bool
}

// Program is an XDP program on an interface.
type Program struct {
	ID   uint32
	Mode string // native, generic or hardware
	Name string // empty if it cannot be seen
}

// Channels are the queues of an interface, as ethtool -l shows them.
type Channels struct {
	RX, Combined       int
	MaxRX, MaxCombined int
}

// Receiving is the number of queues that receive.
func (c Channels) Receiving() int { return c.RX + c.Combined }

// Offload is a feature of an interface.
type Offload struct {
	On    bool
	Fixed bool // cannot be changed
}

// Virtio are the features that a hypervisor gave to an interface.
type Virtio struct {
	// GuestOffloads: the host hands over packets that are merged or whose
	// checksum is not filled in.
	GuestOffloads bool
	// Switchable: the guest may turn these off, as it does for XDP.
	Switchable bool
}

// filtered returns what the daemon says of an interface.
func (d Daemon) filtered(name string) (Filtered, bool) {
	for _, f := range d.Interfaces {
		if f.Name == name {
			return f, true
		}
	}
	return Filtered{}, false
}
