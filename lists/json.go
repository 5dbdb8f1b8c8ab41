package lists

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// node is a value of a JSON document with the line on which it begins.
type node struct {
	line   int
	kind   byte // '{', '[', '"', '0' for a number, 'b' for true and false, 'n' for null
	text   string
	keys   []string // of an object
	values []*node  // of an object or array
}

// member returns the value of a key, or a null.
func (n *node) member(key string) *node {
	for i, k := range n.keys {
		if k == key {
			return n.values[i]
		}
	}
	return &node{kind: 'n', line: n.line}
}

func (n *node) has(key string) bool { return n.member(key).kind != 'n' }

// document parses one JSON document.
type document struct {
	dec    *json.Decoder
	text   string
	at     int // offset up to which lines are counted
	number int // of the line at that offset
	nodes  int
}

func parseJSON(text string, firstLine int) (*node, error) {
	d := &document{dec: json.NewDecoder(strings.NewReader(text)), text: text, number: firstLine}
	d.dec.UseNumber()
	n, err := d.value(0)
	if err == nil {
		if _, more := d.dec.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("something follows the end of the document")
		}
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("the document is not complete")
	}
	if err != nil {
		return nil, fmt.Errorf("line %d: JSON: %w", d.line(), err)
	}
	return n, nil
}

// line returns the line of the last token.
func (d *document) line() int {
	to := min(int(d.dec.InputOffset()), len(d.text))
	d.number += strings.Count(d.text[d.at:to], "\n")
	d.at = to
	return d.number
}

func (d *document) value(depth int) (*node, error) {
	t, err := d.dec.Token()
	if err != nil {
		return nil, err
	}
	if d.nodes++; d.nodes > maxNodes {
		return nil, fmt.Errorf("more than %d values", maxNodes)
	}
	n := &node{line: d.line()}
	switch t := t.(type) {
	case json.Delim:
		if depth >= maxDepth {
			return nil, fmt.Errorf("more than %d levels", maxDepth)
		}
		n.kind = byte(t)
		return n, d.inside(n, depth+1)
	case string:
		n.kind, n.text = '"', t
	case json.Number:
		n.kind, n.text = '0', t.String()
	case bool:
		n.kind, n.text = 'b', fmt.Sprint(t)
	default:
		n.kind = 'n'
	}
	return n, nil
}

// inside reads the members of an object or array, and its end.
func (d *document) inside(n *node, depth int) error {
	for d.dec.More() {
		if n.kind == '{' {
			t, err := d.dec.Token()
			if err != nil {
				return err
			}
			key, _ := t.(string)
			if n.has(key) {
				return fmt.Errorf("the key %s comes twice", quote(key))
			}
			n.keys = append(n.keys, key)
			if len(n.keys) > 1000 {
				return errors.New("an object has more than 1000 keys")
			}
		}
		v, err := d.value(depth)
		if err != nil {
			return err
		}
		n.values = append(n.values, v)
	}
	_, err := d.dec.Token()
	return err
}

// jsonParser collects a document and then reads it.
type jsonParser struct {
	text strings.Builder
	read func(*node) error
}

func (p *jsonParser) line(_ int, text string) error {
	if p.text.Len()+len(text) > maxJSON {
		return fmt.Errorf("the JSON document is longer than %d bytes", maxJSON)
	}
	p.text.WriteString(text)
	p.text.WriteByte('\n')
	return nil
}

func (p *jsonParser) end() error {
	n, err := parseJSON(p.text.String(), 1)
	if err != nil {
		return err
	}
	return p.read(n)
}

func openJSON(read func(*sink, *node) error) func(*sink) parser {
	return func(o *sink) parser {
		return &jsonParser{read: func(n *node) error { return read(o, n) }}
	}
}

// prefix adds the prefix in a string of JSON.
func (o *sink) prefix(n *node, d details, fields []field) error {
	if n.kind != '"' {
		o.badf(n.line, "the prefix is missing or not a string")
		return nil
	}
	if !o.where.wants(fields) {
		o.list.Left++
		return nil
	}
	return o.text(n.line, n.text, d)
}

// prefixes adds all strings of an array.
func (o *sink) prefixes(n *node, fields ...field) error {
	if n.kind != '[' {
		o.badf(n.line, "an array of prefixes is missing")
		return nil
	}
	for _, v := range n.values {
		if err := o.prefix(v, details{}, fields); err != nil {
			return err
		}
	}
	return nil
}

// fields returns the members of an object that are texts, numbers or truth values.
func (n *node) fields() []field {
	var all []field
	for i, v := range n.values {
		if v.kind == '"' || v.kind == '0' || v.kind == 'b' {
			all = append(all, field{n.keys[i], v.text})
		}
	}
	return all
}

// expect returns an error if n is not an object or array, as kind says.
func (n *node) expect(kind byte, what string) error {
	if n.kind != kind {
		return fmt.Errorf("line %d: %s is missing: the document is not what --format says", n.line, what)
	}
	return nil
}
