package match

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Filter selects requests. Each of its lists that is not empty must have a member that fits.
type Filter struct {
	Methods  []string
	Statuses []int
	Paths    []Glob
	Hosts    []Glob // in lower case
	Agents   []Glob // in lower case
}

// IsZero reports whether every request fits.
func (f *Filter) IsZero() bool {
	return len(f.Methods)+len(f.Statuses)+len(f.Paths)+len(f.Hosts)+len(f.Agents) == 0
}

// Fits reports whether a request is selected.
func (f *Filter) Fits(r Request) bool {
	if len(f.Statuses) > 0 && !slices.Contains(f.Statuses, r.Status) {
		return false
	}
	isMethod := func(m string) bool { return string(r.Method) == m }
	if len(f.Methods) > 0 && !slices.ContainsFunc(f.Methods, isMethod) {
		return false
	}
	if len(f.Paths) > 0 && !anyFits(f.Paths, cleanPath(r.Path)) {
		return false
	}
	if len(f.Hosts) > 0 && !anyFits(f.Hosts, bytes.ToLower(withoutPort(r.Host))) {
		return false
	}
	return len(f.Agents) == 0 || anyFits(f.Agents, bytes.ToLower(r.Agent))
}

func anyFits(globs []Glob, text []byte) bool {
	return slices.ContainsFunc(globs, func(g Glob) bool { return g.fits(text) })
}

// Glob is a text in which * stands for one or more bytes without a separator, and ** for any
// bytes.
type Glob struct {
	text     string
	elements []element // none: text is literal
}

const maxGlob = 256

// PathGlob reads a pattern for paths. Slashes at the end do not count.
func PathGlob(s string) (Glob, error) {
	if !strings.HasPrefix(s, "/") && !strings.HasPrefix(s, "**") {
		return Glob{}, fmt.Errorf("path %q: want one that begins with / or **", s)
	}
	if rest, ok := strings.CutSuffix(s, "/**"); ok {
		// The rest may be nothing: /admin/** fits /admin, too.
		return newGlob(rest+"**", '/', true)
	}
	return newGlob(strings.TrimRight(s, "/"), '/', false)
}

// HostGlob reads a pattern for hosts.
func HostGlob(s string) (Glob, error) { return newGlob(strings.ToLower(s), '.', false) }

// AgentGlob reads a pattern for user agents.
func AgentGlob(s string) (Glob, error) { return newGlob(strings.ToLower(s), ' ', false) }

// newGlob reads s. With atSlash the ** at its end begins with a slash or is empty.
func newGlob(s string, separator byte, atSlash bool) (Glob, error) {
	if s == "" && !atSlash && separator != '/' || len(s) > maxGlob {
		return Glob{}, fmt.Errorf("%q: want 1 to %d bytes", s, maxGlob)
	}
	g := Glob{text: s}
	if !strings.Contains(s, "*") {
		return g, nil
	}
	one, all := &class{}, invert(&class{})
	one[separator] = true
	one = invert(one)
	for rest := s; rest != ""; {
		text, after, found := strings.Cut(rest, "*")
		if text != "" {
			g.elements = append(g.elements, literal(text))
		}
		if !found {
			break
		}
		if rest = strings.TrimPrefix(after, "*"); strings.HasPrefix(rest, "*") {
			return g, errors.New("three * in a row: want * or **")
		}
		if rest != after {
			g.elements = append(g.elements, field(all, 0))
		} else {
			g.elements = append(g.elements, field(one, 1))
		}
	}
	if atSlash {
		// The text before /** is followed by nothing or by a slash.
		head := s[:len(s)-2]
		g.text, g.elements = head, nil
		if strings.Contains(head, "*") {
			return g, fmt.Errorf("%q: * and a /** at the end together; leave one of them out", s)
		}
		g.elements = []element{literal(head + "/"), field(all, 0)}
	}
	return g, nil
}

// fits reports whether the whole text fits. The time is proportional to its length.
func (g Glob) fits(text []byte) bool {
	if string(text) == g.text {
		return true
	}
	if g.elements == nil {
		return false
	}
	if first := g.elements[0].literal; len(text) < len(first) || string(text[:len(first)]) != first {
		return false
	}
	set, _ := forward(text, 0, g.elements, nil, nil)
	return slices.ContainsFunc(set, func(s span) bool { return s.lo <= len(text) && len(text) <= s.hi })
}

// cleanPath returns a path as a server understands it: escapes are read once, dot segments are
// removed as in RFC 3986, 5.2.4, and slashes in a row and at the end do not count. Most paths are returned as they are.
func cleanPath(path []byte) []byte {
	if bytes.IndexByte(path, '%') >= 0 || bytes.Contains(path, []byte("//")) || bytes.Contains(path, []byte("/.")) {
		path = unescapePath(path)
	}
	return bytes.TrimRight(path, "/")
}

func unescapePath(path []byte) []byte {
	out := make([]byte, 0, len(path))
	for i := 0; i < len(path); i++ {
		c := path[i]
		if c == '%' && i+2 < len(path) {
			if hi, lo := unhex(path[i+1]), unhex(path[i+2]); hi >= 0 && lo >= 0 {
				c = byte(hi<<4 | lo)
				i += 2
			}
		}
		if c == '/' {
			out = withoutDots(out)
		}
		if c != '/' || len(out) == 0 || out[len(out)-1] != '/' {
			out = append(out, c)
		}
	}
	return withoutDots(out)
}

// withoutDots removes a last segment of one dot, and one of two dots with the segment before it.
func withoutDots(path []byte) []byte {
	if rest, ok := bytes.CutSuffix(path, []byte("/..")); ok {
		return rest[:max(bytes.LastIndexByte(rest, '/'), 0)]
	}
	return bytes.TrimSuffix(path, []byte("/."))
}

func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}

func withoutPort(host []byte) []byte {
	if i := bytes.LastIndexByte(host, ':'); i > 0 && bytes.IndexByte(host[i:], ']') < 0 {
		return host[:i]
	}
	return host
}
