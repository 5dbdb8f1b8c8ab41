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
	s.Warnings, s.GuardIncomplete = len(d.allWarnings()), d.guard.Problem() != ""
	return s
}
