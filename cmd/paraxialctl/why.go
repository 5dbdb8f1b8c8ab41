package main

import (
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/policy"
)

func (p *program) whyCommand() command {
	return command{
		Command: &cli.Command{
			Name:      "why",
			Usage:     "show whether an address is dropped, and by which entries",
			ArgsUsage: "IP",
			Action:    p.why,
		},
	}
}

func (p *program) why(c *cli.Context) error {
	if c.NArg() != 1 {
		return misuse(c, "why takes one address, got %d", c.NArg())
	}
	address := c.Args().First()
	if _, err := policy.ParseAddr(address); err != nil {
		if strings.Contains(address, "/") {
			return misuse(c, "%q: want one address, not a prefix", address)
		}
		return misuse(c, "%v", err)
	}
	result, err := p.client.Why(c.Context, address)
	if err != nil {
		return err
	}
	if p.json() {
		return p.printJSON(result)
	}
	p.verdict(result)
	p.matched(result)
	p.whatNext(result)
	return nil
}

func (p *program) verdict(r control.WhyResult) {
	p.printf("%s %s.\n", printable(r.Address), verdictText(r))
	if r.CheckedBy == "kernel" {
		p.printf("The packet filter itself was asked; it counts such packets as %s.\n", printable(r.Reason))
	} else {
		p.printf("This is computed from the entries; the packet filter itself could not be asked.\n")
	}
	if len(r.Tags) > 0 {
		p.printf("It is in these sets: %s.\n", tagsText(r.Tags))
	}
	if r.EssentialRate > 0 {
		p.printf("DHCP, IPv6 neighbour discovery, MLD and IGMP from it pass all the same, up to %d packets a second\n"+
			"on each interface (essential).\n", r.EssentialRate)
	}
	if r.Replies == control.RepliesPass {
		p.printf("Answers from it to connections that this host opened pass (reply).\n")
	}
	if len(r.UnseenTunnels) > 0 {
		p.printf("Packets from it that come through a tunnel pass, because the filter does not look into it:\n%s.\n",
			tunnelNames(r.UnseenTunnels))
	}
	if r.Ineffective != "" {
		p.printf("\nWARNING: %s.\n", printable(r.Ineffective))
	}
	if r.Disagreement != "" {
		p.printf("\nWARNING: packet filter and entries disagree: %s\nThis is a defect of Paraxial; please report it.\n",
			printable(r.Disagreement))
	}
}

func verdictText(r control.WhyResult) string {
	switch r.Verdict {
	case "drop":
		return "is DROPPED"
	case "limit":
		if r.Reason == "limited" {
			return "is LIMITED, and over the rate: packets are dropped now"
		}
		return "is limited: what exceeds the rate is dropped"
	case "shadow":
		return "PASSES, and is counted as a packet that would be dropped (shadow)"
	case "pass":
		if isAllowed(r) {
			return "PASSES: it is allowed, which wins over every block"
		}
		return "PASSES"
	}
	return "gets the verdict " + printable(r.Verdict)
}

func isAllowed(r control.WhyResult) bool {
	for _, e := range r.Matched {
		if e.Kind == policy.Allow.String() {
			return true
		}
	}
	return false
}

// tagsText returns the names of sets.
func tagsText(tags []string) string { return printable(strings.Join(tags, ", ")) }

func (p *program) matched(r control.WhyResult) {
	if len(r.Matched) == 0 {
		p.printf("\nNo entry matches it.\n")
		return
	}
	if len(r.Matched) == 1 {
		p.printf("\nOne entry matches it:\n")
	} else {
		p.printf("\n%d entries match it:\n", len(r.Matched))
	}
	for _, e := range r.Matched {
		p.printf("\n  %s %s%s\n", printable(e.Kind), printable(e.Prefix), actionText(e))
		w := newTable(p.out)
		row(w, "    origin", printable(e.Origin))
		if e.Reason != "" {
			row(w, "    reason", printable(e.Reason))
		}
		if e.Evidence != nil {
			p.evidence(w, *e.Evidence)
		}
		row(w, "    author", printable(e.Author)+forcedText(e))
		row(w, "    created", p.clock(e.Created)+", "+p.since(e.Created)+" ago")
		row(w, "    expires", p.expiresText(e))
		if e.Replies == control.RepliesPass {
			row(w, "    answers", "pass, if this host opened the connection")
		}
		if e.Kind == policy.Block.String() {
			row(w, "    drops", dropsText(e))
		}
		w.Flush()
	}
}

func actionText(e control.Entry) string {
	if e.Kind == policy.Allow.String() || e.Action == policy.Drop.String() {
		return ""
	}
	return " (" + actionName(e, " ") + ")"
}

func dropsText(e control.Entry) string {
	if e.DropsCountedBy != "" {
		return "counted for the entry of origin " + printable(e.DropsCountedBy)
	}
	return packets(e) + " packets"
}

func forcedText(e control.Entry) string {
	if e.Forced {
		return ", who overrode the guard"
	}
	return ""
}

func (p *program) expiresText(e control.Entry) string {
	switch {
	case e.Pending != nil:
		return p.end(e) + " (paraxialctl confirm " + printable(e.Pending.ID) + ")"
	case e.Expires != nil:
		return p.end(e) + ", at " + p.clock(*e.Expires)
	}
	return p.end(e)
}

func (p *program) whatNext(r control.WhyResult) {
	address := printable(r.Address)
	p.printf("\nWhat you can do:\n")
	switch {
	case isAllowed(r):
		for _, e := range r.Matched {
			if e.Kind == policy.Allow.String() {
				p.printf("  paraxialctl unallow %s --origin %s\n", printable(e.Prefix), printable(e.Origin))
			}
		}
	case len(r.Matched) == 0:
		p.printf("  paraxialctl block %s\n", address)
	default:
		var blocks []control.Entry
		for _, e := range r.Matched {
			if e.Kind == policy.Block.String() {
				blocks = append(blocks, e)
			}
		}
		p.waysOut(blocks, []string{address})
	}
}
