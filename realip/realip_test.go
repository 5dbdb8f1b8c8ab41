package realip

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
)

func prefixes(list ...string) (all []netip.Prefix) {
	for _, s := range list {
		all = append(all, netip.MustParsePrefix(s))
	}
	return all
}

// answer is the client as text, or "nobody".
func answer(a netip.Addr, ok bool) string {
	if !ok {
		return "nobody"
	}
	return a.String()
}

// headers reads "Name: value" lines.
func headers(lines ...string) (all []Header) {
	for _, l := range lines {
		name, value, _ := strings.Cut(l, ": ")
		all = append(all, Header{name, value})
	}
	return all
}

// In the tests 192.0.2.0/24 and 10.1.0.0/16 are proxies.
func trusted() Rules {
	return Rules{Proxies: prefixes("192.0.2.0/24", "10.1.0.0/16", "2001:db8:1::/48")}
}

func TestClient(t *testing.T) {
	long := strings.Repeat("203.0.113.7, ", 6000) + "198.51.100.20"
	for _, tt := range []struct {
		name, peer string
		headers    []string
		want       string
	}{
		{"no proxy", "198.51.100.20", nil, "198.51.100.20"},
		{"a stranger's header", "198.51.100.20", []string{"X-Forwarded-For: 203.0.113.7"}, "198.51.100.20"},
		{"a private peer", "10.2.0.1", []string{"X-Forwarded-For: 203.0.113.7"}, "10.2.0.1"},
		{"mapped peer", "::ffff:192.0.2.1", []string{"X-Forwarded-For: 198.51.100.20"}, "198.51.100.20"},
		{"no header", "192.0.2.1", nil, "nobody"},
		{"empty header", "192.0.2.1", []string{"X-Forwarded-For: "}, "nobody"},
		{"one hop", "192.0.2.1", []string{"x-forwarded-for: 198.51.100.20"}, "198.51.100.20"},
		{"two hops", "192.0.2.1", []string{"X-Forwarded-For: 198.51.100.20, 10.1.0.8"}, "198.51.100.20"},
		{"forged on the left", "192.0.2.1", []string{"X-Forwarded-For: 203.0.113.7,198.51.100.20"}, "198.51.100.20"},
		{"lines are a list", "192.0.2.1",
			[]string{"X-Forwarded-For: 203.0.113.7", "X-FORWARDED-FOR: 198.51.100.20"}, "198.51.100.20"},
		{"only proxies", "192.0.2.1", []string{"X-Forwarded-For: 192.0.2.3, 10.1.0.8"}, "nobody"},
		{"unreadable on the right", "192.0.2.1", []string{"X-Forwarded-For: 203.0.113.7, -"}, "nobody"},
		{"unreadable behind a proxy", "192.0.2.1", []string{"X-Forwarded-For: 203.0.113.7, x, 10.1.0.8"}, "nobody"},
		{"unreadable on the left", "192.0.2.1", []string{"X-Forwarded-For: x, 198.51.100.20"}, "198.51.100.20"},
		{"port", "192.0.2.1", []string{"X-Forwarded-For: 198.51.100.20:65000"}, "198.51.100.20"},
		{"no port", "192.0.2.1", []string{"X-Forwarded-For: 198.51.100.20:"}, "nobody"},
		{"long port", "192.0.2.1", []string{"X-Forwarded-For: 198.51.100.20:650000"}, "nobody"},
		{"brackets", "192.0.2.1", []string{"X-Forwarded-For: [2001:db8:2::1]:443"}, "2001:db8:2::1"},
		{"brackets are open", "192.0.2.1", []string{"X-Forwarded-For: [2001:db8:2::1"}, "nobody"},
		{"text behind brackets", "192.0.2.1", []string{"X-Forwarded-For: [2001:db8:2::1]x"}, "nobody"},
		{"no brackets", "192.0.2.1", []string{"X-Forwarded-For: 2001:db8:2::1"}, "2001:db8:2::1"},
		{"zone", "192.0.2.1", []string{"X-Forwarded-For: fe80::1%lo"}, "nobody"},
		{"leading zero", "192.0.2.1", []string{"X-Forwarded-For: 198.051.100.20"}, "nobody"},
		{"hexadecimal", "192.0.2.1", []string{"X-Forwarded-For: 0xc6336414"}, "nobody"},
		{"blank inside", "192.0.2.1", []string{"X-Forwarded-For: 198.51.100.20 203.0.113.7"}, "nobody"},
		{"mapped proxy", "192.0.2.1", []string{"X-Forwarded-For: 198.51.100.20, ::ffff:10.1.0.8"}, "198.51.100.20"},
		{"private client", "192.0.2.1", []string{"X-Forwarded-For: 192.168.4.4"}, "nobody"},
		{"provider's address", "192.0.2.1", []string{"X-Forwarded-For: 100.64.0.9"}, "nobody"},
		{"link-local", "192.0.2.1", []string{"X-Forwarded-For: fe80::1"}, "nobody"},
		{"this network", "192.0.2.1", []string{"X-Forwarded-For: 0.0.0.7"}, "nobody"},
		{"multicast", "192.0.2.1", []string{"X-Forwarded-For: ff02::1"}, "nobody"},
		{"broadcast", "192.0.2.1", []string{"X-Forwarded-For: 255.255.255.255"}, "nobody"},
		{"too long", "192.0.2.1", []string{"X-Forwarded-For: " + long}, "nobody"},
		{"a CDN's header", "192.0.2.1", []string{"CF-Connecting-IP: 198.51.100.20"}, "198.51.100.20"},
		{"twice", "192.0.2.1", []string{"X-Real-IP: 198.51.100.20", "X-Real-IP: 198.51.100.20"}, "nobody"},
		{"a list", "192.0.2.1", []string{"X-Real-IP: 203.0.113.7, 198.51.100.20"}, "nobody"},
		{"two headers agree", "192.0.2.1",
			[]string{"X-Real-IP: 198.51.100.20", "X-Forwarded-For: 203.0.113.7, 198.51.100.20"}, "198.51.100.20"},
		{"two headers differ", "192.0.2.1",
			[]string{"X-Real-IP: 198.51.100.20", "X-Forwarded-For: 203.0.113.7"}, "nobody"},
		{"one of two is unreadable", "192.0.2.1",
			[]string{"X-Real-IP: 198.51.100.20", "Forwarded: for=_x"}, "nobody"},
		{"unknown header", "192.0.2.1", []string{"X-Mine: 198.51.100.20"}, "nobody"},
		{"Unix socket", "", []string{"X-Forwarded-For: 198.51.100.20"}, "nobody"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			peer, _ := netip.ParseAddr(tt.peer)
			if got := answer(trusted().Client(peer, headers(tt.headers...))); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestForwarded(t *testing.T) {
	for value, want := range map[string]string{
		"for=198.51.100.20":                                 "198.51.100.20",
		"For=198.51.100.20;Proto=https":                     "198.51.100.20",
		`proto=https; for="198.51.100.20:80" ; host=a`:      "198.51.100.20",
		"for=203.0.113.7, for=198.51.100.20":                "198.51.100.20",
		"for=198.51.100.20,, for=10.1.0.8,":                 "198.51.100.20",
		`for="[2001:db8:2::1]:_p.1"`:                        "2001:db8:2::1",
		`for="\1\98.51.100.20"`:                             "198.51.100.20",
		`for=198.51.100.20;by="a, for=203.0.113.7"`:         "198.51.100.20",
		`for=203.0.113.7;by="a\", for=198.51.100.20`:        "nobody", // the quote is not closed
		"for=203.0.113.7, proto=https":                      "nobody", // the last proxy named nobody
		"for=203.0.113.7;for=198.51.100.20":                 "nobody",
		"for=203.0.113.7, for=unknown":                      "nobody",
		"for=203.0.113.7, for=_hidden":                      "nobody",
		"for=2001:db8:2::1":                                 "nobody", // a colon needs quotes
		`for="2001:db8:2::1"`:                               "nobody", // and IPv6 needs brackets
		`for="[198.51.100.20]"`:                             "nobody",
		"for=198.51.100.20 for=203.0.113.7":                 "nobody",
		"for=198.51.100.20;":                                "nobody",
		"for":                                               "nobody",
		"for=203.0.113.7, \"":                               "nobody",
		"for=\"198.51.100.20\x01\"":                         "nobody",
		"=198.51.100.20":                                    "nobody",
		"":                                                  "nobody",
		`for="198.51.100.20:_"`:                             "nobody",
		`for=198.51.100.20, for="10.1.0.8:_h"`:              "198.51.100.20",
		`secret="x;y,z";for=198.51.100.20;host="for=1.1.1"`: "198.51.100.20",
	} {
		got := answer(trusted().Client(netip.MustParseAddr("192.0.2.1"), []Header{{"Forwarded", value}}))
		if got != want {
			t.Errorf("%s: got %s, want %s", value, got, want)
		}
	}
}

func TestRules(t *testing.T) {
	xff := headers("X-Forwarded-For: 203.0.113.7", "X-Mine: 10.9.9.9")
	proxy := netip.MustParseAddr("192.0.2.1")
	r := trusted()
	r.Headers = []string{"X-Mine"}
	if got := answer(r.Client(proxy, xff)); got != "nobody" {
		t.Errorf("a private client: got %s", got)
	}
	r.Clients = prefixes("10.9.0.0/16")
	if got := answer(r.Client(proxy, xff)); got != "10.9.9.9" {
		t.Errorf("a named private client: got %s", got)
	}
	r.Clients = prefixes("192.0.2.1/32")
	if got := answer(r.Client(proxy, xff)); got != "192.0.2.1" {
		t.Errorf("a peer that is a client: got %s", got)
	}
	r = Rules{Unix: true}
	if got := answer(r.Client(netip.Addr{}, xff[:1])); got != "203.0.113.7" {
		t.Errorf("a Unix socket: got %s", got)
	}
}

// TestTrustPeer: the mode of remote_ip reads all headers as one list, and skips reserved and
// unreadable entries.
func TestTrustPeer(t *testing.T) {
	for _, tt := range []struct {
		r       Rules
		headers []string
		want    string
	}{
		{Rules{}, []string{"X-Forwarded-For: 203.0.113.7, x"}, "203.0.113.7"},
		{Rules{}, []string{"X-Forwarded-For: 203.0.113.7, 10.0.0.1, ::1"}, "203.0.113.7"},
		{Rules{}, []string{"Forwarded: for=203.0.113.7", "X-Real-IP: 198.51.100.20"}, "198.51.100.20"},
		{Rules{}, []string{"X-Real-IP: 198.51.100.20", "Forwarded: for=203.0.113.7"}, "203.0.113.7"},
		{Rules{}, []string{"CF-Connecting-IP: 198.51.100.20"}, "nobody"},
		{Rules{Headers: []string{"cf-connecting-ip"}}, []string{"CF-Connecting-IP: 198.51.100.20"}, "198.51.100.20"},
		{Rules{Proxies: prefixes("198.51.100.0/24")}, []string{"X-Real-IP: 203.0.113.7, 198.51.100.20"}, "203.0.113.7"},
		{Rules{Proxies: prefixes("0.0.0.0/0"), Clients: prefixes("10.0.0.0/8")},
			[]string{"X-Real-IP: 203.0.113.7, 10.0.0.1, 198.51.100.20"}, "10.0.0.1"},
	} {
		tt.r.TrustPeer = true
		if got := answer(tt.r.Client(netip.MustParseAddr("203.0.113.99"), headers(tt.headers...))); got != tt.want {
			t.Errorf("%v %v: got %s, want %s", tt.r, tt.headers, got, tt.want)
		}
	}
}

// FuzzClient: a client behind a proxy that appends what it saw is found, or nobody, whatever
// the client sends. The proxy appends to the last line, or adds a line of its own.
func FuzzClient(f *testing.F) {
	for _, s := range []string{"", "203.0.113.7", `for="`, "for=203.0.113.7;by=\"a", "a,,", `for=203.0.113.7;x="\`} {
		f.Add(s, s, true, true)
		f.Add(s, s, false, false)
	}
	f.Fuzz(func(t *testing.T, first, second string, isForwarded, own bool) {
		const client = "198.51.100.20"
		name, last := "X-Forwarded-For", client
		if isForwarded {
			name, last = "Forwarded", "for="+client
		}
		lines := []Header{{name, first}, {name, second + ", " + last}}
		if own {
			lines = []Header{{name, first}, {name, second}, {name, last}}
		}
		got := answer(trusted().Client(netip.MustParseAddr("192.0.2.1"), lines))
		if got != client && got != "nobody" || own && got != client {
			t.Errorf("%q: got %s", lines, got)
		}
	})
}

// BenchmarkClient is the usual case: one proxy and one header.
func BenchmarkClient(b *testing.B) {
	r, peer := trusted(), netip.MustParseAddr("192.0.2.1")
	lines := headers(fmt.Sprintf("X-Forwarded-For: 203.0.113.%d, 198.51.100.20", rand.IntN(256)))
	for b.Loop() {
		r.Client(peer, lines)
	}
}
