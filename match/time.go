package match

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Layout is how a line states its time.
type Layout string

// The layouts.
const (
	RFC3339    Layout = "rfc3339"     // 2026-11-28T10:00:00.5+01:00, also with a blank, also without a zone
	RFC3164    Layout = "rfc3164"     // Nov 28 10:00:00, in local time
	CLF        Layout = "clf"         // [28/Nov/2026:10:00:00 +0100], also without brackets
	NginxError Layout = "nginx-error" // 2026/11/28 10:00:00, in local time
	Epoch      Layout = "epoch"       // 1795860000.123: seconds, or more digits for milliseconds
)

func layouts() []Layout { return []Layout{RFC3339, RFC3164, CLF, NginxError, Epoch} }

// ParseLayout returns the layout called s; "" is none.
func ParseLayout(s string) (Layout, error) {
	if s == "" || slices.Contains(layouts(), Layout(s)) {
		return Layout(s), nil
	}
	names := make([]string, 0, len(layouts()))
	for _, l := range layouts() {
		names = append(names, string(l))
	}
	return "", fmt.Errorf("time %q is not known; want one of %s", s, strings.Join(names, ", "))
}

// Time returns when a line was written, as it says itself. now is needed for a time without a
// year, which is the last one that is not in the future by more than a day.
func (f *Format) Time(line []byte, now time.Time) (time.Time, bool) {
	if f.layout != "" {
		return f.clock.read(f.layout, line, now)
	}
	rest := skipPriority(line)
	if len(rest) > 0 && rest[0] == '{' {
		return jsonTime(rest, now)
	}
	if t, ok := f.clock.read("", bytes.TrimPrefix(rest, []byte("[")), now); ok {
		return t, ok
	}
	if !f.http {
		return time.Time{}, false
	}
	if at := accessTime(line); at >= 0 {
		return f.clock.read("", line[at:], now)
	}
	return time.Time{}, false
}

// lookAhead is more than the number of bytes behind a time that decide where it ends.
const lookAhead = 8

// clock remembers the last time that was read. Many lines have the same.
type clock struct {
	text   [48]byte // the time, and lookAhead bytes
	n      int
	layout Layout
	now, t time.Time
}

// read reads a time at the start of b. Without a layout it may be any but Epoch.
func (c *clock) read(l Layout, b []byte, now time.Time) (time.Time, bool) {
	if c.n > 0 && len(b) >= c.n && string(b[:c.n]) == string(c.text[:c.n]) && l == c.layout && c.isNow(now) {
		return c.t, true
	}
	read := anyTime
	if l != "" {
		read = l.read
	}
	t, rest, ok := read(b, now)
	if n := len(b) - len(rest) + lookAhead; ok && n <= min(len(b), len(c.text)) {
		c.n = copy(c.text[:], b[:n])
		c.layout, c.now, c.t = l, now, t
	}
	return t, ok
}

// isNow reports whether a time without a year or a zone means the same.
func (c *clock) isNow(now time.Time) bool {
	return now.Equal(c.now) && now.Location() == c.now.Location()
}

// accessTime returns where the time of an access log begins, or -1. It is directly before the
// request: a client chooses the name of the user, which may hold a time. HAProxy writes the time
// behind the address, and headers of the client before the request.
func accessTime(line []byte) int {
	head, _, _ := bytes.Cut(line, []byte(`"`))
	find := bytes.Index
	if bytes.HasSuffix(head, []byte("] ")) {
		find = bytes.LastIndex
	}
	if i := find(head, []byte(" [")); i >= 0 {
		return i + len(" [")
	}
	return -1
}

// anyTime reads a time of any layout but Epoch at the start of b.
func anyTime(b []byte, now time.Time) (t time.Time, rest []byte, ok bool) {
	layout := RFC3164
	switch {
	case len(b) < 15:
		return t, b, false
	case b[2] == '/':
		layout = CLF
	case b[4] == '-':
		layout = RFC3339
	case b[4] == '/':
		layout = NginxError
	case isDay(b[:3]) && b[3] == ' ': // [Sat Nov 28 10:00:00.123 2026]
		b = b[4:]
	}
	return layout.read(b, now)
}

func isDay(b []byte) bool {
	i := bytes.Index([]byte("SunMonTueWedThuFriSat"), b)
	return i >= 0 && i%3 == 0
}

