package match

import "bytes"

// accessFormats are access logs whose first field is the address.
func accessFormats() []definition {
	return []definition{
		{name: "nginx-access", aliases: []string{"nginx-combined"}, http: true, parse: parseAccess},
		{name: "apache-access", aliases: []string{"apache-combined"}, http: true, parse: parseAccess},
		// A browser asks without a name first, gets 401, and then asks the user.
		{name: "traefik-clf", aliases: []string{"traefik-auth"}, http: true, parse: parseNamed},
		{name: "haproxy", http: true, programs: []string{"haproxy"},
			parse: func(_ *Format, line []byte) Result { return parseHAProxy(line) }},
	}
}

func parseAccess(_ *Format, line []byte) Result { return parseCombined(line, false) }

func parseNamed(_ *Format, line []byte) Result { return parseCombined(line, true) }

// parseCombined reads the common log format, with or without what follows the size. Servers
// escape quotes in the name of the user and in the request.
func parseCombined(line []byte, needUser bool) Result {
	first, rest, _ := bytes.Cut(line, []byte(" "))
	addr, ok := parseAddr(first)
	if !ok && len(first) > 0 {
		// The virtual host comes first in some configurations of Apache.
		host := bytes.IndexByte(first, ':')
		second, after, _ := bytes.Cut(rest, []byte(" "))
		if addr, ok = parseAddr(second); ok && (host > 0 || !bytes.HasPrefix(after, []byte("- "))) {
			rest = after
		} else {
			ok = false
		}
	}
	_, rest, _ = bytes.Cut(rest, []byte(" ")) // the identity, always "-"
	quote := bytes.IndexByte(rest, '"')
	if quote < 0 {
		return Result{}
	}
	user := beforeTime(rest[:quote])
	request, rest, closed := quoted(rest[quote:])
	status, _ := number(bytes.TrimLeft(rest, " "))
	if user == nil || !closed || status < 100 || status > 999 {
		return Result{}
	}
	if !ok {
		return Result{Kind: NoAddress}
	}
	r := Result{Kind: Other, Address: addr, Count: 1, HTTP: Request{Status: status}}
	if string(user) != "-" {
		r.User = user
	}
	r.HTTP.Method, r.HTTP.Path = splitRequest(request)
	_, rest = nextQuoted(rest) // the referrer
	r.HTTP.Agent, rest = nextQuoted(rest)
	if !needUser {
		r.HTTP.Forwarded, _ = nextQuoted(rest) // as the format "main" of nginx has it
	}
	if isFailure(status) && !(needUser && status == 401 && r.User == nil) {
		r.Kind = Failure
	}
	return r
}

// isFailure reports whether a status is held against a client: it asked for something that it
// may not have, or that is not there. 408 and 499 mean that it was slow or went away.
func isFailure(status int) bool {
	return status >= 400 && status < 500 && status != 408 && status != 499
}

// beforeTime returns the name before " [28/Nov/2026:10:00:00 +0000] ", or nil.
func beforeTime(b []byte) []byte {
	b, ok := bytes.CutSuffix(b, []byte("] "))
	open := bytes.LastIndexByte(b, '[')
	if !ok || open < 2 || b[open-1] != ' ' || len(b)-open < 20 {
		return nil
	}
	return b[:open-1]
}

// quoted reads a string in quotes at the start of b. A backslash escapes a quote.
func quoted(b []byte) (inner, rest []byte, ok bool) {
	if len(b) == 0 || b[0] != '"' {
		return nil, b, false
	}
	end := bytes.IndexByte(b[1:], '"') + 1
	if end == 0 {
		return nil, b, false
	}
	if bytes.IndexByte(b[:end], '\\') < 0 {
		return b[1:end], b[end+1:], true
	}
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return b[1:i], b[i+1:], true
		}
	}
	return nil, b, false
}

// nextQuoted returns the next string in quotes, and what follows it.
func nextQuoted(b []byte) (inner, rest []byte) {
	i := bytes.IndexByte(b, '"')
	if i < 0 {
		return nil, nil
	}
	inner, rest, _ = quoted(b[i:])
	return inner, rest
}

// splitRequest returns the method and the path without its query.
func splitRequest(request []byte) (method, path []byte) {
	method, rest, ok := bytes.Cut(request, []byte(" "))
	if !ok {
		return nil, nil
	}
	path, _, _ = bytes.Cut(rest, []byte(" "))
	return method, withoutQuery(path)
}

func withoutQuery(path []byte) []byte {
	path, _, _ = bytes.Cut(path, []byte("?"))
	return path
}

// parseHAProxy reads a line of HAProxy's option httplog. The address and the port come first,
// without brackets around an IPv6 address. So a port is always there.
func parseHAProxy(line []byte) Result {
	message, ok := head([]string{"haproxy"}, nil)(line)
	if !ok {
		return Result{}
	}
	first, rest, ok := bytes.Cut(message, []byte(" ["))
	colon := bytes.LastIndexByte(first, ':')
	if !ok || colon < 0 {
		return Result{}
	}
	port, left := number(first[colon+1:])
	if port < 0 || len(left) > 0 {
		return Result{}
	}
	// [time] frontend backend/server timers status bytes cookies flags counts counts "request"
	var status int
	fields := bytes.SplitN(rest, []byte(" "), 6)
	if len(fields) == 6 {
		status, left = number(fields[4])
	}
	if len(fields) < 6 || len(left) > 0 || status < 100 || status > 999 {
		return Result{}
	}
	addr, ok := parseAddr(bytes.Trim(first[:colon], "[]"))
	if !ok {
		return Result{Kind: NoAddress}
	}
	r := Result{Kind: Other, Address: addr, Count: 1, HTTP: Request{Status: status}}
	if i := bytes.IndexByte(fields[5], '"'); i >= 0 {
		request, _, _ := quoted(fields[5][i:])
		r.HTTP.Method, r.HTTP.Path = splitRequest(request)
	}
	if isFailure(status) {
		r.Kind = Failure
	}
	return r
}
