package match

import (
	"bytes"
	"slices"
)

// head returns a function that removes the head of syslog from a line: a priority, a time, a
// host, one of programs, and one of strip. A line that does not begin with a time is a message without a
// head, as the journal has it. The program must be where syslog writes it: a client may write
// the name of another program into the message of a third.
func head(programs, strip []string) func([]byte) ([]byte, bool) {
	return func(line []byte) ([]byte, bool) {
		rest, timed := skipTime(skipPriority(line))
		if !timed {
			return stripWords(line, strip), true
		}
		// The host is missing in some files.
		word, after, _ := bytes.Cut(rest, []byte(" "))
		if !isTag(word, programs) {
			word, after, _ = bytes.Cut(after, []byte(" "))
			if !isTag(word, programs) {
				return nil, false
			}
		}
		return stripWords(skipID(after), strip), true
	}
}

func stripWords(message []byte, words []string) []byte {
	for _, w := range words {
		if len(message) > len(w) && string(message[:len(w)]) == w {
			return message[len(w):]
		}
	}
	return message
}

// skipPriority removes "<38>", and the version of RFC 5424.
func skipPriority(line []byte) []byte {
	if len(line) == 0 || line[0] != '<' {
		return line
	}
	n, rest := number(line[1:])
	if n < 0 || len(rest) == 0 || rest[0] != '>' {
		return line
	}
	return bytes.TrimPrefix(rest[1:], []byte("1 "))
}

// skipTime removes "Nov 28 10:00:00 " or "2026-11-28T10:00:00.123456+00:00 ".
func skipTime(line []byte) (rest []byte, ok bool) {
	if len(line) >= 20 && line[4] == '-' && line[7] == '-' && line[13] == ':' {
		end := bytes.IndexByte(line, ' ')
		switch {
		case end == 10: // 2026-11-28 10:00:00
			if next := bytes.IndexByte(line[11:], ' '); next >= 8 {
				return line[12+next:], true
			}
		case end >= 19:
			return line[end+1:], true
		}
		return line, false
	}
	if len(line) < 15 || line[3] != ' ' || month(line, 0) < 0 {
		return line, false
	}
	day, rest := number(bytes.TrimLeft(line[4:], " "))
	if day < 0 || len(rest) < 10 || rest[0] != ' ' || rest[3] != ':' || rest[6] != ':' || rest[9] != ' ' {
		return line, false
	}
	return rest[10:], true
}

// isTag reports whether word is "program:", "program[123]:" or "[program]:". Of a program with a
// slash, such as postfix/smtpd, the part before it counts.
func isTag(word []byte, programs []string) bool {
	name, ok := bytes.CutSuffix(word, []byte(":"))
	if !ok || len(name) == 0 {
		return false
	}
	if name[0] == '[' && name[len(name)-1] == ']' {
		name = name[1 : len(name)-1]
	} else if i := bytes.IndexByte(name, '['); i >= 0 && name[len(name)-1] == ']' {
		name = name[:i]
	}
	if i := bytes.IndexByte(name, '/'); i >= 0 {
		name = name[:i]
	}
	return slices.ContainsFunc(programs, func(p string) bool { return string(name) == p })
}

// skipID removes "[ID 800047 auth.info] ", which Solaris writes.
func skipID(message []byte) []byte {
	rest, ok := bytes.CutPrefix(message, []byte("[ID "))
	if !ok {
		return message
	}
	if _, after, ok := bytes.Cut(rest, []byte("] ")); ok {
		return after
	}
	return message
}
