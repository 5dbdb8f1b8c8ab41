package lists

import (
	"fmt"
	"strings"
	"time"
)

// crowdsec reads decisions: those of `cscli decisions list -o json`, which are inside
// alerts, and those of the local API.
func crowdsec(o *sink, n *node) error {
	if err := n.expect('[', "an array of decisions"); err != nil {
		return err
	}
	for _, v := range n.values {
		decisions := []*node{v}
		if v.has("decisions") {
			decisions = v.member("decisions").values
		}
		for _, d := range decisions {
			if err := o.decision(d); err != nil {
				return err
			}
		}
	}
	return nil
}

func (o *sink) decision(n *node) error {
	scope, kind := n.member("scope").text, n.member("type").text
	if !decisionBlocks(scope, kind) {
		o.badf(n.line, "a decision of type %s and scope %s does not block an address", quote(kind), quote(scope))
		return nil
	}
	d := details{reason: n.member("scenario").text}
	if text := n.member("duration").text; text != "" {
		ttl, err := time.ParseDuration(text)
		if err != nil {
			o.badf(n.line, "%s is not a duration", quote(text))
			return nil
		}
		d.until = o.now.Add(ttl)
	}
	if n.member("simulated").text == "true" {
		o.list.Left++
		return nil
	}
	return o.prefix(n.member("value"), d, n.fields())
}

func decisionBlocks(scope, kind string) bool {
	return (strings.EqualFold(scope, "ip") || strings.EqualFold(scope, "range")) &&
		(kind == "" || strings.EqualFold(kind, "ban"))
}

// crowdsecCSV reads `cscli decisions list -o raw` and files for `cscli decisions import`.
type crowdsecCSV struct {
	out     *sink
	names   map[string]int // columns by their name in the header
	columns int
}

func openCrowdsecCSV(o *sink) parser { return &crowdsecCSV{out: o} }

func (p *crowdsecCSV) end() error { return nil }

func (p *crowdsecCSV) line(n int, line string) error {
	if line = strings.TrimSpace(line); line == "" {
		return nil
	}
	f, err := splitFields(line, ',')
	if err != nil {
		p.out.bad(n, err)
		return nil
	}
	if p.names == nil {
		return p.header(n, f)
	}
	if len(f) != p.columns {
		p.out.badf(n, "the record has %d columns, the header has %d", len(f), p.columns)
		return nil
	}
	return p.record(n, f)
}

func (p *crowdsecCSV) header(n int, f []string) error {
	p.names, p.columns = make(map[string]int, len(f)), len(f)
	for i, name := range f {
		if _, twice := p.names[name]; twice {
			return fmt.Errorf("line %d: the header has two columns %s", n, quote(name))
		}
		p.names[name] = i
	}
	return nil
}

// get returns the first of the named columns that exists.
func (p *crowdsecCSV) get(f []string, names ...string) string {
	for _, name := range names {
		if i, ok := p.names[name]; ok {
			return f[i]
		}
	}
	return ""
}

func (p *crowdsecCSV) record(n int, f []string) error {
	v, scope := p.get(f, "ip", "value"), p.get(f, "scope")
	if prefix, rest, ok := strings.Cut(v, ":"); ok && p.get(f, "value") == "" {
		scope, v = prefix, rest // "Ip:192.0.2.1"
	}
	if scope == "" {
		scope = "ip"
	}
	if kind := p.get(f, "action", "type"); !decisionBlocks(scope, kind) {
		p.out.badf(n, "a decision of type %s and scope %s does not block an address", quote(kind), quote(scope))
		return nil
	}
	d := details{reason: p.get(f, "reason", "scenario")}
	if text := p.get(f, "expiration", "duration"); text != "" {
		ttl, err := time.ParseDuration(text)
		if err != nil {
			p.out.badf(n, "%s is not a duration", quote(text))
			return nil
		}
		d.until = p.out.now.Add(ttl)
	}
	if p.get(f, "simulated") == "true" {
		p.out.list.Left++
		return nil
	}
	return p.out.text(n, v, d)
}

func isCrowdsecHeader(line string) bool {
	f, err := splitFields(line, ',')
	if err != nil {
		return false
	}
	has := make(map[string]bool)
	for _, name := range f {
		has[name] = true
	}
	return has["value"] && (has["duration"] || has["scope"]) || has["ip"] && has["expiration"] && has["action"]
}
