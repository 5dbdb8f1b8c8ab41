package lists_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"archive/zip"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/paraxial/paraxial/lists"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func rows(all ...string) string { return strings.Join(all, "\n") + "\n" }

// prefixes returns the prefixes of a list in its order, without /32 and /128.
func prefixes(l *lists.List) []string {
	var all []string
	for _, e := range l.Entries {
		s := e.Prefix.String()
		if e.Prefix.IsSingleIP() {
			s = e.Prefix.Addr().String()
		}
		all = append(all, s)
	}
	return all
}

// badLines returns the numbers of the lines that are not understood.
func badLines(l *lists.List) []int {
	var all []int
	for _, i := range l.Invalid {
		all = append(all, i.Line)
	}
	return all
}

// meaning is what a text means.
type meaning struct {
	name   string
	text   string
	format string // that is recognised
	want   string // prefixes between blanks
	bad    []int  // lines that are not understood
	opts   lists.Options
}

func (m meaning) check(t *testing.T) {
	t.Helper()
	m.opts.Now = now
	l, err := lists.Read(strings.NewReader(m.text), m.opts)
	if err != nil {
		t.Fatal(err)
	}
	if l.Format != m.format {
		t.Errorf("read as %s, want %s", l.Format, m.format)
	}
	if diff := cmp.Diff(strings.Fields(m.want), prefixes(l)); diff != "" {
		t.Errorf("prefixes (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(m.bad, badLines(l)); diff != "" {
		t.Errorf("bad lines (-want +got):\n%s%v", diff, l.Invalid)
	}
}

// TestMeaning: a text in each format means these prefixes.
func TestMeaning(t *testing.T) {
	for _, cases := range [][]meaning{plainCases(), tableCases(), cloudCases(), firewallCases(), programCases()} {
		for _, m := range cases {
			t.Run(m.name, m.check)
		}
	}
}

// TestNotAList: the whole text is refused, and the error says why.
func TestNotAList(t *testing.T) {
	for _, tt := range []struct{ name, text, says string }{
		{"nothing", "", "no prefix"},
		{"comments", "# a\n; b\n", "no prefix"},
		{"page", "<!DOCTYPE html><html><head><title>Try later</title></head>192.0.2.1",
			`HTML page, titled "Try later"`},
		{"xml", "<?xml version=\"1.0\"?><x/>", "XML document"},
		{"sqlite", "SQLite format 3\x00\x01", "SQLite"},
		{"binary", "192.0.2.1\n\x00\x01\x02", "binary"},
		{"hosts", "127.0.0.1 localhost\n0.0.0.0 a.example\n", "hosts file"},
		{"two", "192.0.2.1 192.0.2.9\n192.0.2.20\n", "line 1 has two addresses"},
		{"length or score", "192.0.2.0 24\n198.51.100.0 24\n", "length of the prefix or a score"},
		{"short count", "{\"cidr\":\"192.0.2.0/24\"}\n{\"type\":\"metadata\",\"records\":2}\n",
			"1 records and says that it has 2"},
		{"short JSON", `{"prefixes":[{"ip_prefix":"192.0.2.0/24"},`, "not complete"},
		{"more JSON", `["192.0.2.0/24"] ["192.0.2.0/24"]`, "follows the end"},
		{"key twice", `[{"scope":"ip","scope":"ip","value":"192.0.2.1","type":"ban"}]`, "comes twice"},
		{"deep JSON", strings.Repeat("[", 40) + strings.Repeat("]", 40), "levels"},
		{"short nft", "table inet f {\nset b {\nelements = { 192.0.2.1,\n", "not complete"},
		{"rules", "table inet f {\nchain c {\n}\n}\n", "only sets"},
		{"two sets", "add a 192.0.2.1\nadd b 192.0.2.2\n", "--select set=NAME (a, b)"},
		{"short status", "Status for the jail: x\n|- Currently banned: 2\n`- Banned IP list: 192.0.2.1\n",
			"not complete"},
		{"short registry", "2|apnic|1|1|1|1|+0\napnic|*|ipv4|*|2|summary\napnic|NZ|ipv4|192.0.2.0|256|1|allocated\n",
			"not complete"},
		{"a netmask", "192.0.2.0,255.255.255.0,x\n192.0.3.0,255.255.255.0,x\n", "2 columns have addresses"},
		{"from and to", "src,dst,x\n192.0.2.1,192.0.2.2,x\n192.0.2.3,192.0.2.4,x\n", "2 columns have addresses"},
		{"a pair", "192.0.2.1,192.0.2.200,x\n", "2 columns have addresses"},
		{"numbers", "1,2,three\n4,5,six\n", "no column has addresses"},
		{"two columns", "src,dst,x\n192.0.2.9,192.0.2.2,x\n", "the columns are src, dst, x"},
		{"expired", "create a hash:ip\nadd a 192.0.2.1 timeout 1\n", ""},
	} {
		_, err := lists.Read(strings.NewReader(tt.text), lists.Options{Now: now})
		if tt.says == "" && err == nil {
			continue
		}
		if err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.says)
		}
	}
}

