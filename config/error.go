package config

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Error is a mistake in a configuration file.
type Error struct {
	File    string
	Line    int    // from 1
	Column  int    // from 1, in characters
	Message string // the mistake and the accepted values
	Source  string // the line; empty if it does not help, or after many errors
}

// maxShown is the largest part of a line that an error shows, in characters.
const maxShown = 100

// Error returns FILE:LINE:COLUMN: MESSAGE, then the line, then a caret under the
// column.
func (e *Error) Error() string {
	head := fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Message)
	if e.Source == "" {
		return head
	}
	line, column := excerpt(e.Source, e.Column)
	return fmt.Sprintf("%s\n    %s\n    %s^", head, line, strings.Repeat(" ", column-1))
}

// excerpt returns the part of line to show, around column, and the column in that part.
// It replaces characters that move the cursor, so that the caret is in the right place
// and a file cannot send control sequences to the terminal.
func excerpt(line string, column int) (string, int) {
	runes := []rune(strings.TrimRight(line, " \t"))
	for i, r := range runes {
		if r == '\t' {
			runes[i] = ' '
		} else if !unicode.IsPrint(r) {
			runes[i] = utf8.RuneError
		}
	}
	start := 0
	if column > maxShown*3/4 {
		start = min(column-maxShown/2, len(runes))
	}
	end := min(start+maxShown, len(runes))
	shown := string(runes[start:end])
	column -= start
	if start > 0 {
		shown, column = "…"+shown, column+1
	}
	if end < len(runes) {
		shown += "…"
	}
	return shown, column
}

// Errors are the mistakes in a file, in the order of the file. It is never empty.
type Errors []*Error

// maxListed is the largest number of mistakes that are listed. A file with more is
// probably no configuration.
const maxListed = 20

// Error returns the mistakes on lines of their own.
func (e Errors) Error() string {
	var b strings.Builder
	for i, err := range e {
		if i == maxListed {
			fmt.Fprintf(&b, "\nand %d more errors", len(e)-i)
			break
		}
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(err.Error())
	}
	return b.String()
}

// Unwrap returns the mistakes as errors.
func (e Errors) Unwrap() []error {
	errs := make([]error, len(e))
	for i, err := range e {
		errs[i] = err
	}
	return errs
}
