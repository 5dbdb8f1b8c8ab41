package lists

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
)

// eachLine calls line for every line of r, and returns their number. A line ends with
// LF, CRLF or CR.
func eachLine(r io.Reader, line func(number int, text string) error) (int, error) {
	sc := bufio.NewScanner(r)
	sc.Buffer(make([]byte, bufSize), maxLine)
	sc.Split(splitLine)
	n := 0
	for sc.Scan() {
		n++
		if err := line(n, sc.Text()); err != nil {
			return n, err
		}
	}
	if errors.Is(sc.Err(), bufio.ErrTooLong) {
		return n, fmt.Errorf("line %d is longer than %d bytes", n+1, maxLine)
	}
	if sc.Err() != nil {
		return n, fmt.Errorf("line %d: %w", n+1, sc.Err())
	}
	return n, nil
}

// splitLine is a bufio.SplitFunc.
func splitLine(data []byte, atEOF bool) (advance int, token []byte, err error) {
	i := bytes.IndexAny(data, "\r\n")
	switch {
	case i < 0 && atEOF && len(data) > 0:
		return len(data), data, nil
	case i < 0, data[i] == '\r' && i+1 == len(data) && !atEOF:
		return 0, nil, nil // a LF may follow
	case data[i] == '\r' && i+1 < len(data) && data[i+1] == '\n':
		return i + 2, data[:i], nil
	}
	return i + 1, data[:i], nil
}

// sample is the start of a text.
type sample struct {
	start []byte   // not yet read by eachLine
	lines []string // whole lines without blanks around them, without blank ones
	data  []string // of them those that are no comments
}

// takeSample reads the start of a text. It returns an error for what can not be a list.
func takeSample(r *bufio.Reader) (*sample, error) {
	start, err := io.ReadAll(io.LimitReader(r, bufSize))
	if err != nil {
		return nil, err
	}
	whole := len(start) < bufSize
	s := &sample{start: start}
	if bytes.HasPrefix(s.start, []byte("SQLite format 3\x00")) {
		return nil, errors.New("this is an SQLite database, not a list; for fail2ban's, " +
			"import the output of `fail2ban-client banned`")
	}
	if bytes.IndexByte(s.start, 0) >= 0 {
		return nil, errors.New("this is binary data, not a list")
	}
	all := bytes.FieldsFunc(s.start, func(c rune) bool { return c == '\r' || c == '\n' })
	if !whole && len(all) > 1 {
		all = all[:len(all)-1]
	}
	for _, line := range all {
		if text := strings.TrimSpace(string(line)); text != "" {
			s.lines = append(s.lines, text)
			if !isComment(text) {
				s.data = append(s.data, text)
			}
		}
	}
	return s, s.page()
}

func (s *sample) rest(r io.Reader) io.Reader { return io.MultiReader(bytes.NewReader(s.start), r) }

// first returns the first line that is no comment.
func (s *sample) first() string {
	if len(s.data) == 0 {
		return ""
	}
	return s.data[0]
}

// any reports whether one of the lines is as f says.
func (s *sample) any(f func(string) bool) bool {
	for _, line := range s.data {
		if f(line) {
			return true
		}
	}
	return false
}

// most reports whether most of the lines are as f says.
func (s *sample) most(f func(string) bool) bool {
	n := 0
	for _, line := range s.data {
		if f(line) {
			n++
		}
	}
	return n > 0 && 2*n > len(s.data)
}

// page returns an error for a web page.
func (s *sample) page() error {
	first := strings.ToLower(s.first())
	isPage := false
	for _, tag := range []string{"<!doctype", "<html", "<head", "<body", "<?xml", "<!--"} {
		isPage = isPage || strings.HasPrefix(first, tag)
	}
	if !isPage {
		return nil
	}
	text := string(s.start)
	lower := strings.ToLower(text)
	from, to := strings.Index(lower, "<title>"), strings.Index(lower, "</title>")
	title := ""
	if from >= 0 && to > from && len(lower) == len(text) {
		title = ", titled " + quote(strings.TrimSpace(text[from+len("<title>"):to]))
	}
	if strings.HasPrefix(first, "<?xml") {
		return fmt.Errorf("this is an XML document%s, not a list", title)
	}
	return fmt.Errorf("this is an HTML page%s, not a list", title)
}

// isComment reports whether all of a line is a comment, in one of the usual forms.
func isComment(line string) bool {
	for _, mark := range []string{"#", ";", "//", "--"} {
		if strings.HasPrefix(line, mark) {
			return true
		}
	}
	return false
}

// cutComment returns a line without its comment, and the comment. A mark in the middle
// of a line counts after a blank only, except for # and ;.
func cutComment(line string) (text, comment string) {
	end, skip := len(line), 0
	if i := strings.IndexAny(line, "#;"); i >= 0 {
		end, skip = i, 1
	}
	for _, mark := range []string{"//", "--"} {
		i := strings.Index(line[:end], mark)
		if i == 0 || i > 0 && (line[i-1] == ' ' || line[i-1] == '\t') {
			end, skip = i, len(mark)
		}
	}
	text = strings.TrimSpace(line[:end])
	if end < len(line) {
		comment = strings.TrimSpace(strings.TrimLeft(line[end+skip:], "#;/- \t"))
	}
	return text, comment
}
