package metrics

import "github.com/prometheus/client_golang/prometheus"

// Log is a log that an agent reads. Its counters begin anew with the agent.
type Log struct {
	Name                                          string
	Up                                            bool    // it is read
	Lag                                           float64 // seconds since all lines were read and handed in
	Lines, Matched, Ambiguous, NoAddress, Refused int
	LostBytes                                     int64
	Gaps                                          int
}

type logDescs struct {
	up, lag, lines, matched, ambiguous, noAddress, refused, lostBytes, gaps *prometheus.Desc
}

func newLogDescs() logDescs {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("paraxial_log_"+name, help, []string{"log"}, nil)
	}
	return logDescs{
		up:        desc("up", "1 if a log is read, otherwise 0."),
		lag:       desc("lag_seconds", "Time since all lines of a log were read and handed in, 0 if they are."),
		lines:     desc("lines_total", "Lines of a log since its agent was started."),
		matched:   desc("matched_total", "Lines that count for a rule."),
		ambiguous: desc("ambiguous_total", "Lines that could be held against two addresses, and count for nobody."),
		noAddress: desc("no_address_total", "Lines without an address that can be held responsible."),
		refused:   desc("refused_total", "Events that the daemon has not counted."),
		lostBytes: desc("lost_bytes_total", "Bytes that were gone before they were read, as far as is known."),
		gaps:      desc("gaps_total", "How often lines may have been lost."),
	}
}

func (d logDescs) all() []*prometheus.Desc {
	return []*prometheus.Desc{d.up, d.lag, d.lines, d.matched, d.ambiguous, d.noAddress, d.refused, d.lostBytes, d.gaps}
}

func (d logDescs) collect(ch chan<- prometheus.Metric, s Snapshot) {
	for _, l := range s.Logs {
		name := label(l.Name)
		ch <- gauge(d.up, truth(l.Up), name)
		ch <- gauge(d.lag, l.Lag, name)
		for desc, n := range map[*prometheus.Desc]int{
			d.lines: l.Lines, d.matched: l.Matched, d.ambiguous: l.Ambiguous, d.noAddress: l.NoAddress,
			d.refused: l.Refused, d.gaps: l.Gaps, d.lostBytes: int(l.LostBytes),
		} {
			ch <- counter(desc, uint64(max(n, 0)), name)
		}
	}
}