func TestOptionsErrors(t *testing.T) {
	for _, tt := range []struct {
		text, says string
		opts       lists.Options
	}{
		{"192.0.2.1\n", "the formats are addresses, apache, aws", lists.Options{Format: "x"}},
		{"192.0.2.1\n", "has no columns", lists.Options{Format: "plain", Column: "ip"}},
		{"192.0.2.1\n", "has no columns", lists.Options{Select: []lists.Condition{{Key: "x"}}}},
		{"a,b\n192.0.2.1,x\n", "there is no such column; the columns are a, b", lists.Options{Column: "c"}},
		{"a,b\n192.0.2.1,x\n", "no such field; it has a, 1, b, 2",
			lists.Options{Select: []lists.Condition{{Key: "c", Values: []string{"x"}}}}},
		{"a,b\n192.0.2.1,x\n", "none of its 1 records matches",
			lists.Options{Select: []lists.Condition{{Key: "b", Values: []string{"y"}}}}},
	} {
		_, err := lists.Read(strings.NewReader(tt.text), tt.opts)
		if err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%q: got %v, want %q", tt.text, err, tt.says)
		}
	}
	for _, s := range []string{"", "a", "a=", "=b", "a=b,,"} {
		if _, err := lists.ParseSelect(s); err == nil {
			t.Errorf("--select %q is no error", s)
		}
	}
}

// TestDetails: expiry, reason and line come from the list.
func TestDetails(t *testing.T) {
	for _, tt := range []struct {
		text  string
		want  lists.Entry
		after time.Duration
	}{
		{"create a hash:ip\nadd a 192.0.2.1 timeout 60 comment \"ssh  brute\"\n",
			lists.Entry{Line: 2, Reason: "ssh brute"}, time.Minute},
		{"192.0.2.1 \t2026-03-01 11:30:00 + 3600 = 2026-03-01 12:30:00\n", lists.Entry{Line: 1}, 30 * time.Minute},
		{"duration,reason,scope,value\n24h,spam,ip,192.0.2.1\n", lists.Entry{Line: 2, Reason: "spam"}, 24 * time.Hour},
		{"table ip f {\nset b {\ntype ipv4_addr\nelements = { 192.0.2.1 timeout 1d expires 23h }\n}\n}\n",
			lists.Entry{Line: 4}, 23 * time.Hour},
		{"/ip firewall address-list\nadd address=192.0.2.1 list=x timeout=1d02:03:04\n", lists.Entry{Line: 2},
			26*time.Hour + 3*time.Minute + 4*time.Second},
		{"\n192.0.2.1 # lfd: x\n", lists.Entry{Line: 2, Reason: "lfd: x"}, 0},
	} {
		l, err := lists.Read(strings.NewReader(tt.text), lists.Options{Now: now})
		if err != nil || len(l.Entries) != 1 {
			t.Fatalf("%q: %+v, %v", tt.text, l, err)
		}
		if tt.want.Prefix = netip.MustParsePrefix("192.0.2.1/32"); tt.after > 0 {
			tt.want.Until = now.Add(tt.after)
		}
		if got := l.Entries[0]; got.Prefix != tt.want.Prefix || got.Line != tt.want.Line ||
			got.Reason != tt.want.Reason ||
			!got.Until.Equal(tt.want.Until) {
			t.Errorf("%q: got %+v, want %+v", tt.text, got, tt.want)
		}
	}
}

// TestPackings: each compression and encoding gives the same list.
func TestPackings(t *testing.T) {
	const text = "# naïve ☺ 🙂\r\n192.0.2.1\r\n2001:db8::/32\r\n"
	units := utf16.Encode([]rune(text))
	var little, big []byte
	for _, u := range units {
		little, big = append(little, byte(u), byte(u>>8)), append(big, byte(u>>8), byte(u))
	}
	for name, data := range map[string][]byte{
		"":              []byte("\xef\xbb\xbf" + text),
		"gzip":          packed(t, func(b *bytes.Buffer) (writeCloser, error) { return gzip.NewWriter(b), nil }, text),
		"xz":            packed(t, func(b *bytes.Buffer) (writeCloser, error) { return xz.NewWriter(b) }, text),
		"zstd":          packed(t, func(b *bytes.Buffer) (writeCloser, error) { return zstd.NewWriter(b) }, text),
		"zip":           zipped(t, text),
		"UTF-16":        append([]byte("\xff\xfe"), little...),
		"UTF-16 big":    append([]byte("\xfe\xff"), big...),
		"UTF-16 little": little,
		"bzip2": []byte("BZh91AY&SYC\x12\xe0\x1e\x00\x00\x05Y\x00\x00\x10\x00\x01\xf8p\x14\x00 " +
			"\x001\x03@\xd0(\xf2z\xa1" +
			"\xe9\x01\xac\x10m\x0b\x92\xab\xb7%\xaf?\x8b\xb9\"\x9c(H!\x89p\x0f\x00"),
	} {
		l, err := lists.Read(bytes.NewReader(data), lists.Options{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		want, _, _ := strings.Cut(name, " ")
		if diff := cmp.Diff([]string{"192.0.2.1", "2001:db8::/32"}, prefixes(l)); diff != "" || l.Packing != want ||
			len(badLines(l)) > 0 {
			t.Errorf("%s: %s, %d lines, packing %q", name, diff, l.Lines, l.Packing)
		}
		if name != "" && !strings.HasPrefix(name, "UTF") {
			if _, err := lists.Read(bytes.NewReader(data[:len(data)-16]), lists.Options{}); err == nil {
				t.Errorf("%s: a cut file is no error", name)
			}
		}
	}
}

type writeCloser interface {
	Write([]byte) (int, error)
	Close() error
}

func packed(t *testing.T, open func(*bytes.Buffer) (writeCloser, error), text string) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := open(&b)
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.Write([]byte(text))
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zipped(t *testing.T, texts ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for i, text := range texts {
		w, err := z.Create(fmt.Sprintf("list%d.txt", i))
		if err == nil {
			_, err = w.Write([]byte(text))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
