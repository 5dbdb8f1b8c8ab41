package match

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
)

// reference reads a message as the package promises, in the plainest way: each pattern of a
// format is tried alone with every part of the text that is an address.
type reference struct{ patterns []pattern }

func newReference(d definition) reference {
	r := reference{d.patterns()}
	for i := range r.patterns {
		r.patterns[i].order = i
	}
	return r
}

func (r reference) read(message []byte) Result {
	message, count := repeated(message)
	var found Result
	addrs := map[netip.Addr]bool{}
	name := false
	for i := range r.patterns {
		p := &r.patterns[i]
		if len(p.left) > 0 && !bytes.HasPrefix(message, p.left[0].search) || !p.mayEnd(message) {
			continue
		}
		for start := range len(message) + 1 {
			if !whole(message[:start], p.left) {
				continue
			}
			fits := false
			for end := start; end <= addressEnd(message, start); end++ {
				a, ok := parseAddr(message[start:end])
				if !ok || !isBoundary(message, end, p.behind()) || !whole(message[end:], p.right) {
					continue
				}
				fits = true
				if len(addrs) == 0 {
					found = Result{Kind: p.kind, Address: a, Count: count, End: p.end}
					found.User = p.capture(message, start, end)
				}
				addrs[a] = true
			}
			end := start
			for end < len(message) && isNameByte(message[end]) {
				end++
			}
			isName := end > start && message[start] != '-' && bytes.ContainsFunc(message[start:end], unicode.IsLetter)
			name = name || isName && !fits && whole(message[end:], p.right)
		}
	}
	switch {
	case len(addrs) > 1 || len(addrs) == 1 && name:
		return Result{Kind: Ambiguous}
	case name:
		return Result{Kind: NoAddress}
	}
	return found
}

// whole reports whether elements match the whole text.
func whole(text []byte, elements []element) bool {
	if len(elements) == 0 {
		return len(text) == 0
	}
	if last := elements[len(elements)-1]; !bytes.HasSuffix(text, last.search) {
		return false // the rest would take most of the time
	}
	e, rest := elements[0], elements[1:]
	if e.class == nil {
		return len(text) >= len(e.literal) && string(text[:len(e.literal)]) == e.literal &&
			whole(text[len(e.literal):], rest)
	}
	for n := 0; ; n++ {
		if n >= e.min && whole(text[n:], rest) {
			return true
		}
		if n == len(text) || !e.class[text[n]] {
			return false
		}
	}
}

// TestReference: the matcher reads lines of the words of the formats, with addresses everywhere,
// as the reference does. They have many users, repeated words, host names and half addresses.
func TestReference(t *testing.T) {
	kinds := map[Kind]int{}
	for n, d := range definitions() {
		if d.parse != nil {
			continue
		}
		random := rand.New(rand.NewPCG(uint64(n), 3))
		ref, f := newReference(d), d.build()
		words := wordsOf(ref.patterns)
		for range 200 {
			line := []byte(composed(random, ref.patterns[random.IntN(len(ref.patterns))], words))
			if len(line) > min(f.longest, 250) || len(line) == 0 {
				continue // the reference takes too long
			}
			message, ok := line, true
			if f.head != nil {
				message, ok = f.head(line)
			}
			if !ok || len(message) == 0 {
				continue
			}
			got, want := f.Match(line), ref.read(message)
			kinds[got.Kind]++
			if got.Kind != want.Kind || got.Address != want.Address || string(got.User) != string(want.User) ||
				got.Count != want.Count || got.End != want.End {
				t.Fatalf("%s: got %+v, want %+v\n%q", d.name, got, want, line)
			}
		}
	}
	t.Log(kinds)
	for _, k := range []Kind{Unread, Failure, Success, Other, Ambiguous, NoAddress} {
		if kinds[k] < 10 {
			t.Errorf("%d lines are %s: the lines test too little", kinds[k], k)
		}
	}
}

func wordsOf(patterns []pattern) []string {
	words := []string{stranger, client, stranger + ":22", "[" + stranger + "]", "a", " ", "gw.example", "2001:db8::5",
		"fe80::1%eth0", "::ffff:192.0.2.4", "7", "-", "4711", ":", "192.0.2.4.5", "192.0.2.400", "x192.0.2.4", "bob"}
	for _, p := range patterns {
		for _, e := range slices.Concat(p.left, p.right) {
			if e.literal != "" && !slices.Contains(words, e.literal) {
				words = append(words, e.literal)
			}
		}
	}
	return words
}

// composed returns a line of p. Its fields have bytes of their class and any words.
func composed(random *rand.Rand, p pattern, words []string) string {
	var b strings.Builder
	for i, e := range slices.Concat(p.left, []element{{}}, p.right) {
		switch {
		case i == len(p.left):
			at := []string{client, client, client, stranger, "gw.example", "2001:db8::7", stranger + ":5", ""}
			b.WriteString(at[random.IntN(len(at))])
		case random.IntN(80) == 0: // is missing
		case e.class == nil:
			b.WriteString(e.literal)
		default:
			field(e.class, e.min).fill(&b, random, words)
		}
	}
	return b.String()
}

func (e element) fill(b *strings.Builder, random *rand.Rand, words []string) {
	for range e.min + random.IntN(3) {
		word := words[random.IntN(len(words))]
		if !strings.ContainsFunc(word, func(r rune) bool { return !e.class[byte(r)] }) || random.IntN(20) == 0 {
			b.WriteString(word)
			continue
		}
		for c := byte(' ' + random.IntN(90)); ; c = ' ' + (c+1-' ')%90 {
			if e.class[c] {
				b.WriteByte(c)
				break
			}
		}
	}
}

// TestClock: a time that is remembered is the one that is read anew.
func TestClock(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 5))
	pick := func(s ...string) string { return s[random.IntN(len(s))] }
	nows := []time.Time{time.Date(2026, 1, 1, 0, 0, 30, 0, time.UTC),
		time.Date(2026, 1, 1, 0, 0, 30, 0, time.FixedZone("east", 3600)),
		time.Date(2026, 12, 31, 23, 0, 0, 0, time.UTC)}
	for _, name := range []string{"sshd", "nginx-access", "apache-error"} {
		f, err := New(name)
		if err != nil {
			t.Fatal(err)
		}
		read := 0
		for range 20_000 {
			at := pick("Dec 31 23:59:59", "Jan  1 00:00:00", "Jan  1 00:00:00.5", "Jan  1 00:00:00 2025",
				"2026-01-01T00:00:00", "2026-01-01 00:00:00,25", "2026/01/01 00:00:00", "01/Jan/2026:00:00:00",
				"Thu Jan 01 00:00:00.5 2026")
			line := pick("", "<38>", "[", "192.0.2.1 - - [") + at +
				pick("", "Z", " Z", " +0100", "+01:00", "+0130", " 2024") +
				pick("", "]", " ", "] ") + pick("", "h", " h sshd[1]: x", `"GET / HTTP/1.1" 404 9`, " 2024")
			now := nows[random.IntN(len(nows))]
			fresh := *f
			fresh.clock = clock{}
			want, wantOK := fresh.Time([]byte(line), now)
			got, ok := f.Time([]byte(line), now)
			if !got.Equal(want) || ok != wantOK {
				t.Fatalf("%s: %q at %v: got %v, %t, want %v, %t", name, line, now, got, ok, want, wantOK)
			}
			if ok {
				read++
			}
		}
		if read < 5000 {
			t.Errorf("%s: only %d lines have a time", name, read)
		}
	}
}
