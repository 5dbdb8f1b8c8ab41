// Package journal logs the decisions of detectors and rules.
package journal

import (
	"cmp"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/paraxial/paraxial/ladder"
	"github.com/paraxial/paraxial/policy"
)

const (
	// linesPerSecond is the number of decisions a second that have a line each.
	linesPerSecond = 10
	// namedSources is the number of sources that a summary names.
	namedSources = 5
)

// Journal logs what detectors, or rules, decide. Each decision has a line. After the first lines of a
// storm there is one summary a second, until a second has few decisions. Otherwise a flood
// of forged sources would bury other messages, and the rate limit of the log would drop them.
type Journal struct {
	log    *slog.Logger
	by     string          // detector or rule
	began  policy.Deadline // of the present second
	count  int             // decisions in it
	storm  bool            // the previous second had more than linesPerSecond
	summed map[decisionKind]int
	first  []netip.Prefix // some of the sources in summed
}

// New returns a journal of detectors or rules, as by says in the singular, that writes to log.
func New(log *slog.Logger, by string) *Journal { return &Journal{log: log, by: by} }

// decisionKind is what a summary counts.
type decisionKind struct{ name, what string }

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
		kinds = append(kinds, fmt.Sprintf("%s: %d %s", k.name, n, k.what))
	}
	slices.SortFunc(kinds, cmp.Compare[string])
	for _, p := range j.first {
		sources = append(sources, p.String())
	}
	j.log.Info(j.by+"s: many decisions in a second; list and watch show each", "decisions", total,
		"counts", strings.Join(kinds, ", "), "some_sources", strings.Join(sources, " "))
	clear(j.summed)
	j.first = j.first[:0]
}

// Decision is what a detector or a rule has decided about a source.
type Decision struct {
	Name     string // of the detector or rule
	Kind     ladder.Kind
	Source   netip.Prefix
	Action   string
	For      time.Duration
	Tripped  bool   // by the circuit breaker
	Evidence string // for people
}

// Decision logs a decision that was carried out.
func (j *Journal) Decision(d Decision) {
	what := d.Kind.String() + " " + d.Action
	if d.Tripped {
		what += " (breaker)"
	}
	if j.sum(d.Name, what, d.Source) {
		return
	}
	j.log.Info(j.by+" "+d.Kind.String(), j.by, d.Name, "source", d.Source, "action", d.Action,
		"for", policy.FormatTTL(d.For), "breaker", d.Tripped, "evidence", d.Evidence)
}

// Spared logs a source that was left alone.
func (j *Journal) Spared(name string, source netip.Prefix, because, evidence string) {
	if j.sum(name, "left alone", source) {
		return
	}
	j.log.Info("above a limit, and left alone", j.by, name, "source", source, "because", because,
		"evidence", evidence)
}

// sum adds a decision to the summary. It reports false if the decision has a line of its own.
func (j *Journal) sum(name, what string, source netip.Prefix) bool {
	if j.count++; !j.storm && j.count <= linesPerSecond {
		return false
	}
	if j.summed == nil {
		j.summed = make(map[decisionKind]int)
	}
	j.summed[decisionKind{name, what}]++
	if len(j.first) < namedSources {
		j.first = append(j.first, source)
	}
	return true
}
