package main

import (
	"fmt"
	"io"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/policy"
)

// evidence writes the rows that show why a detector made an entry.
func (p *program) evidence(w io.Writer, v control.Evidence) {
	row(w, "    detector", printable(v.Detector))
	row(w, "    measured", fmt.Sprintf("%s; limit %s over %s, reached with %s %s",
		printable(v.Rate), printable(v.Limit), printable(v.Window), count(v.Count), counted(v.Limit)))
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
}

// counted returns the unit that a limit counts, such as packets.
func counted(limit string) string {
	if r, err := policy.ParseRate(limit); err == nil {
		return r.Unit.String()
	}
	return "counted" // the daemon is newer and has another unit
}
