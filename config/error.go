package config

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Error is one mistake in a configuration file.
type Error struct {
	File    string
	Line    int    // from 1
	Column  int    // from 1, in characters
	Message string // what is wrong, and what is accepted
	Source  string // the line; empty if it would not help, or after many errors
}

// maxShown is how much of a line an error shows, in characters.
const maxShown = 100

// Error returns FILE:LINE:COLUMN: MESSAGE, and below it the line with a caret
// under the column.
func (e *Error) Error() string {
	head := fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Message)
	if e.Source == "" {
		return head
	}
	line, column := excerpt(e.Source, e.Column)
	return fmt.Sprintf("%s\n    %s\n    %s^", head, line, strings.Repeat(" ", column-1))
}

// excerpt returns the part of line around column that is shown, and the column
// in it. Characters that would move the cursor are replaced, so that the caret
// stands right and a file cannot play tricks on a terminal.
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

// Errors are the mistakes of one file, in its order. It is never empty.
type Errors []*Error

// maxListed is how many mistakes are listed: beyond that the file is something
// else altogether.
const maxListed = 20

// Error returns the mistakes one below the other.
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

// Unwrap returns the mistakes one by one.
func (e Errors) Unwrap() []error {
	errs := make([]error, len(e))
	for i, err := range e {
		errs[i] = err
	}
	return errs
}
