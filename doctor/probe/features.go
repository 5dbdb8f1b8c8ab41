package probe

import (
	"encoding/binary"
	"errors"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/paraxial/paraxial/doctor"
)

// The netdev family of generic netlink, since Linux 6.3: include/uapi/linux/netdev.h.
const (
	netdevFamily   = "netdev"
	netdevVersion  = 1
	netdevDevGet   = 1
	netdevIfindex  = 1
	netdevFeatures = 3
	xdpBasic       = 1 << 0
	xdpScatter     = 1 << 5 // NETDEV_XDP_ACT_RX_SG: multi-buffer frames
)

// genericHeader is struct genlmsghdr. The type of package netlink does not clear
// the reserved half, and newer families refuse a value other than 0 there.
type genericHeader struct{ command, version byte }

func (genericHeader) Len() int            { return nl.SizeofGenlmsg }
func (h genericHeader) Serialize() []byte { return []byte{h.command, h.version, 0, 0} }

// announced returns the XDP features that the driver of an interface announces, or
// nil if the kernel has no such announcements.
func (g *gatherer) announced(index int) *doctor.XDP {
	family, err := netlink.GenlFamilyGet(netdevFamily)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	var msgs [][]byte
	if err == nil {
		req := nl.NewNetlinkRequest(int(family.ID), 0)
		req.AddData(genericHeader{netdevDevGet, netdevVersion})
		req.AddData(nl.NewRtAttr(netdevIfindex, nl.Uint32Attr(uint32(index))))
		msgs, err = req.Execute(unix.NETLINK_GENERIC, 0)
	}
	if err != nil {
		g.unseen("what XDP the drivers announce", err)
		return nil
	}
	for _, m := range msgs {
		if x, ok := parseAnnounced(m); ok {
			return &x
		}
	}
	return nil
}

func parseAnnounced(m []byte) (x doctor.XDP, ok bool) {
	if len(m) < nl.SizeofGenlmsg {
		return x, false
	}
	attrs, err := nl.ParseRouteAttr(m[nl.SizeofGenlmsg:])
	if err != nil {
		return x, false
	}
	for _, a := range attrs {
		if a.Attr.Type == netdevFeatures && len(a.Value) >= 8 {
			bits := binary.NativeEndian.Uint64(a.Value)
			return doctor.XDP{Native: bits&xdpBasic != 0, Frags: bits&xdpScatter != 0}, true
		}
	}
	return x, false
}
