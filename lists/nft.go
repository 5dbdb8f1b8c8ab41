package lists

import (
	"fmt"
	"strings"
	"time"
)

// nft reads the output of `nft list set` and files of `add element`.
type nft struct {
	out  *sink
	sets sets

	blocks []block
	words  []string // of the statement so far
	name   string   // set whose elements are read
	ttl    time.Duration
	item   []string // words of the element so far
	begun  int      // line on which the last block began
}

// block is a part of an nft file in braces.
type block byte

const (
	inFile block = iota
	inTable
	inSet
	inElements
)

const maxWords = 200 // words of a statement or element

func openNFT(o *sink) parser { return &nft{out: o, sets: sets{out: o}} }

func (p *nft) block() block {
	if len(p.blocks) == 0 {
		return inFile
	}
	return p.blocks[len(p.blocks)-1]
}

func (p *nft) line(n int, line string) error {
	for _, t := range nftTokens(line) {
		if err := p.token(n, t); err != nil {
			return err
		}
	}
	if p.block() == inElements {
		return nil
	}
	p.statement(n)
	return nil
}

// nftTokens splits a line at blanks. A quoted text, a brace, a comma, a semicolon and =
// are tokens of their own.
func nftTokens(line string) []string {
	var tokens []string
	for line = strings.TrimSpace(line); line != ""; line = strings.TrimLeft(line, " \t") {
		end := strings.IndexAny(line, " \t{},;=\"#")
		switch {
		case line[0] == '#':
			return tokens
		case line[0] == '"':
			if end = strings.IndexByte(line[1:], '"') + 2; end < 2 {
				end = len(line)
			}
		case end == 0:
			end = 1
		case end < 0:
			end = len(line)
		}
		tokens = append(tokens, line[:end])
		line = line[end:]
	}
	return tokens
}

func (p *nft) token(n int, t string) error {
	elements := p.block() == inElements
	switch {
	case elements && t == ",":
		return p.element(n)
	case elements && t == "}":
		err := p.element(n)
		p.blocks = p.blocks[:len(p.blocks)-1]
		return err
	case elements && t == "{":
		return fmt.Errorf("line %d: a { between elements", n)
	case elements:
		p.item = append(p.item, t)
	case t == "{":
		return p.open(n)
	case t == "}" && len(p.blocks) == 0:
		return fmt.Errorf("line %d: a } without {", n)
	case t == "}":
		p.statement(n)
		p.blocks = p.blocks[:len(p.blocks)-1]
	case t == ";":
		p.statement(n)
	default:
		p.words = append(p.words, t)
	}
	if len(p.words) > maxWords || len(p.item) > maxWords {
		return fmt.Errorf("line %d: more than %d words", n, maxWords)
	}
	return nil
}

// open begins the block that the words so far announce.
func (p *nft) open(n int) error {
	w, in := p.words, p.block()
	p.words, p.begun = nil, n
	next := inFile
	switch {
	case in == inFile && len(w) == 3 && w[0] == "table":
		next = inTable
	case in == inTable && len(w) == 2 && w[0] == "set":
		next, p.name, p.ttl = inSet, w[1], 0
	case in == inFile && len(w) == 5 && w[0] == "add" && w[1] == "set":
		next, p.name, p.ttl = inSet, w[4], 0
	case in == inSet && len(w) == 2 && w[0] == "elements" && w[1] == "=":
		next = inElements
	case in == inFile && len(w) == 5 && (w[0] == "add" || w[0] == "create") && w[1] == "element":
		next, p.name = inElements, w[4]
	default:
		return fmt.Errorf("line %d: %s: only sets can be imported; "+
			"import the output of `nft list set FAMILY TABLE SET`", n, quote(strings.Join(w, " ")))
	}
	p.blocks = append(p.blocks, next)
	return nil
}

