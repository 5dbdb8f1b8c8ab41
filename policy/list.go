package policy

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
)

// maxListLine bounds a line of a list, in bytes. A prefix takes at most 43.
const maxListLine = 4096

// A ListLine is what one line of a list holds. Exactly one of Prefix and Err
// is set.
type ListLine struct {
	Number int // from 1
	Prefix netip.Prefix
	Masked bool // host bits were cleared
	Err    error
}

// ReadList reads a list of prefixes and calls yield for every line that is not
// blank or a comment: one prefix or address a line, an optional second column
// which is ignored, comments from # or ; to the end of the line. It returns an
// error only if reading fails; a bad line is given to yield and reading goes on.
// yield returning false ends it.
func ReadList(r io.Reader, yield func(ListLine) bool) error {
	br := bufio.NewReaderSize(r, 64<<10)
	for n := 1; ; n++ {
		line, tooLong, err := readLine(br)
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read list, line %d: %w", n, err)
		}
		if tooLong {
			if !yield(ListLine{Number: n, Err: fmt.Errorf("line longer than %d bytes: not a list of prefixes", maxListLine)}) {
				return nil
			}
		} else if field := listField(line); len(field) > 0 {
			l := ListLine{Number: n}
			l.Prefix, l.Masked, l.Err = ParsePrefix(string(field))
			if !yield(l) {
				return nil
			}
		}
		if err != nil {
			return nil
		}
	}
}

// readLine returns the next line without its end. Of a line that is too long
// it reads all and returns none. The slice is valid until the next call.
func readLine(br *bufio.Reader) (line []byte, tooLong bool, err error) {
	line, err = br.ReadSlice('\n')
	for errors.Is(err, bufio.ErrBufferFull) {
		tooLong = true
		_, err = br.ReadSlice('\n')
	}
	return line, tooLong || len(line) > maxListLine, err
}

func listField(line []byte) []byte {
	if i := bytes.IndexAny(line, "#;"); i >= 0 {
		line = line[:i]
	}
	// A byte order mark is what some editors put before the first line.
	line = bytes.TrimPrefix(line, []byte("\ufeff"))
	fields := bytes.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == '\t' || r == '\r' || r == '\n' || r == ',' })
	if len(fields) == 0 {
		return nil
	}
	return fields[0]
}
