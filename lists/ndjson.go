package lists

import (
	"fmt"
	"strconv"
	"strings"
)

// ndjson reads Spamhaus' lists: an object with "cidr" on each line, and one of type
// "metadata" that says how many there are.
type ndjson struct {
	out     *sink
	records int
	claimed string // number of records by the metadata
	over    bool   // the metadata came
}

func openNDJSON(o *sink) parser { return &ndjson{out: o} }

func (p *ndjson) line(n int, line string) error {
	if strings.TrimSpace(line) == "" {
		return nil
	}
	r, err := parseJSON(line, n)
	if err != nil || r.kind != '{' {
		p.out.badf(n, "%s is not a JSON object", quote(line))
		return nil
	}
	if r.member("type").text == "metadata" {
		p.claimed, p.over = r.member("records").text, true
		return nil
	}
	p.records++
	d := details{reason: r.member("sblid").text}
	return p.out.prefix(r.member("cidr"), d, r.fields())
}

func (p *ndjson) end() error {
	if p.over && p.claimed != "" && p.claimed != strconv.Itoa(p.records) {
		return fmt.Errorf("the list has %d records and says that it has %s: it is not complete", p.records, p.claimed)
	}
	return nil
}

// isNDJSON reports whether the first line is an object of its own with a prefix.
func isNDJSON(s *sample) bool {
	n, err := parseJSON(s.first(), 1)
	return err == nil && (n.has("cidr") || n.member("type").text == "metadata")
}
