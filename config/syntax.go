package config

import (
	"errors"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// The time of the parser grows with the square of the number of keys and of the nesting.
// With these limits a file of MaxFileSize takes seconds in the worst case.
const (
	maxKeys    = 1000
	maxNesting = 8
)

// parse returns the value in the file. It returns nil if there is none, or if the file is
// not valid YAML; then the error is in d.errs.
func (d *decoder) parse(data []byte) ast.Node {
	if len(data) > MaxFileSize {
		d.add(d.source.errorAt(position{1, 1}, "larger than %d bytes: not a configuration of paraxiald", MaxFileSize))
		return nil
	}
	if err := d.source.checkText(); err != nil {
		d.add(err)
		return nil
	}
	tokens := lexer.Tokenize(d.source.text)
	if !d.checkTokens(tokens) {
		return nil
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		d.add(d.syntaxError(err))
		return nil
	}
	for _, doc := range file.Docs {
		if doc.Body != nil {
			return doc.Body
		}
	}
	return nil
}

func (d *decoder) syntaxError(err error) *Error {
	var y yaml.Error
	if !errors.As(err, &y) || y.GetToken() == nil {
		return d.source.errorAt(position{1, 1}, "not YAML: %v", err)
	}
	said := strings.ReplaceAll(y.GetMessage(), "\t", `\t`)
	return d.source.errorAt(tokenPosition(y.GetToken()), "not YAML: %s", said)
}

func tokenPosition(t *token.Token) position {
	return position{t.Position.Line, t.Position.Column}
}

// checkTokens refuses features of YAML that the configuration does not need, before the
// parser expands them. It reports whether all tokens are accepted.
func (d *decoder) checkTokens(tokens token.Tokens) bool {
	s := tokenScan{decoder: d}
	for _, t := range tokens {
		if !s.next(t) {
			return false
		}
	}
	return true
}

// tokenScan is the state of a scan of the tokens of a file.
type tokenScan struct {
	decoder *decoder
	last    token.Type
	keys    int
	flow    int // number of open brackets and braces
	content bool
	header  bool
	ended   bool
}

func (s *tokenScan) next(t *token.Token) bool {
	if t.Type == token.CommentType {
		return true
	}
	second := s.ended || t.Type == token.DocumentHeaderType && (s.header || s.content)
	if second && t.Type != token.DocumentEndType {
		return s.refuse(t, "a second document starts here; want one document in a file")
	}
	switch t.Type {
	case token.DocumentHeaderType:
		s.header = true
	case token.DocumentEndType:
		s.ended = true
	default:
		s.content = true
	}
	ok := s.allowed(t) && s.bounded(t)
	s.last = t.Type
	return ok
}

func (s *tokenScan) allowed(t *token.Token) bool {
	switch t.Type {
	case token.AnchorType, token.AliasType, token.TagType, token.DirectiveType, token.MappingKeyType:
		return s.refuse(t, "anchors, aliases, tags and the like are not accepted; "+
			"put a text that starts with %q in quotes", t.Value[:1])
	case token.MergeKeyType:
		return s.refuse(t, "merge keys are not accepted; write the keys out")
	}
	return true
}

func (s *tokenScan) bounded(t *token.Token) bool {
	switch t.Type {
	case token.MappingValueType:
		s.keys++
	case token.SequenceStartType, token.MappingStartType:
		s.flow++
	case token.SequenceEndType, token.MappingEndType:
		s.flow--
	case token.SequenceEntryType:
		if s.last == token.SequenceEntryType {
			return s.refuse(t, `a list in a list; want one "-" before each value`)
		}
	}
	if s.keys > maxKeys {
		return s.refuse(t, "more than %d keys: not a configuration of paraxiald", maxKeys)
	}
	if s.flow > maxNesting {
		return s.refuse(t, "nested deeper than %d: not a configuration of paraxiald", maxNesting)
	}
	return true
}

func (s *tokenScan) refuse(t *token.Token, format string, args ...any) bool {
	d := s.decoder
	d.add(d.source.errorAt(tokenPosition(t), format, args...))
	return false
}
