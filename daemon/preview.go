package daemon

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/gaissmai/bart"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/loader/hostinfo"
	"github.com/paraxial/paraxial/policy"
)

// Bounds of a preview, which people read.
const (
	mostPreviewed = 1000 // entries
	mostServices  = 20
	mostProcesses = 5 // of one service
)

// Preview implements control.Backend. It reports what Block would do, and changes
// nothing.
func (d *Daemon) Preview(ctx context.Context, c control.Caller, r control.Block) (control.PreviewResult, error) {
	result := control.PreviewResult{Notes: r.Notes}
	refusals, sessions, err := d.guard.Check(ctx, guardCaller(c), r.Prefixes, r.Action)
	if err != nil {
		result.Refusals = append(result.Refusals, control.Refusal{Message: err.Error()})
	}
	for _, refusal := range refusals {
		result.Refusals = append(result.Refusals, control.Refusal{
			Prefix: refusal.Prefix.String(), Message: refusal.Error(),
		})
	}
	result.WouldApply = r.Force || len(result.Refusals) == 0
	spared := make(map[netip.Addr]bool)
	if !r.Force {
		spared = sparedBy(sessions)
	}
	for _, a := range slices.SortedFunc(maps.Keys(spared), netip.Addr.Compare) {
		result.Notes = append(result.Notes, fmt.Sprintf(
			"%s would be spared: a session to this host is open from there", a))
	}
	if err := ctx.Err(); err != nil {
		return result, fmt.Errorf("preview: %w", err)
	}
	if result.Connections, err = d.connections(r.Prefixes, spared); err != nil {
		result.Notes = append(result.Notes, fmt.Sprintf("the connections of this host are not known: %v", err))
	}
	if hostinfo.Forwards() {
		result.Notes = append(result.Notes, "this host forwards packets: connections of containers, "+
			"and of others that are routed through it, are cut too, and are not counted here")
	}
	result.Connections.Unknown = unseen()
	result.Kept = d.wouldKeep(ctx, r)
	result.Allowed, _ = d.allowed(ctx, r.Prefixes)
	result.Entries, result.EntriesMore = d.overlapping(ctx, r.Prefixes)
	if err := ctx.Err(); err != nil {
		return result, fmt.Errorf("preview: %w", err)
	}
	result.Traffic = d.traffic(r.Prefixes)
	return result, nil
}

// wouldKeep returns the entries that the block would not replace.
func (d *Daemon) wouldKeep(ctx context.Context, r control.Block) []control.Entry {
	if r.Replace {
		return nil
	}
	var kept []policy.Entry
	now := d.engine.Now()
	deadline := policy.After(now, r.For)
	d.readEach(ctx, r.Prefixes, func(b *policy.Book, p netip.Prefix) bool {
		e := policy.Entry{
			Prefix: p, Kind: policy.Block, Action: r.Action, Rate: r.Rate, Origin: r.Origin, Deadline: deadline,
		}
		if old, known := b.Get(e.Key()); known && old.Live(now) {
			if _, stays := policy.Renew(old, e); stays {
				kept = append(kept, old)
			}
		}
		return true
	})
	return d.wire.Entries(kept)
}

// unseen returns the traffic of this host that Connections does not return.
func unseen() []control.PreviewUnknown {
	list := []control.PreviewUnknown{{What: "ICMP, tunnels, and other protocols than TCP and UDP"}}
	udp := control.PreviewUnknown{What: "peers of UDP sockets that are not connected to one, such as those of servers"}
	if n, err := hostinfo.UnconnectedUDP(); err == nil {
		udp.Count = &n
	}
	if udp.Count == nil || *udp.Count > 0 {
		list = append(list, udp)
	}
	if hostinfo.Forwards() {
		list = append(list, control.PreviewUnknown{
			What: "connections of containers, and of others that are routed through this host",
		})
	}
	return list
}

// sparedBy returns the addresses of the sessions inside prefixes.
func sparedBy(sessions map[netip.Prefix][]netip.Addr) map[netip.Addr]bool {
	spared := make(map[netip.Addr]bool)
	for _, inside := range sessions {
		for _, a := range inside {
			spared[a] = true
		}
	}
	return spared
}

