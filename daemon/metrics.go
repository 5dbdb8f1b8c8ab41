package daemon

import (
	"github.com/paraxial/paraxial/metrics"
	"github.com/paraxial/paraxial/policy"
)

// Snapshot implements metrics.Source. It walks no entries, because the book keeps totals.
func (d *Daemon) Snapshot() metrics.Snapshot {
	var s metrics.Snapshot
	counters, err := d.loader.Counters()
	if err != nil {
		d.log.Error("packet counters cannot be read", "error", err)
	}
	for _, n := range d.nics.list() {
		status := n.status()
		i := metrics.Interface{Name: n.name, Mode: status.Mode, Protected: status.Protected}
		for reason, c := range counters[n.slot] {
			i.Counters = append(i.Counters, metrics.Counter{
				Verdict: reason.Verdict(), Reason: reason.String(), Packets: c.Packets, Bytes: c.Bytes,
			})
		}
		s.Interfaces = append(s.Interfaces, i)
	}
	d.engine.Read(func(b *policy.Book) {
		for g, n := range b.Counts() {
			s.Entries = append(s.Entries, metrics.Entries{
				Kind: g.Kind.String(), Family: g.Family.String(), Origin: g.Origin, Count: n,
			})
		}
	})
	s.Maps = d.maps()
	s.Detection = d.detection.snapshot()
	s.Warnings, s.GuardIncomplete = len(d.allWarnings()), d.guardProblem() != ""
	s.SaveFailures, s.SaveFailing = d.saves.failed.Load(), d.saves.String() != "" || d.disk.String() != ""
	wide := d.wideAllows()
	s.Allowed = map[string]float64{
		policy.IPv4.String(): policy.ShareOf(policy.IPv4, wide), policy.IPv6.String(): policy.ShareOf(policy.IPv6, wide),
	}
	return s
}

// maps returns the fill of the maps that hold entries.
func (d *Daemon) maps() []metrics.Map {
	var maps []metrics.Map
	capacity := d.loader.Capacity()
	d.engine.Read(func(b *policy.Book) {
		for _, kind := range []policy.Kind{policy.Block, policy.Allow} {
			for _, family := range []policy.Family{policy.IPv4, policy.IPv6} {
				trie := kind.String() + map[policy.Family]string{policy.IPv4: "_v4", policy.IPv6: "_v6"}[family]
				size := b.Size(kind, family)
				maps = append(maps, metrics.Map{Name: trie, Entries: size, Capacity: capacity[trie]})
			}
		}
		maps = append(maps, metrics.Map{Name: "limits", Entries: b.Limits(), Capacity: capacity["limits"]})
	})
	return maps
}