// read reads a time at the start of b. rest is what follows it, without one blank.
func (l Layout) read(b []byte, now time.Time) (t time.Time, rest []byte, ok bool) {
	switch l {
	case RFC3339:
		t, rest, ok = readRFC3339(b, now.Location())
	case RFC3164:
		t, rest, ok = readRFC3164(b, now)
	case CLF:
		t, rest, ok = readCLF(b, now.Location())
	case NginxError:
		t, rest, ok = readNginxError(b, now.Location())
	case Epoch:
		t, rest, ok = readEpoch(b)
	}
	return t, bytes.TrimPrefix(rest, []byte(" ")), ok
}

// digits reads a number of exactly n digits at b[at:]. It returns -1 if it is not there.
func digits(b []byte, at, n int) int {
	if at+n > len(b) {
		return -1
	}
	v := 0
	for _, c := range b[at : at+n] {
		if c < '0' || c > '9' {
			return -1
		}
		v = v*10 + int(c-'0')
	}
	return v
}

// date makes a time of fields that were read. A negative one makes it invalid.
func date(y, mon, d, h, m, s int, zone *time.Location) (time.Time, bool) {
	if y < 0 || mon < 1 || mon > 12 || d < 1 || d > 31 || h < 0 || h > 23 || m < 0 || m > 59 || s < 0 || s > 60 {
		return time.Time{}, false
	}
	return time.Date(y, time.Month(mon), d, h, m, s, 0, zone), true
}

// timeOfDay reads 10:00:00 at b[at:].
func timeOfDay(b []byte, at int) (h, m, s int) {
	if at+8 > len(b) || b[at+2] != ':' || b[at+5] != ':' {
		return -1, -1, -1
	}
	return digits(b, at, 2), digits(b, at+3, 2), digits(b, at+6, 2)
}

func month(b []byte, at int) int {
	if at+3 > len(b) {
		return -1
	}
	switch string(b[at : at+3]) {
	case "Jan":
		return 1
	case "Feb":
		return 2
	case "Mar":
		return 3
	case "Apr":
		return 4
	case "May":
		return 5
	case "Jun":
		return 6
	case "Jul":
		return 7
	case "Aug":
		return 8
	case "Sep":
		return 9
	case "Oct":
		return 10
	case "Nov":
		return 11
	case "Dec":
		return 12
	}
	return -1
}

func readRFC3339(b []byte, local *time.Location) (t time.Time, rest []byte, ok bool) {
	if len(b) < 19 || b[4] != '-' || b[7] != '-' || b[10] != 'T' && b[10] != ' ' {
		return t, b, false
	}
	h, m, s := timeOfDay(b, 11)
	fraction, rest := readFraction(b[19:])
	offset, rest, zoned := readZone(rest)
	if zoned {
		local = time.UTC
	}
	t, ok = date(digits(b, 0, 4), digits(b, 5, 2), digits(b, 8, 2), h, m, s, local)
	return t.Add(fraction - offset), rest, ok
}

// readFraction reads .123 or ,123.
func readFraction(b []byte) (time.Duration, []byte) {
	if len(b) < 2 || b[0] != '.' && b[0] != ',' {
		return 0, b
	}
	v, unit, i := time.Duration(0), time.Second, 1
	for ; i < len(b) && b[i] >= '0' && b[i] <= '9'; i++ {
		unit /= 10
		v += unit * time.Duration(b[i]-'0')
	}
	return v, b[i:]
}

// readZone reads Z, +01:00 or +0100, also after a blank.
func readZone(b []byte) (offset time.Duration, rest []byte, ok bool) {
	z := bytes.TrimPrefix(b, []byte(" "))
	if len(z) > 0 && z[0] == 'Z' {
		return 0, z[1:], true
	}
	if len(z) < 5 || z[0] != '+' && z[0] != '-' {
		return 0, b, false
	}
	h, m, n := digits(z, 1, 2), digits(z, 3, 2), 5
	if z[3] == ':' {
		m, n = digits(z, 4, 2), 6
	}
	if h < 0 || m < 0 {
		return 0, b, false
	}
	offset = time.Duration(h)*time.Hour + time.Duration(m)*time.Minute
	if z[0] == '-' {
		offset = -offset
	}
	return offset, z[n:], true
}