// overlapping returns the live entries of both kinds that cover one of the
// prefixes or are inside. It returns some of them if ctx ends.
func (d *Daemon) overlapping(ctx context.Context, prefixes []netip.Prefix) (found []control.Entry, more bool) {
	var entries []policy.Entry
	seen := make(map[policy.Key]bool)
	now := d.engine.Now()
	for _, kind := range []policy.Kind{policy.Allow, policy.Block} {
		d.readEach(ctx, prefixes, func(b *policy.Book, p netip.Prefix) bool {
			for e := range b.Overlapping(kind, p) {
				if !e.Live(now) || seen[e.Key()] {
					continue
				}
				if len(entries) == mostPreviewed {
					more = true
					return false
				}
				seen[e.Key()] = true
				entries = append(entries, e)
			}
			return true
		})
	}
	return d.wire.Entries(entries), more
}

// traffic returns the tracked sources that overlap one of the prefixes.
func (d *Daemon) traffic(prefixes []netip.Prefix) control.PreviewTraffic {
	top, enabled := d.detection.sources(d.engine.Clock, within(prefixes))
	now := d.engine.Now()
	d.engine.Read(func(b *policy.Book) {
		for i := range top.Sources {
			top.Sources[i].Verdict = sourceVerdict(b, top.Sources[i].Source, now)
		}
	})
	return control.PreviewTraffic{Enabled: enabled, Sources: top.Sources}
}

// within returns a function that reports whether a source overlaps one of the prefixes.
// It looks up a table, because there may be tens of thousands of sources and of prefixes,
// and detection waits meanwhile.
func within(prefixes []netip.Prefix) func(source netip.Prefix) bool {
	set := new(bart.Lite)
	for _, p := range prefixes {
		set.Insert(p)
	}
	return set.OverlapsPrefix
}

// connections counts the connections that a block of the prefixes would cut, without those
// from spared addresses.
func (d *Daemon) connections(
	prefixes []netip.Prefix, spared map[netip.Addr]bool,
) (control.PreviewConnection, error) {
	inside := within(prefixes)
	list, err := hostinfo.Connections(func(peer netip.Addr) bool {
		return inside(netip.PrefixFrom(peer, peer.BitLen()))
	})
	if err != nil {
		return control.PreviewConnection{}, err
	}
	all := len(list)
	now := d.engine.Now()
	d.engine.Read(func(b *policy.Book) {
		list = slices.DeleteFunc(list, func(c hostinfo.Connection) bool {
			return spared[c.Peer] || b.Allowed(c.Peer, now)
		})
	})
	result := control.PreviewConnection{Known: true, Count: len(list), Spared: all - len(list)}
	peers := make(map[netip.Addr]bool)
	for _, c := range list {
		peers[c.Peer] = true
	}
	result.Peers, result.Services = len(peers), services(list)
	return result, nil
}

// services groups connections by port, and sorts them by number of connections, the
// largest first.
func services(list []hostinfo.Connection) []control.PreviewService {
	type key struct {
		protocol string
		inbound  bool
		port     uint16
	}
	at := make(map[key]int)
	var all []control.PreviewService
	for i, owners := range hostinfo.Owners(list) {
		k := key{list[i].Protocol, list[i].Inbound, list[i].Port}
		n, ok := at[k]
		if !ok {
			n = len(all)
			at[k] = n
			all = append(all, control.PreviewService{
				Protocol: k.protocol, Direction: direction(k.inbound), Port: k.port,
			})
		}
		all[n].Count++
		for _, name := range owners {
			if len(all[n].Processes) < mostProcesses && !slices.Contains(all[n].Processes, name) {
				all[n].Processes = append(all[n].Processes, name)
			}
		}
	}
	slices.SortFunc(all, func(x, y control.PreviewService) int {
		return cmp.Or(
			cmp.Compare(y.Count, x.Count), cmp.Compare(x.Direction, y.Direction),
			cmp.Compare(x.Port, y.Port), cmp.Compare(x.Protocol, y.Protocol),
		)
	})
	return all[:min(len(all), mostServices)]
}

func direction(inbound bool) string {
	if inbound {
		return "in"
	}
	return "out"
}
