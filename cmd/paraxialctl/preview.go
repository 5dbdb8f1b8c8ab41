package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/policy"
)

// preview prints what a block would do. It fails if the block would be refused.
func (p *program) preview(c *cli.Context, req control.BlockRequest) error {
	r, err := p.client.Preview(c.Context, req)
	if err != nil {
		return err
	}
	if p.json() {
		err = p.printJSON(r)
	} else {
		err = p.printPreview(req, r)
	}
	if err == nil && !r.WouldApply {
		err = errReported
	}
	return err
}

func (p *program) printPreview(req control.BlockRequest, r control.PreviewResult) error {
	p.notes(r.Notes)
	p.printf("Nothing was changed. %s\n", headline(req, r))
	p.keptEntries(r.Kept, "Would stay as it is", blockVerb)
	heading := "REFUSED by the guard:"
	if r.WouldApply {
		heading = "The guard objects, and --force overrides it:"
	}
	if len(r.Refusals) > 0 {
		p.printf("%s\n", heading)
	}
	for _, refusal := range r.Refusals[:min(len(r.Refusals), shown)] {
		p.printf("  %s\n", printable(refusal.Message))
	}
	more(p.out, len(r.Refusals))
	if err := p.printConnections(r.Connections); err != nil {
		return err
	}
	if err := p.printTraffic(r.Traffic); err != nil {
		return err
	}
	return p.printOverlap(r)
}

// headline names the prefixes, apart from those whose packets an allow lets pass.
func headline(req control.BlockRequest, r control.PreviewResult) string {
	passing := make(map[string]control.Entry)
	for _, a := range r.Allowed {
		passing[a.Prefix] = a.By
	}
	var affected []string
	var pass []string
	for _, s := range req.Prefixes {
		by, passes := passing[s]
		if prefix, _, err := policy.ParsePrefix(s); err == nil {
			by, passes = passing[prefix.String()]
		}
		if passes {
			pass = append(pass, fmt.Sprintf("%s (by %s of %s)", s, printable(by.Prefix), printable(by.Origin)))
		} else {
			affected = append(affected, s)
		}
	}
	var parts []string
	if len(affected) > 0 {
		parts = append(parts, intent(req)+": "+some(affected))
	}
	if len(pass) > 0 {
		parts = append(parts, "Would still PASS, because an allow wins: "+some(pass))
	}
	return strings.Join(parts, "\n")
}

func intent(req control.BlockRequest) string {
	switch req.Action {
	case policy.Shadow.String():
		return "Would only be counted"
	case policy.Limit.String():
		return "Would be limited to " + printable(req.Rate)
	}
	return "Would be dropped"
}

// printServices names ports with their connections.
func (p *program) printServices(list []control.PreviewService) error {
	w := newTable(p.out)
	for _, s := range list[:min(len(list), shown)] {
		side := "to our port"
		if s.Direction == "out" {
			side = "from us to port"
		}
		service := fmt.Sprintf("  %s %d/%s", side, s.Port, printable(s.Protocol))
		row(w, service, count(s.Count), printable(strings.Join(s.Processes, " ")))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	more(p.out, len(list))
	return nil
}

func (p *program) printConnections(c control.PreviewConnection) error {
	switch {
	case !c.Known:
		p.printf("\nIts connections with this host are not known.\n")
		return nil
	case c.Count == 0:
		p.printf("\nEstablished connections of this host: 0, as far as they can be seen\n")
	default:
		p.printf("\nEstablished connections of this host: %s, with %s address(es)\n", count(c.Count), count(c.Peers))
	}
	if c.Spared > 0 {
		p.printf("Not affected, because an allow covers them: %s\n", count(c.Spared))
	}
	if err := p.printServices(c.Services); err != nil {
		return err
	}
	for _, u := range c.Unknown {
		number := ""
		if u.Count != nil {
			number = " (" + count(*u.Count) + ")"
		}
		p.printf("Not known: %s%s\n", printable(u.What), number)
	}
	return nil
}

func (p *program) printTraffic(t control.PreviewTraffic) error {
	switch {
	case !t.Enabled:
		p.printf("\nIts current traffic is not known, because no detector is configured.\n")
		return nil
	case len(t.Sources) == 0:
		p.printf("\nIt sends nothing now that is near the limit of a detector.\n")
		return nil
	}
	p.printf("\nSources that the rate analysis tracks now:\n")
	w := newTable(p.out)
	for _, s := range t.Sources[:min(len(t.Sources), shown)] {
		row(w, "  "+sourceText(printable(s.Source)), shortRate(s.Rates[s.Nearest]), printable(s.Nearest),
			printable(s.Verdict), "ports "+portList(s.Ports))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	more(p.out, len(t.Sources))
	return nil
}

func (p *program) printOverlap(r control.PreviewResult) error {
	if len(r.Entries) == 0 {
		return nil
	}
	p.printf("\nEntries that overlap (an allow still wins):\n")
	w := newTable(p.out)
	for _, e := range r.Entries[:min(len(r.Entries), shown)] {
		row(w, "  "+printable(e.Prefix), printable(e.Kind), actionName(e, " "),
			"origin "+printable(e.Origin), p.ending(e), printable(e.Reason))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if r.EntriesMore {
		p.printf("  and more than %s others\n", count(len(r.Entries)-shown))
		return nil
	}
	more(p.out, len(r.Entries))
	return nil
}
