package main

import (
	"fmt"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/lists"
	"github.com/paraxial/paraxial/policy"
)

// notUnderstood prints the lines that are not understood. Nothing was sent.
func (p *program) notUnderstood(name, origin string, list *lists.List) error {
	r := control.ImportResult{Invalid: invalidLines(list), Notes: readNotes(list)}
	for _, l := range r.Invalid[:min(len(r.Invalid), shown)] {
		fmt.Fprintf(p.stderr, "%s:%d: %s\n", printable(name), l.Line, printable(l.Message))
	}
	more(p.stderr, list.Bad)
	if list.Bad > len(r.Invalid) {
		r.Notes = append(r.Notes, fmt.Sprintf("%d lines are invalid, the first %d are listed", list.Bad,
			len(r.Invalid)))
	}
	if p.json() {
		if err := p.printJSON(r); err != nil {
			return err
		}
		return errReported
	}
	advice := "correct the list or skip such lines with --skip-invalid"
	if 2*list.Bad > len(list.Entries) {
		advice = fmt.Sprintf("%s not understood as %s: choose another --format, or correct the list",
			amount(list.Bad, "of its lines is", "of its lines are"), list.Title)
	}
	fmt.Fprintf(p.stderr, "paraxialctl: %s: nothing was applied; %s\n", printable(origin), advice)
	return errReported
}

// dryImport is what an import would do.
type dryImport struct {
	Origin      string                `json:"origin"`
	Format      string                `json:"format"`
	Prefixes    int                   `json:"prefixes"` // of the list; some may be refused
	Added       int                   `json:"added"`
	Removed     int                   `json:"removed"`
	Unchanged   int                   `json:"unchanged"`
	Renewed     int                   `json:"renewed"` // part of Unchanged
	Invalid     int                   `json:"invalid"`
	IPv4Share   float64               `json:"ipv4_share"` // from 0 to 1
	IPv6Share   float64               `json:"ipv6_share"` // of 2000::/3
	Refused     []control.RefusedLine `json:"refused"`    // by the guard
	Spared      []control.SparedLine  `json:"spared"`
	Connections int                   `json:"connections"` // that it would cut
	// Services are the ports of these connections, and Visitors the sources in the list that the
	// rate analysis tracks now. Both are the first ones only.
	Services []control.PreviewService `json:"services"`
	Visitors []control.TopSource      `json:"visitors"`

	Held  []string `json:"held"` // why it would not be applied without --accept
	Notes []string `json:"notes"`
}

// importPreview shows what an import would change, as the daemon answers.
func (p *program) importPreview(
	c *cli.Context, req control.ImportRequest, list *lists.List, result control.ImportResult,
) error {
	r := dryImport{
		Origin: req.Origin, Format: list.Format, Invalid: list.Bad,
		Prefixes: result.Added + result.Unchanged + len(result.Refused),
		Added:    result.Added, Removed: result.Removed, Unchanged: result.Unchanged, Renewed: result.Renewed,
		IPv4Share: result.Coverage.IPv4, IPv6Share: result.Coverage.IPv6,
		Refused: result.Refused, Spared: result.Spared, Held: result.Held, Notes: result.Notes,
		Services: []control.PreviewService{}, Visitors: []control.TopSource{},
	}
	if req.Kind != policy.Allow.String() && req.Action != policy.Shadow.String() {
		if err := p.askConnections(c, req, list, &r); err != nil {
			return err
		}
	}
	if p.json() {
		if err := p.printJSON(r); err != nil {
			return err
		}
	} else {
		p.notes(r.Notes)
		result.Notes = nil
		p.printf("Nothing was changed. ")
		p.importSummary(req, result, false, list.Bad)
		p.printf("The list covers %.4f%% of IPv4 and %.4f%% of 2000::/3, and would cut %s\n",
			100*r.IPv4Share, 100*r.IPv6Share, amount(r.Connections, "connection", "connections"))
		if err := p.printCut(r); err != nil {
			return err
		}
		for _, cause := range r.Held {
			p.printf("It would be held, unless you add --accept: %s\n", printable(cause))
		}
	}
	if len(r.Held) > 0 && !req.Accept {
		return errReported
	}
	return nil
}

// mostCut bounds the services and the visitors that an import names.
const mostCut = 100

// printCut names the connections and the visitors that an import would cut.
func (p *program) printCut(r dryImport) error {
	if err := p.printServices(r.Services); err != nil || len(r.Visitors) == 0 {
		return err
	}
	return p.printTraffic(control.PreviewTraffic{Enabled: true, Sources: r.Visitors})
}

// askConnections adds the connections that would be cut.
func (p *program) askConnections(
	c *cli.Context, req control.ImportRequest, list *lists.List, r *dryImport,
) error {
	const most = 100_000 // each 10,000 are a request
	all := lists.Aggregate(prefixesOf(list.Entries))
	if len(all) > most {
		r.Notes = append(r.Notes, fmt.Sprintf("connections are counted for the first %s of %s merged prefixes",
			count(most), count(len(all))))
		all = all[:most]
	}
	for part := range slices.Chunk(all, control.MaxPrefixes) {
		block := control.BlockRequest{Action: policy.Drop.String(), Origin: req.Origin, Force: req.Force}
		for _, prefix := range part {
			block.Prefixes = append(block.Prefixes, prefix.String())
		}
		answer, err := p.client.Preview(c.Context, block)
		if err != nil {
			return err
		}
		r.Connections += answer.Connections.Count
		r.Services = append(r.Services, answer.Connections.Services...)
		r.Visitors = append(r.Visitors, answer.Traffic.Sources...)
		r.Services = r.Services[:min(len(r.Services), mostCut)]
		r.Visitors = r.Visitors[:min(len(r.Visitors), mostCut)]
	}
	return nil
}
