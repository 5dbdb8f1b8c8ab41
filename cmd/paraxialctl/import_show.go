package main

import (
	"fmt"
	"net/netip"
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
		r.Notes = append(r.Notes, fmt.Sprintf("%d lines are invalid, the first %d are listed", list.Bad, len(r.Invalid)))
	}
	if p.json() {
		if err := p.printJSON(r); err != nil {
			return err
		}
		return errReported
	}
	advice := "correct the list or skip such lines with --skip-invalid"
	if 2*list.Bad > len(list.Entries) {
		advice = fmt.Sprintf("%s of its lines are not understood as %s: choose another --format, or correct the list",
			count(list.Bad), list.Title)
	}
	fmt.Fprintf(p.stderr, "paraxialctl: %s: nothing was applied; %s\n", printable(origin), advice)
	return errReported
}

// dryImport is what an import would do.
type dryImport struct {
	Origin      string            `json:"origin"`
	Format      string            `json:"format"`
	Prefixes    int               `json:"prefixes"`
	Added       int               `json:"added"`
	Removed     int               `json:"removed"`
	Unchanged   int               `json:"unchanged"`
	Invalid     int               `json:"invalid"`
	IPv4Share   float64           `json:"ipv4_share"`  // from 0 to 1
	Refused     []control.Refusal `json:"refused"`     // by the guard
	Connections int               `json:"connections"` // that it would cut
	Notes       []string          `json:"notes"`
}

// importPreview shows what an import would change.
func (p *program) importPreview(
	c *cli.Context, req control.ImportRequest, list *lists.List, notes []string,
) error {
	all := prefixesOf(list)
	r := dryImport{Origin: req.Origin, Format: list.Format, Invalid: list.Bad, IPv4Share: lists.Share(all),
		Refused: []control.Refusal{}, Notes: append([]string{}, notes...)}
	wanted := make(map[string]bool, len(all))
	for _, prefix := range all {
		wanted[prefix.String()] = true
	}
	r.Prefixes = len(wanted)
	err := p.client.Entries(c.Context, policy.Block.String(), req.Origin, func(e control.Entry) error {
		if wanted[e.Prefix] {
			r.Unchanged++
		} else {
			r.Removed++
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := p.askGuard(c, req, lists.Aggregate(all), &r); err != nil {
		return err
	}
	r.Added = r.Prefixes - r.Unchanged
	if p.json() {
		return p.printJSON(r)
	}
	p.notes(r.Notes)
	p.printf("Nothing was changed. %s: %s; the list covers %.4f%% of IPv4 and would cut %s connections\n",
		req.Origin, changes(r.Added, r.Removed, r.Unchanged, len(r.Refused)), 100*r.IPv4Share, count(r.Connections))
	for _, refusal := range r.Refused[:min(len(r.Refused), shown)] {
		p.printf("  %s\n", printable(refusal.Message))
	}
	more(p.out, len(r.Refused))
	return nil
}

// askGuard adds what the guard refuses, and the connections that would be cut.
func (p *program) askGuard(
	c *cli.Context, req control.ImportRequest, all []netip.Prefix, r *dryImport,
) error {
	const most = 100_000 // each 10,000 are a request
	if len(all) > most {
		r.Notes = append(r.Notes, fmt.Sprintf("the guard was asked about the first %s of %s merged prefixes",
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
		r.Refused = append(r.Refused, answer.Refusals...)
		r.Connections += answer.Connections.Count
	}
	return nil
}
