// Package match finds the offender in a line of a log.
//
// Much of a line is the choice of a client: its user name, path or referrer. A client may put
// the address of a stranger there, with the words around it that the server writes. So each
// pattern is tried with every address of the line. If two different addresses fit, the line
// is ambiguous, and it is held against nobody. Fields have types that the server guarantees,
// such as "no colon": they leave most lines only one reading.
//
// The package has no clock, opens no file and resolves no name. The time for a line is
// proportional to its length.
package match

import (
	"bytes"
	"net/netip"
	"slices"
)

// Kind says what a line means.
type Kind uint8

// The kinds.
const (
	Unread    Kind = iota // no pattern fits
	Failure               // the address is held responsible
	Success               // a login
	Other                 // the format reads the line; it is neither of the two
	Ambiguous             // two different addresses fit
	NoAddress             // a host name or nothing is where the address should be
	TooLong               // the line is so long that a server may have cut it
)

// String returns the name that paraxialctl prints.
func (k Kind) String() string {
	return [...]string{"unread", "failure", "success", "other", "ambiguous", "no_address", "too_long"}[k]
}

// Result is what was read in one line. Its slices are parts of the line.
type Result struct {
	Kind    Kind
	Address netip.Addr // invalid if nobody can be named
	User    []byte     // the name that the client gave, if it is read
	Count   int        // how many events the line stands for
	Pattern int        // which of the patterns of a user fits, from 0
	End     bool       // of a connection, whose failures may have had lines of their own; package events counts it
	HTTP    Request    // for access logs
}

// Request is the request in a line of an access log. A field that the log does not have is
// empty.
type Request struct {
	Method, Path, Host, Agent []byte
	Status                    int
	// Forwarded is the value of X-Forwarded-For or a header like it.
	Forwarded []byte
}

// Held returns the address that the line is held against. It is invalid if that is nobody.
func (r Result) Held() netip.Addr {
	if r.Kind == Failure {
		return r.Address
	}
	return netip.Addr{}
}

// Longest is the length of the longest line that is read.
const Longest = 16 << 10

// cutAt is the length of a message from which on a format does not read it if the client's
// text comes before the address. Syslog daemons and servers cut long messages, some at 1024
// bytes. A client can choose the length of a name such that the cut removes its own address
// and leaves the one in the name.
const cutAt = 1000

// Format reads the lines of one kind of log. It may be used by one goroutine at a time.
type Format struct {
	name     string
	longest  int
	programs []string                                    // the names in the syslog head; none: any
	head     func(line []byte) (message []byte, ok bool) // nil: the line is the message
	parse    func(f *Format, line []byte) Result         // nil: by patterns
	byFirst  [256]bucket                                 // by the first byte of the message
	rest     group                                       // those that begin with a field
	added    int                                         // patterns
	layout   Layout                                      // of the time, if the user has named one
	http     bool
	scratch  scratch
	clock    clock
	values   []value // of a JSON line
}

// Name returns the name of the format.
func (f *Format) Name() string { return f.name }

// IsHTTP reports whether the lines are of requests.
func (f *Format) IsHTTP() bool { return f.http }

// Reads reports whether the format is for messages of a program. A message of another one may be
// all the text of a client. An empty name is that of a message without one.
func (f *Format) Reads(program []byte) bool {
	return len(f.programs) == 0 || len(program) == 0 || isTag(append(slices.Clone(program), ':'), f.programs)
}

// Match reads a line, without its line end.
func (f *Format) Match(line []byte) Result {
	line = bytes.TrimSuffix(line, []byte("\r"))
	if len(line) > f.longest || bytes.IndexByte(line, '\n') >= 0 {
		return Result{Kind: TooLong}
	}
	if f.parse != nil {
		return f.parse(f, line)
	}
	return f.matchPatterns(line)
}

func (f *Format) matchPatterns(line []byte) Result {
	message, ok := line, true
	if f.head != nil {
		message, ok = f.head(line)
	}
	if !ok || len(message) == 0 {
		return Result{}
	}
	message, count := repeated(message)
	var r reading
	f.scratch.known = 0
	b := &f.byFirst[message[0]]
	b.short.match(message, &r, &f.scratch)
	if len(b.long) > 0 && len(message) >= beginning {
		b.long[[beginning]byte(message[:beginning])].match(message, &r, &f.scratch)
	}
	f.rest.match(message, &r, &f.scratch)
	return r.result(count)
}

func (r *reading) result(count int) Result {
	switch {
	case r.ambiguous, r.found && r.name:
		return Result{Kind: Ambiguous}
	case r.found:
		return Result{Kind: r.kind, Address: r.addr, User: r.user, Count: count, Pattern: r.pattern, End: r.end}
	case r.name:
		return Result{Kind: NoAddress}
	}
	return Result{}
}

// repeated removes the words of rsyslog around a message that came several times.
func repeated(message []byte) (inner []byte, count int) {
	rest, ok := bytes.CutPrefix(message, []byte("message repeated "))
	if !ok {
		return message, 1
	}
	n, rest := number(rest)
	rest, ok = bytes.CutPrefix(rest, []byte(" times: [ "))
	rest, closed := bytes.CutSuffix(rest, []byte("]"))
	if !ok || !closed || n < 1 || len(rest) == 0 {
		return message, 1
	}
	return rest, n
}

// number reads a decimal number of up to six digits at the start of b. It returns -1 if there
// is none.
func number(b []byte) (n int, rest []byte) {
	i := 0
	for i < len(b) && i < 6 && b[i] >= '0' && b[i] <= '9' {
		n = n*10 + int(b[i]-'0')
		i++
	}
	if i == 0 {
		return -1, b
	}
	return n, b[i:]
}
