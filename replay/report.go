package replay

import (
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/paraxial/paraxial/detect"
	"github.com/paraxial/paraxial/policy"
)

// WriteTable writes the result as a table for people.
func (r *Result) WriteTable(w io.Writer) error {
	var b strings.Builder
	if len(r.Decisions) == 0 {
		b.WriteString("Nothing would have been decided.\n")
	} else {
		r.writeDecisions(&b)
	}
	for _, s := range r.Spared {
		fmt.Fprintf(&b, "left alone: %s, by %s, because %s: %s\n", s.Prefix, s.Detector, s.Reason, s.Evidence)
	}
	fmt.Fprintln(&b)
	r.Summary.write(&b)
	_, err := io.WriteString(w, b.String())
	return err
}

func (r *Result) writeDecisions(b *strings.Builder) {
	table := tabwriter.NewWriter(b, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "TIME\tDECISION\tSOURCE\tDETECTOR\tFOR\tEVIDENCE")
	for _, d := range r.Decisions {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n",
			formatTime(d.Time), d.word(), d.Prefix, d.Detector, policy.FormatTTL(d.For), d.Evidence)
	}
	table.Flush() // to memory, which cannot fail
}

// word returns the decision in words.
func (d Decision) word() string {
	word := string(d.Action)
	if d.Tripped {
		word += " (breaker)"
	}
	switch d.Kind {
	case detect.Extended:
		return word + ", extended"
	case detect.Lifted:
		return word + " lifted: too many"
	}
	return word
}

func (s *Summary) write(b *strings.Builder) {
	if s.Packets == 0 {
		b.WriteString("The capture has no packets.\n")
		return
	}
	fmt.Fprintf(b, "%d packets in %s, from %s: %d looked at, %d dropped\n",
		s.Packets, s.Last.Sub(s.First).Round(time.Millisecond), formatTime(s.First), s.Counted, s.Dropped)
	for _, n := range []struct {
		count uint64
		what  string
	}{
		{s.NotIP, "neither IPv4 nor IPv6"},
		{s.Malformed, "malformed"},
		{s.CutShort, "not counted: too few bytes were captured (tcpdump -s 96 is enough)"},
		{s.Outgoing, "outgoing"},
		{s.UnknownLink, "of an unknown link type"},
		{s.TooMany, fmt.Sprintf("not counted: more than %d sources at the same time", maxSources)},
	} {
		if n.count > 0 {
			fmt.Fprintf(b, "%d %s\n", n.count, n.what)
		}
	}
}

func formatTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// jsonResult is the JSON form of a result. The field names are a contract.
type jsonResult struct {
	Packets     uint64         `json:"packets"`
	Counted     uint64         `json:"counted"`
	Dropped     uint64         `json:"dropped"`
	NotIP       uint64         `json:"not_ip"`
	Malformed   uint64         `json:"malformed"`
	CutShort    uint64         `json:"cut_short"`
	Outgoing    uint64         `json:"outgoing"`
	UnknownLink uint64         `json:"unknown_link"`
	TooMany     uint64         `json:"too_many"`
	First       time.Time      `json:"first"`
	Last        time.Time      `json:"last"`
	Decisions   []jsonDecision `json:"decisions"`
	Spared      []jsonSpared   `json:"spared"`
}

type jsonDecision struct {
	Time     time.Time    `json:"time"`
	Kind     string       `json:"kind"`
	Action   string       `json:"action"`
	Tripped  bool         `json:"tripped"`
	Prefix   netip.Prefix `json:"prefix"`
	Detector string       `json:"detector"`
	For      string       `json:"for"`
	Expires  time.Time    `json:"expires"`
	Evidence jsonEvidence `json:"evidence"`
}

type jsonSpared struct {
	Time     time.Time    `json:"time"`
	Prefix   netip.Prefix `json:"prefix"`
	Detector string       `json:"detector"`
	Reason   string       `json:"reason"`
	Evidence jsonEvidence `json:"evidence"`
}

type jsonEvidence struct {
	Unit    string    `json:"unit"`
	Rate    uint64    `json:"rate"`
	Limit   uint64    `json:"limit"`
	Window  string    `json:"window"`
	Count   uint64    `json:"count"`
	First   time.Time `json:"first"`
	Last    time.Time `json:"last"`
	Ports   []uint16  `json:"ports"`
	Offence int       `json:"offence"`
	Sources int       `json:"sources"`
}

// WriteJSON writes the result as one JSON object.
func (r *Result) WriteJSON(w io.Writer) error {
	s := r.Summary
	out := jsonResult{
		Packets: s.Packets, Counted: s.Counted, Dropped: s.Dropped, NotIP: s.NotIP, Malformed: s.Malformed,
		CutShort: s.CutShort, Outgoing: s.Outgoing, UnknownLink: s.UnknownLink, TooMany: s.TooMany,
		First: s.First.UTC(), Last: s.Last.UTC(),
		Decisions: []jsonDecision{}, Spared: []jsonSpared{},
	}
	for _, d := range r.Decisions {
		out.Decisions = append(out.Decisions, jsonDecision{
			d.Time, d.Kind.String(), string(d.Action), d.Tripped, d.Prefix, d.Detector,
			policy.FormatTTL(d.For), r.When(d.Until), r.evidence(d.Evidence),
		})
	}
	for _, s := range r.Spared {
		out.Spared = append(out.Spared, jsonSpared{s.Time, s.Prefix, s.Detector, s.Reason, r.evidence(s.Evidence)})
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(out)
}

func (r *Result) evidence(e detect.Evidence) jsonEvidence {
	ports := e.Ports
	if ports == nil {
		ports = []uint16{}
	}
	return jsonEvidence{
		e.Limit.Unit.String(), e.Rate.PerSecond, e.Limit.PerSecond, policy.FormatTTL(e.Window), e.Count,
		r.When(e.First), r.When(e.Last), ports, e.Offence, e.Sources,
	}
}
