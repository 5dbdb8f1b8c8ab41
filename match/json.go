package match

import (
	"bytes"
	"encoding/json"
)

// value is a member of a JSON object: the names that lead to it with dots between them, and
// its text. Strings are not unescaped.
type value struct {
	path     string
	raw      []byte
	isString bool
}

// readJSON reads one JSON object into f.values: the members of it and of the objects in it,
// but not those of arrays. A key that is there twice is there twice in the result: servers
// that do not escape what they write let a client add keys.
func (f *Format) readJSON(line []byte) bool {
	f.values = f.values[:0]
	if !json.Valid(line) {
		return false
	}
	r := jsonReader{text: line, f: f}
	r.blanks()
	return r.peek() == '{' && r.object("", 0)
}

// jsonReader reads text that is valid JSON.
type jsonReader struct {
	text []byte
	at   int
	f    *Format
}

// deepest is the depth of objects that is read.
const deepest = 8

func (r *jsonReader) peek() byte {
	if r.at >= len(r.text) {
		return 0
	}
	return r.text[r.at]
}

func (r *jsonReader) blanks() {
	for r.at < len(r.text) && r.text[r.at] <= ' ' {
		r.at++
	}
}

// object reads the members of an object.
func (r *jsonReader) object(path string, depth int) bool {
	r.at++ // the brace
	for {
		r.blanks()
		switch r.peek() {
		case '}':
			r.at++
			return true
		case ',':
			r.at++
			continue
		case '"':
		default:
			return false
		}
		key, rest, ok := quoted(r.text[r.at:])
		if !ok {
			return false
		}
		r.at = len(r.text) - len(rest)
		r.blanks()
		r.at++ // the colon
		r.blanks()
		if !r.member(path+string(unescape(key)), depth) {
			return false
		}
	}
}

// member reads the value of a key.
func (r *jsonReader) member(path string, depth int) bool {
	switch c := r.peek(); c {
	case '"':
		raw, rest, ok := quoted(r.text[r.at:])
		r.at = len(r.text) - len(rest)
		r.f.values = append(r.f.values, value{path, raw, true})
		return ok
	case '{':
		if depth < deepest {
			return r.object(path+".", depth+1)
		}
		return r.skip()
	case '[':
		return r.skip()
	}
	start := r.at
	for c := r.peek(); c > ' ' && c != ',' && c != '}'; c = r.peek() {
		r.at++
	}
	r.f.values = append(r.f.values, value{path, r.text[start:r.at], false})
	return true
}

// skip passes an array or an object.
func (r *jsonReader) skip() bool {
	depth := 0
	for r.at < len(r.text) {
		switch r.text[r.at] {
		case '"':
			_, rest, ok := quoted(r.text[r.at:])
			if !ok {
				return false
			}
			r.at = len(r.text) - len(rest)
			continue
		case '[', '{':
			depth++
		case ']', '}':
			depth--
		}
		r.at++
		if depth == 0 {
			return true
		}
	}
	return false
}

// get returns the values of a key without those that are empty or "-".
func (f *Format) get(path string) (all []value) {
	for _, v := range f.values {
		if v.path == path && len(v.raw) > 0 && string(v.raw) != "-" && string(v.raw) != "null" {
			all = append(all, v)
		}
	}
	return all
}

// text returns the value of the first of keys that is there once.
func (f *Format) text(keys ...string) []byte {
	for _, k := range keys {
		if all := f.get(k); len(all) == 1 {
			return unescape(all[0].raw)
		}
	}
	return nil
}

// unescape returns the text of a string. Most have no backslash and are returned as they are.
func unescape(raw []byte) []byte {
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw
	}
	var s string
	if err := json.Unmarshal(append(append([]byte{'"'}, raw...), '"'), &s); err != nil {
		return raw
	}
	return []byte(s)
}

// address reads the address under the first of keys that is there. Two different ones under
// the same key are ambiguous.
func (f *Format) address(r *reading, keys ...string) {
	for _, k := range keys {
		all := f.get(k)
		for _, v := range all {
			if a, ok := parseHostPort(unescape(v.raw)); ok {
				r.add(a, &pattern{kind: Other})
			} else {
				r.name = true
			}
		}
		if len(all) > 0 {
			return
		}
	}
	r.name = true
}

// status reads the status code. It returns false if there are two.
func (f *Format) status(keys ...string) (int, bool) {
	for _, k := range keys {
		all := f.get(k)
		if len(all) == 0 {
			continue
		}
		n, rest := number(all[0].raw)
		return n, len(all) == 1 && n > 0 && len(rest) == 0
	}
	return 0, true
}
