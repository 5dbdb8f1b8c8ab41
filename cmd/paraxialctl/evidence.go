package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/policy"
)

// evidence writes the rows that show why a detector or a rule made an entry.
func (p *program) evidence(w io.Writer, v control.Evidence) {
	if v.Rule != "" {
		row(w, "    rule", printable(v.Rule)+", told by "+printable(cmp.Or(v.Reporter, "an unknown reporter")))
		row(w, "    counted", fmt.Sprintf("%s points in %s; limit %d",
			count(v.Count), printable(v.Window), v.PointLimit))
	} else {
		row(w, "    detector", printable(v.Detector))
		row(w, "    measured", fmt.Sprintf("%s; limit %s over %s, reached with %s %s",
			printable(v.Rate), printable(v.Limit), printable(v.Window), count(v.Count), counted(v.Limit)))
	}
	row(w, "    seen", p.clock(v.First)+" to "+p.clock(v.Last))
	if len(v.Ports) > 0 {
		row(w, "    ports", portList(v.Ports)+", sampled")
	}
	if v.Sources > 0 {
		row(w, "    sources", count(uint64(v.Sources))+" offenders inside this prefix")
	}
	if v.Offence > 1 {
		row(w, "    offence", fmt.Sprintf("number %d on record", v.Offence))
	} else {
		row(w, "    offence", "the first on record")
	}
	for _, e := range v.Events {
		row(w, "    event", p.seen(e))
	}
}

// seen describes an event that a reporter has told. Its texts are a stranger's, so they are
// quoted.
func (p *program) seen(e control.Seen) string {
	var b strings.Builder
	b.WriteString(p.clock(e.Time))
	if e.Where != "" {
		b.WriteString(", " + printable(e.Where))
	}
	if e.Points != 1 {
		fmt.Fprintf(&b, ", %d points", e.Points)
	}
	for _, part := range [][2]string{{"user", e.User}, {"path", e.Path}, {"", e.Text}} {
		if part[1] != "" {
			b.WriteString(", " + strings.TrimLeft(part[0]+" ", " ") + quoted(part[1]))
		}
	}
	return b.String()
}

// counted returns the unit that a limit counts, such as packets.
func counted(limit string) string {
	if r, err := policy.ParseRate(limit); err == nil {
		return r.Unit.String()
	}
	return "counted" // the daemon is newer and has another unit
}

func quoted(s string) string { return `"` + strings.ReplaceAll(printable(s), `"`, `\"`) + `"` }