// statement reads the words up to the end of a line or a semicolon.
func (p *nft) statement(n int) {
	w := p.words
	if p.words = nil; len(w) == 0 {
		return
	}
	switch p.block() {
	case inFile:
		switch w[0] + " " + at(w, 1) {
		case "flush set", "add table", "create table", "delete set", "destroy set", "delete table", "destroy table":
			return
		}
	case inSet:
		switch w[0] {
		case "type":
			if t := at(w, 1); len(w) == 2 && (t == "ipv4_addr" || t == "ipv6_addr") {
				return
			}
		case "timeout":
			if ttl, err := nftDuration(at(w, 1)); err == nil {
				p.ttl = ttl
				return
			}
		case "flags", "size", "gc-interval", "auto-merge", "policy", "comment", "counter":
			return
		}
	}
	p.out.badf(n, "%s is not a line of a set of addresses", quote(strings.Join(w, " ")))
}

// element reads an element and its options.
func (p *nft) element(n int) error {
	w := p.item
	if p.item = nil; len(w) == 0 {
		return nil // a comma before the }
	}
	if !p.sets.wants(p.name) {
		p.out.list.Left++
		return nil
	}
	d := details{}
	if p.ttl > 0 {
		d.until = p.out.now.Add(p.ttl)
	}
	for i := 1; i < len(w); i++ {
		switch w[i] {
		case "timeout", "expires":
			i++
			ttl, err := nftDuration(at(w, i))
			if err != nil {
				p.out.badf(n, "%s %s is not a duration", w[i-1], quote(at(w, i)))
				return nil
			}
			d.until = p.out.now.Add(ttl)
		case "comment":
			i++
			d.reason = strings.Trim(at(w, i), `"`)
		case "counter":
		case "packets", "bytes":
			i++
		default:
			p.out.badf(n, "%s is not understood after %s", quote(w[i]), quote(w[0]))
			return nil
		}
	}
	return p.out.text(n, w[0], d)
}

// nftDuration reads a duration such as 1d2h3m4s5ms.
func nftDuration(s string) (time.Duration, error) {
	var days time.Duration
	if before, rest, ok := strings.Cut(s, "d"); ok && digits(before) && len(before) < 6 {
		n, err := time.ParseDuration(before + "h")
		if err != nil {
			return 0, err
		}
		if days = 24 * n; rest == "" {
			return days, nil
		}
		s = rest
	}
	d, err := time.ParseDuration(s)
	return days + d, err
}

func (p *nft) end() error {
	if len(p.blocks) > 0 {
		return fmt.Errorf("the { of line %d has no }: the list is not complete", p.begun)
	}
	return p.sets.check()
}

// nftJSON reads the output of `nft -j list set`.
func nftJSON(o *sink, n *node) error {
	all := n.member("nftables")
	if err := all.expect('[', `"nftables"`); err != nil {
		return err
	}
	s := sets{out: o}
	for _, v := range all.values {
		if v.has("metainfo") || v.has("table") {
			continue
		}
		set := v.member("set")
		t := set.member("type").text
		if set.kind != '{' || t != "ipv4_addr" && t != "ipv6_addr" {
			o.badf(v.line, "this is not a set of addresses")
			continue
		}
		if !s.wants(set.member("name").text) {
			o.list.Left++
			continue
		}
		for _, e := range set.member("elem").values {
			if err := o.nftElement(e, details{}); err != nil {
				return err
			}
		}
	}
	return s.check()
}

// nftElement reads an address, {"prefix":…}, {"range":…} or one of them in {"elem":…}.
func (o *sink) nftElement(n *node, d details) error {
	switch {
	case n.kind == '"':
		return o.text(n.line, n.text, d)
	case n.has("elem"):
		e := n.member("elem")
		d.reason = e.member("comment").text
		for _, key := range []string{"timeout", "expires"} {
			if v := e.member(key); v.kind == '0' {
				ttl, err := time.ParseDuration(v.text + "s")
				if err != nil {
					o.badf(v.line, "%s is not a number of seconds", quote(v.text))
					return nil
				}
				d.until = o.now.Add(ttl)
			}
		}
		if v := e.member("val"); !v.has("elem") {
			return o.nftElement(v, d)
		}
	case n.has("prefix"):
		p := n.member("prefix")
		return o.text(n.line, p.member("addr").text+"/"+p.member("len").text, d)
	case n.has("range") && len(n.member("range").values) == 2:
		ends := n.member("range").values
		return o.text(n.line, ends[0].text+"-"+ends[1].text, d)
	}
	o.badf(n.line, "this is not an address, prefix or range")
	return nil
}