// readRFC3164 reads Nov 28 10:00:00, and a year behind it.
func readRFC3164(b []byte, now time.Time) (t time.Time, rest []byte, ok bool) {
	if len(b) < 15 || b[3] != ' ' || b[6] != ' ' {
		return t, b, false
	}
	day := digits(b, 4, 2)
	if b[4] == ' ' {
		day = digits(b, 5, 1)
	}
	h, m, s := timeOfDay(b, 7)
	fraction, rest := readFraction(b[15:])
	if year := digits(rest, 1, 4); year > 0 && rest[0] == ' ' && (len(rest) == 5 || rest[5] == ']' || rest[5] == ' ') {
		t, ok = date(year, month(b, 0), day, h, m, s, now.Location())
		return t.Add(fraction), rest[5:], ok
	}
	t, ok = date(now.Year(), month(b, 0), day, h, m, s, now.Location())
	switch {
	case t.Sub(now) > 24*time.Hour:
		t, ok = date(now.Year()-1, month(b, 0), day, h, m, s, now.Location())
	case now.Sub(t) > 364*24*time.Hour: // a clock that is ahead, on New Year's Eve
		t, ok = date(now.Year()+1, month(b, 0), day, h, m, s, now.Location())
	}
	return t.Add(fraction), rest, ok
}

func readCLF(b []byte, local *time.Location) (t time.Time, rest []byte, ok bool) {
	b = bytes.TrimPrefix(b, []byte("["))
	if len(b) < 20 || b[2] != '/' || b[6] != '/' || b[11] != ':' {
		return t, b, false
	}
	h, m, s := timeOfDay(b, 12)
	fraction, rest := readFraction(b[20:])
	offset, rest, zoned := readZone(rest)
	if zoned {
		local = time.UTC
	}
	t, ok = date(digits(b, 7, 4), month(b, 3), digits(b, 0, 2), h, m, s, local)
	return t.Add(fraction - offset), bytes.TrimPrefix(rest, []byte("]")), ok
}

func readNginxError(b []byte, local *time.Location) (t time.Time, rest []byte, ok bool) {
	if len(b) < 19 || b[4] != '/' || b[7] != '/' || b[10] != ' ' {
		return t, b, false
	}
	h, m, s := timeOfDay(b, 11)
	t, ok = date(digits(b, 0, 4), digits(b, 5, 2), digits(b, 8, 2), h, m, s, local)
	return t, b[19:], ok
}

// readEpoch reads seconds since 1970, with a fraction. Of more digits the last are milliseconds,
// microseconds or nanoseconds.
func readEpoch(b []byte) (t time.Time, rest []byte, ok bool) {
	n := 0
	for n < len(b) && b[n] >= '0' && b[n] <= '9' {
		n++
	}
	unit := map[int]time.Duration{9: time.Second, 10: time.Second, 13: time.Millisecond, 16: time.Microsecond,
		19: time.Nanosecond}[n]
	v := int64(0)
	for _, c := range b[:min(n, 19)] {
		v = v*10 + int64(c-'0')
	}
	if unit == 0 || v < 0 {
		return t, b, false
	}
	perSecond := int64(time.Second / unit)
	fraction, rest := readFraction(b[n:])
	return time.Unix(v/perSecond, v%perSecond*int64(unit)).Add(fraction), rest, true
}

// jsonTime reads the time of a JSON line. The first key that is found counts: a time is no
// reason to hold anybody.
func jsonTime(line []byte, now time.Time) (time.Time, bool) {
	for _, key := range []string{
		`"time"`, `"ts"`, `"timestamp"`, `"@timestamp"`, `"time_iso8601"`, `"time_local"`, `"msec"`, `"StartUTC"`,
		`"start_time"`,
	} {
		i := bytes.Index(line, []byte(key))
		if i < 0 {
			continue
		}
		v, ok := bytes.CutPrefix(bytes.TrimLeft(line[i+len(key):], " "), []byte(":"))
		if !ok {
			continue
		}
		v = bytes.TrimPrefix(bytes.TrimLeft(v, " "), []byte(`"`))
		if t, _, ok := readEpoch(v); ok {
			return t, true
		}
		if t, _, ok := anyTime(v, now); ok {
			return t, true
		}
	}
	return time.Time{}, false
}
