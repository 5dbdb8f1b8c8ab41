package syslog

import "bytes"

// Text returns the text of a message: without the head of RFC 3164 or RFC 5424, and without the
// ends that programs add. A message without a head is returned as it is.
func Text(b []byte) []byte {
	b = bytes.TrimRight(b, "\x00\r\n")
	rest, ok := skipPriority(b)
	if !ok {
		return b
	}
	if after, ok := bytes.CutPrefix(rest, []byte("1 ")); ok {
		if text, ok := skip5424(after); ok {
			return text
		}
		return rest
	}
	return skip3164(rest)
}

// Program returns the name of the program in the head of a message, or nothing if it has none.
func Program(b []byte) []byte {
	text := Text(b)
	b = bytes.TrimRight(b, "\x00\r\n")
	rest, ok := skipPriority(b[:len(b)-len(text)])
	if !ok {
		return nil
	}
	words := bytes.Fields(rest)
	if bytes.HasPrefix(rest, []byte("1 ")) {
		if len(words) < 4 {
			return nil
		}
		return words[3] // behind the version, the time and the host
	}
	if n := len(words); n > 0 && isTag(words[n-1]) {
		name, _, _ := bytes.Cut(words[n-1][:len(words[n-1])-1], []byte("["))
		return name
	}
	return nil
}

// skipPriority removes <13>.
func skipPriority(b []byte) (rest []byte, ok bool) {
	end := bytes.IndexByte(b[:min(len(b), 5)], '>')
	if end < 2 || b[0] != '<' {
		return b, false
	}
	for _, c := range b[1:end] {
		if c < '0' || c > '9' {
			return b, false
		}
	}
	return b[end+1:], true
}

// skip3164 removes "Nov 28 10:00:00 host program[1]: ". Programs leave the host out, and some the
// time.
func skip3164(b []byte) []byte {
	if len(b) > 16 && b[3] == ' ' && b[6] == ' ' && b[9] == ':' && b[12] == ':' && b[15] == ' ' {
		b = b[16:]
	} else if end := bytes.IndexByte(b, ' '); end >= 19 && b[4] == '-' && b[10] == 'T' {
		b = b[end+1:] // 2026-11-28T10:00:00+00:00
	}
	for range 2 {
		word, rest, ok := bytes.Cut(b, []byte(" "))
		if !ok {
			return b
		}
		if isTag(word) {
			return rest
		}
		if next, _, _ := bytes.Cut(rest, []byte(" ")); !isTag(next) {
			return b
		}
		b = rest // the host
	}
	return b
}

// isTag reports whether a word is program: or program[1]:.
func isTag(word []byte) bool {
	name, ok := bytes.CutSuffix(word, []byte(":"))
	if !ok || len(name) == 0 || len(name) > 64 {
		return false
	}
	for _, c := range name {
		if c <= ' ' || c == '"' || c == ':' || c >= 0x7f {
			return false
		}
	}
	return name[0] < '0' || name[0] > '9'
}

// skip5424 removes "TIME HOST PROGRAM ID MESSAGE-ID DATA " behind the version.
func skip5424(b []byte) (text []byte, ok bool) {
	for range 5 {
		if _, b, ok = bytes.Cut(b, []byte(" ")); !ok {
			return nil, false
		}
	}
	if b, ok = skipData(b); !ok {
		return nil, false
	}
	b = bytes.TrimPrefix(b, []byte(" "))
	return bytes.TrimPrefix(b, []byte("\xef\xbb\xbf")), true
}

// skipData removes "-" or [id name="value"]…. A backslash escapes a quote in a value.
func skipData(b []byte) (rest []byte, ok bool) {
	if after, ok := bytes.CutPrefix(b, []byte("-")); ok {
		return after, true
	}
	quoted := false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case c == '\\' && quoted:
			i++
		case c == '"':
			quoted = !quoted
		case c == ']' && !quoted && (i+1 == len(b) || b[i+1] != '['):
			return b[i+1:], b[0] == '['
		}
	}
	return nil, false
}
