package probe

import (
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"

	"github.com/paraxial/paraxial/doctor"
)

func isUp(l netlink.Link) bool       { return l.Attrs().Flags&net.FlagUp != 0 }
func isLoopback(l netlink.Link) bool { return l.Attrs().Flags&net.FlagLoopback != 0 }

// nic gathers the facts about one interface.
func (g *gatherer) nic(l netlink.Link) doctor.Interface {
	attrs := l.Attrs()
	i := doctor.Interface{
		Name: attrs.Name, Kind: kind(l), LinkLayer: attrs.EncapType, MTU: attrs.MTU,
		Up: isUp(l), Carrier: attrs.RawFlags&flagLowerUp != 0,
		BondMode: bondMode(l), XDP: g.announced(attrs.Index), Programs: g.programs(attrs.Xdp),
		Virtio: virtio(attrs.Name),
	}
	if lower := g.names[attrs.ParentIndex]; lower != nil && isStacked(i.Kind) {
		i.Lower = lower.Attrs().Name
	}
	if master := g.names[attrs.MasterIndex]; master != nil {
		i.Master, i.MasterKind = master.Attrs().Name, kind(master)
	}
	g.ethtool(&i)
	if len(i.Programs) > 0 {
		var err error
		i.Pinned, err = pinnedProgram(filepath.Join(g.options.BPFFS, "links", pinName(attrs.Name)))
		g.unseen("whether an XDP program is Paraxial's own", err)
	}
	return i
}

// flagLowerUp is IFF_LOWER_UP: the driver has a carrier.
const flagLowerUp = 1 << 16

// kind returns the kind of a virtual interface, and "" for hardware.
func kind(l netlink.Link) string {
	if t := l.Type(); t != "device" {
		return t
	}
	return ""
}

// isStacked reports whether the parent of an interface of this kind carries its
// frames. The parent of a veth is its peer, which does not.
func isStacked(kind string) bool {
	switch kind {
	case "vlan", "macvlan", "macvtap", "ipvlan":
		return true
	}
	return false
}

func bondMode(l netlink.Link) string {
	if b, ok := l.(*netlink.Bond); ok {
		return b.Mode.String()
	}
	return ""
}

// The modes by their number in IFLA_XDP_ATTACHED.
var modes = map[uint32]string{1: "native", 2: "generic", 3: "hardware"}

// programs returns the attached programs. If there are several, in several modes,
// netlink reports only that fact.
func (g *gatherer) programs(x *netlink.LinkXdp) []doctor.Program {
	if x == nil || !x.Attached {
		return nil
	}
	mode, ok := modes[x.AttachMode]
	if !ok {
		mode = "several modes"
	}
	name, err := programName(x.ProgId)
	g.unseen("the names of XDP programs", err)
	return []doctor.Program{{ID: x.ProgId, Mode: mode, Name: name}}
}

// The feature bits of virtio_net.
const (
	guestCsum     = 1
	guestOffloads = 2 // VIRTIO_NET_F_CTRL_GUEST_OFFLOADS
)

// guestMerging are the guest offloads that exclude XDP: the checksum, TSO4, TSO6,
// ECN, UFO, USO4 and USO6.
var guestMerging = []int{guestCsum, 7, 8, 9, 10, 54, 55}

// virtio reads the features of a virtio interface. It returns nil for others.
func virtio(iface string) *doctor.Virtio {
	device := filepath.Join("/sys/class/net", iface, "device")
	target, err := filepath.EvalSymlinks(device)
	if err != nil || !strings.HasPrefix(filepath.Base(target), "virtio") {
		return nil
	}
	bits, err := os.ReadFile(filepath.Join(device, "features"))
	if err != nil {
		return nil
	}
	return parseVirtio(strings.TrimSpace(string(bits)))
}

// parseVirtio reads one digit for each feature, the lowest first.
func parseVirtio(bits string) *doctor.Virtio {
	has := func(bit int) bool { return bit < len(bits) && bits[bit] == '1' }
	v := &doctor.Virtio{Switchable: has(guestOffloads)}
	for _, bit := range guestMerging {
		v.GuestOffloads = v.GuestOffloads || has(bit)
	}
	return v
}
