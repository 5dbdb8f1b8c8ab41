package lists

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// ipset reads the output of `ipset save` and `ipset list`.
type ipset struct {
	out     *sink
	sets    sets
	current string // set of `ipset list`
	members bool   // the members of it follow
}

func openIPSet(o *sink) parser {
	o.rule = narrowerCounts
	return &ipset{out: o, sets: sets{out: o}}
}

func (p *ipset) line(n int, line string) error {
	text := strings.TrimSpace(line)
	if text == "" || strings.HasPrefix(text, "#") {
		return nil
	}
	words := strings.Fields(text)
	switch key, rest, ok := strings.Cut(text, ": "); {
	case p.members && key != "Name":
		return p.element(n, p.current, words)
	case words[0] != "add" && words[0] != "-A" && (ok || text == "Members:"):
		return p.header(n, text, key, rest)
	}
	for len(words) > 0 && words[0] == "-exist" {
		words = words[1:]
	}
	switch words[0] {
	case "create", "-N", "--create":
		if len(words) < 3 || !addressType(words[2]) {
			p.out.badf(n, "%s is not a set of addresses alone", quote(text))
		}
	case "add", "-A", "--add":
		if len(words) < 3 {
			p.out.badf(n, "%s has no address", quote(text))
			return nil
		}
		return p.element(n, words[1], words[2:])
	case "flush", "-F", "destroy", "-X", "COMMIT":
	default:
		p.out.badf(n, "%s is not a line of ipset", quote(text))
	}
	return nil
}

func addressType(s string) bool {
	switch s {
	case "hash:ip", "hash:net", "bitmap:ip", "iphash", "nethash", "ipmap", "iptree":
		return true
	}
	return false
}

// header reads a line of `ipset list` before the members.
func (p *ipset) header(n int, text, key, rest string) error {
	switch key {
	case "Name":
		p.current, p.members = rest, false
	case "Type":
		if !addressType(rest) {
			p.out.badf(n, "%s is not a set of addresses alone", quote(rest))
		}
	case "Revision", "Header", "Size in memory", "References", "Number of entries":
	case "Members:":
		p.members = true
	default:
		p.out.badf(n, "%s is not a line of ipset", quote(text))
	}
	return nil
}

// element reads a member and its options.
func (p *ipset) element(n int, set string, words []string) error {
	if !p.sets.wants(set) {
		p.out.list.Left++
		return nil
	}
	d, nomatch := details{}, false
	for i := 1; i < len(words); i++ {
		switch words[i] {
		case "nomatch":
			nomatch = true
		case "timeout":
			i++
			seconds, err := strconv.ParseUint(at(words, i), 10, 32)
			if err != nil {
				p.out.badf(n, "timeout %s is not a number of seconds", quote(at(words, i)))
				return nil
			}
			if seconds > 0 {
				d.until = p.out.now.Add(time.Duration(seconds) * time.Second)
			}
		case "packets", "bytes", "skbprio", "skbmark", "skbqueue":
			i++
		case "comment":
			d.reason = strings.Trim(strings.Join(words[i+1:], " "), `"`)
			i = len(words)
		case "-exist":
		default:
			p.out.badf(n, "%s is not an option of ipset", quote(words[i]))
			return nil
		}
	}
	v, err := parseValue(words[0])
	if err != nil {
		p.out.bad(n, err)
		return nil
	}
	if nomatch {
		return p.out.except(n, v)
	}
	return p.out.add(n, v, d)
}

// at returns a word, or nothing behind the last one.
func at(words []string, i int) string {
	if i < len(words) {
		return words[i]
	}
	return ""
}

func (p *ipset) end() error {
	if p.current != "" && !p.members {
		return fmt.Errorf("set %s has no members: the list is not complete", quote(p.current))
	}
	return p.sets.check()
}
