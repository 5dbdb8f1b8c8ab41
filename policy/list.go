package policy

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// maxListLine is the longest line accepted in a list, in bytes. A prefix takes at
// most 43.
const maxListLine = 4096

// MaxListReasons is the largest number of different reasons that the lines of a list may
// have.
const MaxListReasons = 1 << 16

// ListLine is one line of a list. Exactly one of Prefix and Err is set.
type ListLine struct {
	Number int // from 1
	Prefix netip.Prefix
	Masked bool // host bits were cleared
	Err    error

	// Only ReadDetailedList sets these.
	For    time.Duration // 0: the line does not say it
	Reason string        // empty: the line does not say it
}

// ReadList reads a list of prefixes and calls yield for every line that is not
// blank and not only a comment. A line has one prefix or address; a second word is
// an error, and a comment goes from # or ; to the end of the line. ReadList
// returns an error only if reading fails: it gives a bad line to yield and reads
// on. It ends when yield returns false.
func ReadList(r io.Reader, yield func(ListLine) bool) error {
	return readList(r, func(l *ListLine, word string) error { return secondWord(l.Prefix, word) }, yield)
}

// ReadDetailedList is ReadList for lists whose lines may also tell the lifetime and the
// reason of the entry, as in "192.0.2.1 for=90s reason=ssh+login". The lifetime is as
// for ParseTTL. The reason is escaped as in the query of a URL, so that it has no blank
// and begins no comment.
func ReadDetailedList(r io.Reader, yield func(ListLine) bool) error {
	return readList(r, (*ListLine).detail, yield)
}

// readList reads a list. more reads a word that follows the prefix of a line.
func readList(r io.Reader, more func(*ListLine, string) error, yield func(ListLine) bool) error {
	br := bufio.NewReaderSize(r, 64<<10)
	var l ListLine // more makes it escape: one for all lines
	for n := 1; ; n++ {
		line, tooLong, err := readLine(br)
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read list, line %d: %w", n, err)
		}
		l = ListLine{Number: n}
		blank := false
		if tooLong {
			l.Err = fmt.Errorf("line longer than %d bytes: not a list of prefixes", maxListLine)
		} else {
			blank = !l.read(line, more)
		}
		if !blank && !yield(l) {
			return nil
		}
		if err != nil {
			return nil
		}
	}
}

// read reads the text of a line. It returns false if that is blank or only a comment.
func (l *ListLine) read(line []byte, more func(*ListLine, string) error) bool {
	if i := bytes.IndexAny(line, "#;"); i >= 0 {
		line = line[:i]
	}
	// Some editors put a byte order mark before the first line.
	word, rest := cutWord(bytes.TrimPrefix(line, []byte("\ufeff")))
	if len(word) == 0 {
		return false
	}
	l.Prefix, l.Masked, l.Err = ParsePrefix(string(word))
	for word, rest = cutWord(rest); l.Err == nil && len(word) > 0; word, rest = cutWord(rest) {
		l.Err = more(l, string(word))
	}
	if l.Err != nil {
		*l = ListLine{Number: l.Number, Err: l.Err}
	}
	return true
}

// cutWord returns the first word of a line, and what follows it.
func cutWord(line []byte) (word, rest []byte) {
	const between = " \t\r\n,"
	line = bytes.TrimLeft(line, between)
	if i := bytes.IndexAny(line, between); i >= 0 {
		return line[:i], line[i:]
	}
	return line, nil
}

func secondWord(p netip.Prefix, word string) error {
	return fmt.Errorf("%s follows the prefix %s: a line has one prefix, and a comment begins with #", quote(word), p)
}

// detail reads a word that follows the prefix.
func (l *ListLine) detail(word string) (err error) {
	name, value, _ := strings.Cut(word, "=")
	switch {
	case name == "for" && l.For == 0:
		l.For, err = ParseTTL(value)
		return err
	case name == "reason" && l.Reason == "":
		if l.Reason, err = url.QueryUnescape(value); err != nil {
			return fmt.Errorf("reason: %w; escape it as in the query of a URL", err)
		}
		return ValidReason(l.Reason)
	}
	return secondWord(l.Prefix, word)
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
