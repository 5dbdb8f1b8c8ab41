package config

import (
	"fmt"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// decoder walks the parsed file, sets values and collects mistakes.
type decoder struct {
	source source
	errs   Errors
	feeds  []ast.Node // the items of feeds

	proxies ast.Node // the value of proxies
}

func (d *decoder) add(e *Error) { d.errs = append(d.errs, e) }

// errorf adds an error at n. Errors that will not be listed get no source line, since a
// file may be one long line of mistakes.
func (d *decoder) errorf(n ast.Node, format string, args ...any) {
	at := nodePosition(n)
	if len(d.errs) < maxListed {
		d.add(d.source.errorAt(at, format, args...))
		return
	}
	d.add(&Error{File: d.source.name, Line: at.line, Column: at.column, Message: message(format, args...)})
}

// nodePosition returns where the text of n begins. The token of a block mapping is the
// colon after its first key, so the position of that key is used.
func nodePosition(n ast.Node) position {
	if m, ok := n.(*ast.MappingNode); ok && !m.IsFlowStyle && len(m.Values) > 0 {
		return nodePosition(m.Values[0].Key)
	}
	return tokenPosition(n.GetToken())
}

func (d *decoder) root(n ast.Node, keys []key) {
	m, ok := n.(*ast.MappingNode)
	if !ok {
		d.errorf(n, "got %s; want keys with values, as in interfaces: [eth0]", describe(n))
		return
	}
	d.mapping(m, "", keys)
}

// mapping decodes the keys of a mapping, whose names in keys begin with section.
func (d *decoder) mapping(m *ast.MappingNode, section string, keys []key) {
	first := map[string]int{} // line of
	for _, v := range m.Values {
		name := v.Key.GetToken().Value
		at := nodePosition(v.Key)
		if line, again := first[name]; again {
			d.errorf(v.Key, "%s%s is given twice, first in line %d; leave one of them out",
				section, printable(name), line)
			continue
		}
		first[name] = at.line
		d.entry(v, section, name, keys)
	}
}

func (d *decoder) entry(v *ast.MappingValueNode, section, name string, keys []key) {
	full := section + name
	isSection := false
	for _, k := range keys {
		if k.name == full {
			d.value(k, v)
			return
		}
		isSection = isSection || strings.HasPrefix(k.name, full+".")
	}
	if !isSection {
		d.errorf(v.Key, "unknown key %q; %s", full, suggest(full, section, keys))
		return
	}
	switch n := v.Value.(type) {
	case *ast.NullNode: // all its keys are commented out
	case *ast.MappingNode:
		d.mapping(n, full+".", keys)
	default:
		d.errorf(n, "%s: got %s; want keys below it: %s", full, describe(n), strings.Join(names(full+".", keys), ", "))
	}
}

// value decodes the value of a key. A key without a value is an error, unless it
// may be blank.
func (d *decoder) value(k key, v *ast.MappingValueNode) {
	if _, none := v.Value.(*ast.NullNode); !none {
		k.decode(d, v.Value)
		return
	}
	if !k.blank {
		d.errorf(v.Key, "%s has no value; give one, or leave the key out for the default", k.name)
	}
}

// scalarKind is the kind of a single value in YAML.
type scalarKind int

const (
	other scalarKind = iota // not a single value
	text
	number
	word // true, false, .inf, .nan
)

// scalar decodes a single value into value, and reports whether it is valid.
func scalar[T any](d *decoder, name string, n ast.Node, want scalarKind, parse func(string) (T, error), value *T) bool {
	s, kind := scalarText(n)
	if kind == other {
		d.errorf(n, "%s: got %s; want a single value%s", name, describe(n), quotesHint(n))
		return false
	}
	v, err := parse(s)
	switch {
	case want == number && isQuoted(n):
		d.errorf(n, "%s: got the text %s; want a number, without quotes", name, printable(s))
	case err != nil:
		d.errorf(n, "%s: %v", name, err)
	case want == text && kind != text:
		d.errorf(n, "%s: got %s; want text, so put it in quotes: %q", name, s, s)
	default:
		*value = v
		return true
	}
	return false
}

// quotesHint explains a common mistake: YAML reads fe80:: as the key fe80: without a
// value.
func quotesHint(n ast.Node) string {
	if m, ok := n.(*ast.MappingNode); ok && !m.IsFlowStyle {
		return `; put text with ":" at its end in quotes`
	}
	return ""
}

// scalarText returns the text of a single value and its kind. YAML reports a number that
// is too large for it as text without quotes.
func scalarText(n ast.Node) (string, scalarKind) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, text
	case *ast.LiteralNode:
		return n.Value.Value, text
	case *ast.IntegerNode, *ast.FloatNode:
		return n.GetToken().Value, number
	case *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, word
	}
	return "", other
}

func isQuoted(n ast.Node) bool {
	t := n.GetToken().Type
	return t == token.SingleQuoteType || t == token.DoubleQuoteType || t == token.LiteralType || t == token.FoldedType
}

// list returns the items of a list.
func (d *decoder) list(name string, n ast.Node) []ast.Node {
	if s, ok := n.(*ast.SequenceNode); ok {
		return s.Values
	}
	example := "[a, b]"
	if s, kind := scalarText(n); kind != other && s != "" {
		example = "[" + s + "]"
	}
	d.errorf(n, "%s: got %s; want a list, as in %s", name, describe(n), example)
	return nil
}

func (d *decoder) interfaces(n ast.Node) []Interface {
	var list []Interface
	for _, item := range d.list("interfaces", n) {
		before := len(d.errs)
		var i Interface
		switch n := item.(type) {
		case *ast.MappingNode:
			d.mapping(n, "interfaces.", i.keys())
			if i.Name == "" && len(d.errs) == before {
				d.errorf(n, "interfaces: an item has no name; want {name: eth0} or {name: eth0, mode: native}")
			}
		default:
			scalar(d, "interfaces", n, text, ParseInterface, &i.Name)
		}
		if len(d.errs) > before {
			continue
		}
		if err := checkNext(list, i); err != nil {
			d.errorf(item, "%v", err)
			continue
		}
		list = append(list, i)
	}
	return list
}

// describe describes a value, for the first half of an error.
func describe(n ast.Node) string {
	switch n := n.(type) {
	case *ast.MappingNode:
		return "keys with values"
	case *ast.SequenceNode:
		return "a list"
	case *ast.NullNode:
		return "no value"
	case *ast.StringNode, *ast.LiteralNode:
		s, _ := scalarText(n)
		return fmt.Sprintf("the text %s", printable(s))
	default:
		return n.GetToken().Value
	}
}

// printable quotes the beginning of s.
func printable(s string) string {
	return fmt.Sprintf("%q", shorten(s, 40))
}
