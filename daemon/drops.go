package daemon

import (
	"context"
	"strconv"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/loader"
)

// grantEvents lets the program report drops for the next second, if there are
// watchers.
func (d *Daemon) grantEvents() {
	var credit int64
	if d.broadcast.Watched() {
		credit = int64(d.settings().Events.DropsPerSecond)
	}
	d.loader.SetEventCredit(credit)
}

// relayDrops sends the drops that the program reports to watchers.
func (d *Daemon) relayDrops(ctx context.Context) error {
	return d.loader.Events(ctx, func(e loader.DropEvent) {
		kind := control.EventDrop
		if e.Reason.Verdict() != "drop" {
			kind = control.EventShadow
		}
		d.broadcast.Send(control.Event{
			Time: d.engine.Moment(e.Boot), Type: kind,
			Packet: &control.Packet{
				Interface: d.nics.nameOf(e.Slot), Source: e.Source.String(), Protocol: protocolName(e.Protocol),
				SourcePort: e.SourcePort, DestinationPort: e.DestPort, Length: e.Length, Reason: e.Reason.String(),
			},
		})
	})
}

// protocolName returns the name of an IP protocol, or its number.
func protocolName(p uint8) string {
	names := map[uint8]string{
		1: "icmp", 4: "ipip", 6: "tcp", 17: "udp", 33: "dccp", 41: "ipv6", 47: "gre",
		50: "esp", 51: "ah", 58: "icmpv6", 132: "sctp", 136: "udplite",
	}
	if name, ok := names[p]; ok {
		return name
	}
	return strconv.Itoa(int(p))
}
