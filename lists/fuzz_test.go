package lists_test

import (
	"bytes"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/paraxial/paraxial/lists"
)

// fuzz reads data in each of the formats. What is read must be in order.
func fuzz(f *testing.F, formats ...string) {
	for _, cases := range [][]meaning{plainCases(), tableCases(), cloudCases(), firewallCases(), programCases()} {
		for _, m := range cases {
			for i, format := range formats {
				if m.format == format {
					f.Add([]byte(m.text), uint8(i))
				}
			}
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, n uint8) {
		format := formats[int(n)%len(formats)]
		l, err := lists.Read(bytes.NewReader(data), lists.Options{Format: format, Now: now})
		if err == nil {
			inOrder(t, l)
		}
	})
}

func inOrder(t *testing.T, l *lists.List) {
	t.Helper()
	if len(l.Entries) == 0 && l.Bad == 0 {
		t.Error("an empty list without an error")
	}
	for _, e := range l.Entries {
		if e.Prefix != e.Prefix.Masked() || e.Prefix.Addr().Is4In6() || !e.Prefix.IsValid() ||
			e.Prefix.Addr().Zone() != "" {
			t.Errorf("line %d: prefix %v", e.Line, e.Prefix)
		}
		if e.Line < 1 || e.Line > l.Lines {
			t.Errorf("%v is of line %d of %d", e.Prefix, e.Line, l.Lines)
		}
	}
	last := 0
	for _, i := range l.Invalid {
		if i.Err == nil || i.Line < last || i.Line > l.Lines {
			t.Errorf("line %d of %d after %d: %v", i.Line, l.Lines, last, i.Err)
		}
		last = i.Line
	}
}

func FuzzTable(f *testing.F)  { fuzz(f, "csv", "tsv", "bars", "semicolons", "words") }
func FuzzRanges(f *testing.F) { fuzz(f, "p2p", "emule", "dshield", "ranges") }
func FuzzCloud(f *testing.F) {
	fuzz(f, "aws", "google", "azure", "oracle", "fastly", "cloudflare", "github", "json")
}
func FuzzSpamhaus(f *testing.F) { fuzz(f, "spamhaus-json", "spamhaus") }
func FuzzNFT(f *testing.F)      { fuzz(f, "nft", "nft-json") }
func FuzzIPSet(f *testing.F)    { fuzz(f, "ipset") }
func FuzzIPTables(f *testing.F) { fuzz(f, "iptables") }
func FuzzMikroTik(f *testing.F) { fuzz(f, "mikrotik") }
func FuzzAccess(f *testing.F)   { fuzz(f, "hosts.deny", "nginx", "nginx-geo", "apache", "postfix") }
func FuzzFail2ban(f *testing.F) { fuzz(f, "fail2ban-banned", "fail2ban-status", "fail2ban-times") }
func FuzzCrowdSec(f *testing.F) { fuzz(f, "crowdsec", "crowdsec-json") }
func FuzzLogs(f *testing.F)     { fuzz(f, "sshguard", "tor", "rbldnsd", "rir") }

// FuzzRecognise: also a text of any format, and compressed data.
func FuzzRecognise(f *testing.F) {
	fuzz(f, "")
}

var dotted = regexp.MustCompile(`[0-9]{1,3}(\.[0-9]{1,3}){3}`)

// FuzzPlain: all addresses on a line that is understood are in the list.
func FuzzPlain(f *testing.F) {
	for _, m := range plainCases() {
		f.Add(m.text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		l, err := lists.Read(strings.NewReader(text), lists.Options{Format: "plain"})
		if err != nil {
			return
		}
		inOrder(t, l)
		if l.Bad > lists.MaxListed || strings.HasPrefix(text, "\xef\xbb") || !utf8.ValidString(text) {
			return
		}
		bad := map[int]bool{}
		for _, i := range l.Invalid {
			bad[i.Line] = true
		}
		text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n")
		for i, line := range strings.Split(text, "\n") {
			for _, mark := range []string{"#", ";", "//", "--"} {
				line, _, _ = strings.Cut(line, mark)
			}
			if !bad[i+1] {
				allListed(t, l, i+1, line)
			}
		}
	})
}

func allListed(t *testing.T, l *lists.List, number int, line string) {
	t.Helper()
	for _, s := range dotted.FindAllString(line, -1) {
		a, err := netip.ParseAddr(s)
		if err != nil || strings.Contains(line, s+".") || strings.Contains(line, ":") || isMask(a) {
			continue
		}
		found := false
		for _, e := range l.Entries {
			found = found || e.Line == number && e.Prefix.Contains(a)
		}
		if !found {
			t.Errorf("line %d, %q: %s is not in the list", number, line, a)
		}
	}
}

// isMask reports whether an address may be a netmask or its inverse.
func isMask(a netip.Addr) bool { return a.As4()[0] == 255 || a.As4()[0] == 0 }
