package detect

import "github.com/paraxial/paraxial/ladder"

// DetectorStats counts the decisions of a detector.
type DetectorStats struct {
	Detector string
	Blocked  uint64 // decisions to block
	Limited  uint64
	Shadowed uint64 // includes those that the breaker turned into shadow entries
	Extended uint64
	Lifted   uint64
	Spared   uint64
	NoRoom   uint64 // sources for which there was no room; see makeRoom
	Entries  int    // live entries
}

func (s *DetectorStats) note(e *entry) {
	switch e.action {
	case Block:
		s.Blocked++
	case Limit:
		s.Limited++
	case Shadow:
		s.Shadowed++
	}
}

// Stats is the state of an analyzer.
type Stats struct {
	Detectors []DetectorStats // in the order of the configuration
	Tracked   int             // sources with counters in the last tick
	Entries   int             // live entries
	Offenders int             // remembered offenders
	Breaker   ladder.Breaker
}

// Stats returns the state of a.
func (a *Analyzer) Stats() Stats {
	s := Stats{
		Entries:   len(a.entries.byKey),
		Offenders: a.options.Ladder.Remembered(),
		Breaker:   a.options.Ladder.Breaker(),
	}
	for n, d := range a.detectors {
		stats := a.stats[n]
		stats.Detector = d.Name
		s.Detectors = append(s.Detectors, stats)
	}
	for k := range a.entries.byKey {
		s.Detectors[k.detector].Entries++
	}
	for n := range a.slots {
		if a.slots[n].tick == a.now && a.slots[n].source.IsValid() {
			s.Tracked++
		}
	}
	return s
}
