// Package journal logs the decisions of detectors.
package journal

import (
	"cmp"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/paraxial/paraxial/detect"
	"github.com/paraxial/paraxial/policy"
)

const (
	// linesPerSecond is the number of decisions a second that have a line each.
	linesPerSecond = 10
	// namedSources is the number of sources that a summary names.
	namedSources = 5
)

// Journal logs what detectors decide. Each decision has a line. After the first lines of a
// storm there is one summary a second, until a second has few decisions. Otherwise a flood
// of forged sources would bury other messages, and the rate limit of the log would drop them.
type Journal struct {
	log    *slog.Logger
	began  policy.Deadline // of the present second
	count  int             // decisions in it
	storm  bool            // the previous second had more than linesPerSecond
	summed map[decisionKind]int
	first  []netip.Prefix // some of the sources in summed
}

// New returns a journal that writes to log.
func New(log *slog.Logger) *Journal { return &Journal{log: log} }

// decisionKind is what a summary counts.
type decisionKind struct{ detector, what string }

// Turn ends the present second if it is over.
func (j *Journal) Turn(now policy.Deadline) {
	if now-j.began < policy.Deadline(time.Second) {
		return
	}
	j.Flush()
	j.storm = j.count > linesPerSecond
	j.began, j.count = now, 0
}

// Flush writes the summary, if there is one.
func (j *Journal) Flush() {
	if len(j.summed) == 0 {
		return
	}
	total := 0
	var kinds, sources []string
	for k, n := range j.summed {
		total += n
		kinds = append(kinds, fmt.Sprintf("%s: %d %s", k.detector, n, k.what))
	}
	slices.SortFunc(kinds, cmp.Compare[string])
	for _, p := range j.first {
		sources = append(sources, p.String())
	}
	j.log.Info("detectors: many decisions in a second; list and watch show each", "decisions", total,
		"counts", strings.Join(kinds, ", "), "some_sources", strings.Join(sources, " "))
	clear(j.summed)
	j.first = j.first[:0]
}

// Decision logs a decision that was carried out.
func (j *Journal) Decision(d detect.Decision) {
	what := d.Kind.String() + " " + string(d.Action)
	if d.Tripped {
		what += " (breaker)"
	}
	if j.sum(d.Detector, what, d.Prefix) {
		return
	}
	j.log.Info("detector "+d.Kind.String(), "detector", d.Detector, "source", d.Prefix, "action", string(d.Action),
		"for", policy.FormatTTL(d.For), "breaker", d.Tripped, "evidence", d.Evidence.String())
}

// Spared logs a source that was left alone.
func (j *Journal) Spared(s detect.Spared) {
	if j.sum(s.Detector, "left alone", s.Prefix) {
		return
	}
	j.log.Info("above a limit, and left alone", "detector", s.Detector, "source", s.Prefix, "because", s.Reason,
		"evidence", s.Evidence.String())
}

// sum adds a decision to the summary. It reports false if the decision has a line of its own.
func (j *Journal) sum(detector, what string, source netip.Prefix) bool {
	if j.count++; !j.storm && j.count <= linesPerSecond {
		return false
	}
	if j.summed == nil {
		j.summed = make(map[decisionKind]int)
	}
	j.summed[decisionKind{detector, what}]++
	if len(j.first) < namedSources {
		j.first = append(j.first, source)
	}
	return true
}
