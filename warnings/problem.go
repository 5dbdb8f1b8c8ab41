package warnings

import (
	"strings"
	"sync/atomic"
)

// Problem is the text of a problem, empty while there is none.
type Problem struct{ text atomic.Pointer[string] }

// Set records err, or the end of the problem if err is nil.
func (p *Problem) Set(err error) {
	text := ""
	if err != nil {
		text = OneLine(err)
	}
	p.text.Store(&text)
}

// String returns the text.
func (p *Problem) String() string {
	if text := p.text.Load(); text != nil {
		return *text
	}
	return ""
}

// OneLine returns the text of an error, which may be of several lines, in one.
func OneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }
