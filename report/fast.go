package report

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"strconv"
	"time"
	"unicode/utf8"
)

// Most questions and events are flat JSON objects without escapes. Reading these by hand costs a
// quarter of encoding/json, which reads all others.

// decodeQuestion reads a line of a stream.
func decodeQuestion(line []byte) (q question, err error) {
	if fastQuestion(&q, trim(line)) {
		return q, nil
	}
	q = question{}
	return q, json.Unmarshal(line, &q)
}

// trim removes what JSON takes for blanks around a line.
func trim(line []byte) []byte { return bytes.Trim(line, " \t\r\n") }

func fastQuestion(q *question, line []byte) bool {
	if inner, ok := enclosed(line, `{"rate":`); ok {
		q.Rate = new(Event)
		return fastEvent(q.Rate, inner)
	}
	if inner, ok := enclosed(line, `{"event":`); ok {
		q.Event = new(Event)
		return fastEvent(q.Event, inner)
	}
	if inner, ok := enclosed(line, `{"verdict":`); ok {
		q.Verdict = new(netip.Addr)
		return fastAddr(q.Verdict, inner)
	}
	return false
}

// enclosed returns what is between a beginning and a closing brace.
func enclosed(line []byte, begin string) ([]byte, bool) {
	if len(line) < len(begin)+1 || string(line[:len(begin)]) != begin || line[len(line)-1] != '}' {
		return nil, false
	}
	return line[len(begin) : len(line)-1], true
}

// decodeEvent reads a line of events.
func decodeEvent(line []byte) (e Event, err error) {
	if fastEvent(&e, trim(line)) {
		return e, nil
	}
	e = Event{}
	return e, json.Unmarshal(line, &e)
}

// fastEvent reads a flat object. It returns false for anything that needs a full parser.
func fastEvent(e *Event, data []byte) bool {
	inner, ok := enclosed(data, "{")
	for ok && len(inner) > 0 {
		var key, value []byte
		if key, value, inner, ok = pair(inner); ok {
			ok = e.set(key, value)
		}
	}
	return ok
}

// pair reads a key with its value, and the comma behind them.
func pair(data []byte) (key, value, rest []byte, ok bool) {
	if key, rest, ok = plainString(data); !ok || len(rest) == 0 || rest[0] != ':' {
		return nil, nil, nil, false
	}
	rest = rest[1:]
	if len(rest) > 0 && rest[0] == '"' {
		text, after, plain := plainString(rest)
		value, rest, ok = rest[:len(text)+2*min(1, len(rest))], after, plain
	} else {
		end := bytes.IndexByte(rest, ',')
		if end < 0 {
			end = len(rest)
		}
		value, rest = rest[:end], rest[end:]
	}
	switch {
	case !ok:
		return nil, nil, nil, false
	case len(rest) == 0:
		return key, value, nil, true
	case rest[0] != ',' || len(rest) == 1:
		return nil, nil, nil, false
	}
	return key, value, rest[1:], true
}

// plainString reads a string without escapes.
func plainString(data []byte) (text, rest []byte, ok bool) {
	if len(data) == 0 || data[0] != '"' {
		return nil, nil, false
	}
	ascii := true
	for i := 1; i < len(data); i++ {
		switch c := data[i]; {
		case c == '"':
			text = data[1:i]
			return text, data[i+1:], ascii || utf8.Valid(text)
		case c == '\\' || c < ' ':
			return nil, nil, false
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	return nil, nil, false
}

// set sets a field from a value as it is in JSON.
func (e *Event) set(key, value []byte) bool {
	var field *string
	switch string(key) {
	case "address":
		return fastAddr(&e.Address, value)
	case "points":
		n, err := strconv.Atoi(string(value))
		e.Points = n
		return err == nil && string(strconv.AppendInt(nil, int64(n), 10)) == string(value)
	case "time":
		return len(value) > 0 && value[0] == '"' && e.Time.UnmarshalJSON(value) == nil
	case "success":
		e.Success = string(value) == "true"
		return e.Success || string(value) == "false"
	case "end":
		e.End = string(value) == "true"
		return e.End || string(value) == "false"
	case "rule":
		field = &e.Rule
	case "user":
		field = &e.User
	case "path":
		field = &e.Path
	case "text":
		field = &e.Text
	case "where":
		field = &e.Where
	default:
		return false
	}
	text, rest, ok := plainString(value)
	*field = string(text)
	return ok && len(rest) == 0
}

func fastAddr(a *netip.Addr, value []byte) bool {
	text, rest, ok := plainString(value)
	if !ok || len(rest) > 0 || len(text) == 0 {
		return false
	}
	var err error
	*a, err = netip.ParseAddr(string(text))
	return err == nil
}

// appendVerdict appends v as encoding/json writes it.
func appendVerdict(b []byte, v Verdict) []byte {
	b = append(b, `{"address":"`...)
	if v.Address.IsValid() {
		b = v.Address.AppendTo(b)
	}
	b = appendText(append(b, `","verdict":`...), v.Verdict)
	b = appendText(append(b, `,"origin":`...), v.Origin)
	if !v.Until.IsZero() {
		b = v.Until.AppendFormat(append(b, `,"until":"`...), time.RFC3339Nano)
		b = append(b, '"')
	}
	if v.Points != 0 {
		b = strconv.AppendInt(append(b, `,"points":`...), int64(v.Points), 10)
	}
	if v.Limit != 0 {
		b = strconv.AppendInt(append(b, `,"limit":`...), int64(v.Limit), 10)
	}
	b = append(b, `,"tags":[`...)
	for n, tag := range v.Tags {
		if n > 0 {
			b = append(b, ',')
		}
		b = appendText(b, tag)
	}
	return append(b, "]}"...)
}

// appendText appends a string as JSON.
func appendText(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			quoted, _ := json.Marshal(s) // cannot fail
			return append(b, quoted...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}
