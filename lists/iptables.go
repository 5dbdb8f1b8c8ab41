package lists

import "strings"

// iptables reads the output of iptables-save and ip6tables-save. A rule that drops all
// packets of a source is an entry. A rule that accepts all of them is an exemption from
// the rules after it.
type iptables struct{ out *sink }

func openIPTables(o *sink) parser { return &iptables{o} }

func (p *iptables) end() error { return nil }

func (p *iptables) line(n int, line string) error {
	text := strings.TrimSpace(line)
	if text == "" || strings.HasPrefix(text, "#") || strings.HasPrefix(text, "*") || text == "COMMIT" ||
		strings.HasPrefix(text, ":") {
		return nil
	}
	words, err := splitFields(text, 0)
	if err != nil || len(words) < 2 || words[0] != "-A" && words[0] != "-I" {
		p.out.badf(n, "%s is not a line of iptables-save", quote(text))
		return nil
	}
	r, bad := parseRule(words[2:])
	if chain := words[1]; chain == "OUTPUT" || chain == "POSTROUTING" {
		bad = "chain " + chain
	}
	switch {
	case bad == "" && r.source == "" && r.target == "RETURN":
		return nil // the last rule of a chain
	case bad == "" && r.source == "":
		bad = "a rule without a source"
	}
	if bad != "" {
		p.out.badf(n, "%s: %s: only rules for all packets of a source can be imported", quote(text), bad)
		return nil
	}
	if !p.out.where.wants([]field{{"chain", words[1]}, {"target", r.target}}) {
		p.out.list.Left++
		return nil
	}
	return p.rule(n, r)
}

// rule adds what a rule does.
func (p *iptables) rule(n int, r ipRule) error {
	v, err := parseValue(r.source)
	if err != nil {
		p.out.bad(n, err)
		return nil
	}
	switch r.target {
	case "DROP", "REJECT", "TARPIT":
		return p.out.add(n, v, details{reason: r.comment})
	case "ACCEPT", "RETURN":
		return p.out.except(n, v)
	}
	p.out.badf(n, "target %s: only DROP and REJECT can be imported", quote(r.target))
	return nil
}

type ipRule struct{ source, target, comment string }

// parseRule reads the options of a rule. bad is the first one that restricts it to some
// of the packets of a source.
func parseRule(words []string) (r ipRule, bad string) {
	for i := 0; i < len(words); i++ {
		switch words[i] {
		case "-s", "--source":
			i++
			r.source = at(words, i)
		case "-j", "--jump":
			i++
			r.target = at(words, i)
		case "--reject-with":
			i++
		case "-m":
			if i++; at(words, i) != "comment" {
				return r, "match " + at(words, i)
			}
		case "--comment":
			first := i + 1
			for i++; i < len(words) && strings.HasPrefix(at(words, first), `"`) && !endsQuote(words[first:i+1]); {
				i++
			}
			r.comment = strings.Trim(strings.Join(words[min(first, len(words)):min(i+1, len(words))], " "), `"`)
		default:
			return r, "option " + quote(words[i])
		}
	}
	return r, ""
}

// endsQuote reports whether the last of the words ends the quote of the first one.
func endsQuote(words []string) bool {
	last := words[len(words)-1]
	return strings.HasSuffix(last, `"`) && (len(words) > 1 || len(last) > 1)
}
