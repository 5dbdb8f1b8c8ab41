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
	netdevFamily     = "netdev"
	netdevVersion    = 1
	netdevDevGet     = 1
	netdevIfindex    = 1
	netdevFeatures   = 3
	xdpBasic         = 1 << 0
	xdpRXScatterPath = 1 << 5
)

// announced returns what drivers say that they can, by index of the interface;
// nil if the kernel does not know such announcements.
func (g *gatherer) announced() map[int]doctor.XDP {
	family, err := netlink.GenlFamilyGet(netdevFamily)
	if err != nil {
		if !errors.Is(err, unix.ENOENT) {
			g.unseen("what XDP the drivers announce", err)
		}
		return nil
	}
	req := nl.NewNetlinkRequest(int(family.ID), unix.NLM_F_DUMP)
	req.AddData(&nl.Genlmsg{Command: netdevDevGet, Version: netdevVersion})
	msgs, err := req.Execute(unix.NETLINK_GENERIC, 0)
	if err != nil {
		g.unseen("what XDP the drivers announce", err)
		return nil
	}
	all := make(map[int]doctor.XDP, len(msgs))
	for _, m := range msgs {
		if index, x, ok := parseAnnounced(m); ok {
			all[index] = x
		}
	}
	return all
}

func parseAnnounced(m []byte) (index int, x doctor.XDP, ok bool) {
	if len(m) < nl.SizeofGenlmsg {
		return 0, x, false
	}
	attrs, err := nl.ParseRouteAttr(m[nl.SizeofGenlmsg:])
	if err != nil {
		return 0, x, false
	}
	for _, a := range attrs {
		switch {
		case a.Attr.Type == netdevIfindex && len(a.Value) >= 4:
			index, ok = int(binary.NativeEndian.Uint32(a.Value)), true
		case a.Attr.Type == netdevFeatures && len(a.Value) >= 8:
			bits := binary.NativeEndian.Uint64(a.Value)
			x = doctor.XDP{Native: bits&xdpBasic != 0, Frags: bits&xdpRXScatterPath != 0}
		}
	}
	return index, x, ok
}
