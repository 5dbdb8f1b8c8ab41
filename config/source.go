package config

import (
	"bytes"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// source is the text of a file, from which errors quote lines.
type source struct {
	name  string
	text  string // UTF-8, lines ended by \n
	lines []string
}

// newSource removes Windows line ends and a byte order mark from data. Editors insert
// them, and they are invisible.
func newSource(name string, data []byte) source {
	if len(data) > MaxFileSize {
		return source{name: name}
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	text := strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(string(data))
	return source{name: name, text: text, lines: strings.Split(text, "\n")}
}

// position is a place in a file. Lines and columns count from 1, columns in characters.
type position struct{ line, column int }

// errorAt returns an error at pos. A position on the blanks before a value is moved to the
// value, and a position outside the text into the text.
func (s source) errorAt(pos position, format string, args ...any) *Error {
	e := &Error{File: s.name, Message: message(format, args...)}
	e.Line = min(max(pos.line, 1), max(len(s.lines), 1))
	e.Column = max(pos.column, 1)
	if len(s.lines) == 0 {
		return e
	}
	e.Source = s.lines[e.Line-1]
	runes := []rune(e.Source)
	e.Column = min(e.Column, len(runes)+1)
	for e.Column < len(runes) && (runes[e.Column-1] == ' ' || runes[e.Column-1] == '\t') {
		e.Column++
	}
	return e
}

// maxMessage is the longest message, in characters. Messages quote values, and a value
// may be as long as the file.
const maxMessage = 300

// message formats a message on one line and without control characters, which values
// and messages of the parser may contain.
func message(format string, args ...any) string {
	m := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, fmt.Sprintf(format, args...))
	return shorten(m, maxMessage)
}

// shorten cuts s to n characters.
func shorten(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n]) + "…"
	}
	return s
}

// checkText refuses text that cannot be YAML before it confuses the parser: other
// encodings, control characters, tabs as indentation.
func (s source) checkText() *Error {
	for i, line := range s.lines {
		column := 1
		indentation := true
		for rest := line; rest != ""; column++ {
			r, size := utf8.DecodeRuneInString(rest)
			at := position{i + 1, column}
			switch {
			case r == utf8.RuneError && size == 1:
				return s.errorAt(at, "not UTF-8 (byte 0x%02x); save the file as UTF-8 text", rest[0])
			case r != '\t' && (r < ' ' || r >= 0x7f && r < 0xa0):
				return s.errorAt(at, "the control character %U; want plain UTF-8 text", r)
			case r == '\t' && indentation && strings.TrimLeft(rest, " \t") != "":
				return s.tabAt(at)
			}
			indentation = indentation && r == ' '
			rest = rest[size:]
		}
	}
	return nil
}

// tabAt returns an error at a tab, which errorAt would skip.
func (s source) tabAt(at position) *Error {
	e := s.errorAt(at, "a tab in the indentation; YAML wants spaces")
	e.Column = at.column
	return e
}
