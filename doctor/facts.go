// Package doctor judges whether a host is fit for the packet filter. Its input are
// facts from doctor/probe. It reads nothing from the host itself.
package doctor

// Facts are the facts about a host. A fact that the caller may not see, or that
// the kernel cannot tell, is nil or empty. Unseen names it if a caller with more
// rights would see it.
type Facts struct {
	Host       Host
	Daemon     Daemon
	Interfaces []Interface
	Unseen     []Unseen
	// Root are the capabilities of the caller if it is root, and nil otherwise.
	Root *uint64
}

// Unseen is a fact that could not be read.
type Unseen struct {
	What  string
	Cause string
}

// Host holds the facts that all interfaces share.
type Host struct {
	Release         string // as uname -r
	CPUs            int    // the number that the kernel may bring up
	BTF             bool
	JIT             *int // net.core.bpf_jit_enable
	UnprivilegedBPF *int // kernel.unprivileged_bpf_disabled
	BPFFS           FileSystem
	StateDir        FileSystem
	ClockSynced     *bool
	Tunnels         []Tunnel // that end on this host, and are up
}

// Tunnel is an interface that takes packets out of other packets.
type Tunnel struct {
	Name string
	Kind string // as ip -d link shows it: gre, vxlan, wireguard, …
}

// FileSystem describes the file system of the path Asked. Path is Asked, or its
// nearest parent that exists.
type FileSystem struct {
	Asked, Path string
	BPF         bool
	ReadOnly    bool
	Free        uint64 // bytes
	// Dirs are Path and the directories above it on a BPF file system.
	Dirs []Dir
}

// Dir is the owner and the mode of a directory.
type Dir struct {
	Path string
	UID  int
	Mode uint32 // permissions, as chmod takes them
}

// Daemon holds the facts that paraxiald and the kernel report about paraxiald.
type Daemon struct {
	Reachable  bool
	Version    string
	Error      string // why it is not reachable
	Forbidden  bool   // it may run, but the caller may not use its socket
	Interfaces []Filtered
	// LooksInto are the kinds of tunnels that the filter looks into, and UnseenTunnels the names of
	// those on this host that it does not look into.
	LooksInto     []string
	UnseenTunnels []string
	// Capabilities are those in effect, nil if they cannot be seen.
	Capabilities *uint64
	// Memlock is the limit on locked memory, nil if it cannot be seen.
	Memlock *uint64
}

// Filtered is an interface that the daemon is configured to filter.
type Filtered struct {
	Name      string
	Protected bool
	Mode      string
	ProgramID uint32
	Note      string
}

// Interface holds the facts that the kernel reports about one interface.
type Interface struct {
	Name       string
	Kind       string // veth, vlan, bond, …; empty for hardware
	LinkLayer  string // the header of its frames: ether, loopback, ppp, none, …
	Driver     string // empty: it has none
	MTU        int
	Up         bool // set up by the operator
	Carrier    bool
	Lower      string // the interface below a VLAN or the like
	Master     string // the bond, bridge or team that it is part of
	MasterKind string
	BondMode   string
	XDP        *XDP // nil: the kernel cannot tell, before Linux 6.3
	Programs   []Program
	Pinned     uint32 // the program of our pinned link; 0: none, or not visible
	Channels   *Channels
	Offloads   map[string]Offload // by the kernel's name, as `ethtool -k` shows most of them
	Virtio     *Virtio            // nil unless it is a virtio device
}

// XDP are the XDP features that a driver announces.
type XDP struct {
	Native bool
	Frags  bool
}

// Program is an XDP program on an interface.
type Program struct {
	ID   uint32
	Mode string // native, generic or hardware
	Name string // empty: not visible
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

// Virtio are the features that a hypervisor offers to an interface.
type Virtio struct {
	// GuestOffloads: the hypervisor delivers merged packets, or packets without a
	// checksum.
	GuestOffloads bool
	// Switchable: the guest can turn these offloads off, as it does for XDP.
	Switchable bool
}

// filtered returns the report of the daemon about an interface.
func (d Daemon) filtered(name string) (Filtered, bool) {
	for _, f := range d.Interfaces {
		if f.Name == name {
			return f, true
		}
	}
	return Filtered{}, false
}
