package policy

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
)

// maxListLine is the longest line accepted in a list, in bytes. A prefix takes at
// most 43.
const maxListLine = 4096

// ListLine is one line of a list. Exactly one of Prefix and Err is set.
type ListLine struct {
	Number int // from 1
	Prefix netip.Prefix
	Masked bool // host bits were cleared
	Err    error
}

// ReadList reads a list of prefixes and calls yield for every line that is not
// blank and not only a comment. A line has one prefix or address; a second word is
// an error, and a comment goes from # or ; to the end of the line. ReadList
// returns an error only if reading fails: it gives a bad line to yield and reads
// on. It ends when yield returns false.
func ReadList(r io.Reader, yield func(ListLine) bool) error {
	br := bufio.NewReaderSize(r, 64<<10)
	for n := 1; ; n++ {
		line, tooLong, err := readLine(br)
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read list, line %d: %w", n, err)
		}
		if tooLong {
			err := fmt.Errorf("line longer than %d bytes: not a list of prefixes", maxListLine)
			if !yield(ListLine{Number: n, Err: err}) {
				return nil
			}
		} else if fields := listFields(line); len(fields) > 0 {
			l := ListLine{Number: n}
			if l.Prefix, l.Masked, l.Err = ParsePrefix(string(fields[0])); l.Err == nil && len(fields) > 1 {
				l = ListLine{Number: n, Err: fmt.Errorf("%s follows the prefix %s: a line has one prefix, "+
					"and a comment begins with #", quote(string(fields[1])), quote(string(fields[0])))}
			}
			if !yield(l) {
				return nil
			}
		}
		if err != nil {
			return nil
		}
	}
}

// readLine returns the next line. It skips the rest of a line that is too long.
// The slice is valid until the next call.
func readLine(br *bufio.Reader) (line []byte, tooLong bool, err error) {
	line, err = br.ReadSlice('\n')
	for errors.Is(err, bufio.ErrBufferFull) {
		tooLong = true
		_, err = br.ReadSlice('\n')
	}
	return line, tooLong || len(line) > maxListLine, err
}

func listFields(line []byte) [][]byte {
	if i := bytes.IndexAny(line, "#;"); i >= 0 {
		line = line[:i]
	}
	// Some editors put a byte order mark before the first line.
	line = bytes.TrimPrefix(line, []byte("\ufeff"))
	return bytes.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(" \t\r\n,", r) })
}
