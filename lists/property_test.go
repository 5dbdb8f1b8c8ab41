package lists_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/paraxial/paraxial/lists"
)

// ends is a range of addresses, as the tests understand a line. They compare addresses
// and know no prefixes.
type ends struct{ first, last netip.Addr }

func (e ends) has(a netip.Addr) bool {
	return a.Is4() == e.first.Is4() && !a.Less(e.first) && !e.last.Less(a)
}

// randomEnds returns a range. An aligned one is a prefix, whose length is bits.
func randomEnds(r *rand.Rand, is4, aligned bool) (e ends, bits int) {
	size := 4
	if !is4 {
		size = 16
	}
	low, high := make([]byte, size), make([]byte, size)
	for i := range low {
		low[i] = byte(r.IntN(256))
	}
	if is4 {
		low[0] = byte(1 + r.IntN(223))
	} else {
		low[0], low[1] = 0x20, 0x01
	}
	copy(high, low)
	bits = 8*size - r.IntN(20)
	for i := bits; i < 8*size; i++ {
		low[i/8] &^= 0x80 >> (i % 8)
		high[i/8] |= 0x80 >> (i % 8)
	}
	from, _ := netip.AddrFromSlice(low)
	to, _ := netip.AddrFromSlice(high)
	if !aligned {
		for range r.IntN(9) {
			if from != to {
				from = from.Next()
			}
			if from != to {
				to = to.Prev()
			}
		}
	}
	return ends{from, to}, bits
}

// writer writes a range in one format.
type writer struct {
	format     string
	head, tail string
	aligned    bool // only prefixes
	only4      bool
	line       func(e ends, bits int) string
}

func cidr(e ends, bits int) string { return fmt.Sprintf("%s/%d", e.first, bits) }
func dash(e ends, _ int) string    { return e.first.String() + "-" + e.last.String() }

func writers() []writer {
	around := func(format string) func(ends, int) string {
		return func(e ends, bits int) string { return fmt.Sprintf(format, cidr(e, bits)) }
	}
	return []writer{
		{format: "plain", aligned: true, line: around("%s # x")},
		{format: "plain", line: dash},
		{format: "plain", line: func(e ends, _ int) string {
			return e.first.String() + " - " + e.last.String() +
				" ; x"
		}},
		{format: "p2p", line: func(e ends, _ int) string { return "a name (1):" + dash(e, 0) }},
		{format: "emule", only4: true, line: func(e ends, _ int) string {
			f, l := e.first.As4(), e.last.As4()
			return fmt.Sprintf("%03d.%03d.%03d.%03d - %03d.%03d.%03d.%03d , 100 , x", f[0], f[1], f[2], f[3], l[0],
				l[1], l[2], l[3])
		}},
		{format: "csv", head: "id,ip,x\n", aligned: true, line: around("7,%s,\"a, b\"")},
		{format: "csv", head: "start,end,cc\n", line: func(e ends, _ int) string {
			return e.first.String() + "," +
				e.last.String() + ",NZ"
		}},
		{format: "tsv", head: "when\tcidr\tx\n", aligned: true, line: around("now\t%s\tx")},
		{format: "spamhaus-json", aligned: true, line: around(`{"cidr":"%s","rir":"x"}`)},
		{format: "hosts.deny", aligned: true, line: func(e ends, bits int) string {
			if e.first.Is4() {
				return "ALL: " + cidr(e, bits)
			}
			return fmt.Sprintf("ALL: [%s]/%d", e.first, bits)
		}},
		{format: "nginx", aligned: true, line: around("deny %s;")},
		{format: "apache", head: "Require all granted\n", aligned: true, line: around("Require not ip %s")},
		{format: "postfix", aligned: true, line: around("%s REJECT x")},
		{format: "ipset", head: "create b hash:net\n", aligned: true, line: around("add b %s timeout 0")},
		{format: "iptables", head: "*filter\n", tail: "COMMIT\n", aligned: true,
			line: around("-A INPUT -s %s -j DROP")},
		{format: "nft", head: "add element inet f b {\n", tail: "}\n",
			line: func(e ends, _ int) string { return dash(e, 0) + "," }},
		{format: "mikrotik", head: "/ip firewall address-list\n", aligned: true, line: around("add list=b address=%s")},
		{format: "json", head: "[\"192.0.2.1\"\n", tail: "]\n", aligned: true, line: around(",\"%s\"")},
		{format: "google", head: "{\"prefixes\":[{\"ipv4Prefix\":\"192.0.2.1\"}\n", tail: "]}\n", aligned: true,
			line: around(`,{"ipv6Prefix":"%s"}`)},
	}
}

// TestProperty: random ranges in each format cover the same addresses as their ends,
// which the test compares on its own. All addresses at the ends and around them are
// tried.
func TestProperty(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 1))
	for _, w := range writers() {
		for range 20 {
			var all []ends
			text := strings.Builder{}
			text.WriteString(w.head)
			for range 1 + r.IntN(30) {
				e, bits := randomEnds(r, w.only4 || r.IntN(2) == 0, w.aligned)
				all = append(all, e)
				text.WriteString(w.line(e, bits) + "\n")
			}
			text.WriteString(w.tail)
			l, err := lists.Read(strings.NewReader(text.String()), lists.Options{Now: now})
			if err != nil || l.Format != w.format || l.Bad > 0 {
				t.Fatalf("%s, seed %d: %+v, %v\n%s", w.format, seed, l, err, text.String())
			}
			compare(t, fmt.Sprintf("%s, seed %d", w.format, seed), all, l)
		}
	}
}

// compare tries the ends of all ranges and their neighbours.
func compare(t *testing.T, name string, all []ends, l *lists.List) {
	t.Helper()
	merged := make([]netip.Prefix, 0, len(l.Entries))
	for _, e := range l.Entries {
		merged = append(merged, e.Prefix)
	}
	merged = lists.Aggregate(merged)
	for _, e := range all {
		for _, a := range []netip.Addr{e.first.Prev(), e.first, e.first.Next(), e.last.Prev(), e.last, e.last.Next()} {
			want, listed, afterMerge := false, false, false
			for _, o := range all {
				want = want || o.has(a)
			}
			for _, o := range l.Entries {
				listed = listed || o.Prefix.Contains(a)
			}
			for _, o := range merged {
				afterMerge = afterMerge || o.Contains(a)
			}
			if a == netip.MustParseAddr("192.0.2.1") {
				continue // in the head of some texts
			}
			if listed != want || afterMerge != want {
				t.Fatalf("%s: %s is listed: %t, after merging: %t, want %t", name, a, listed, afterMerge, want)
			}
		}
	}
}

// TestExemptions: random exemptions give for each address what the rule of the format
// says: the first line that matches counts, or the narrowest one.
func TestExemptions(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 2))
	for range 400 {
		var lines []netip.Prefix
		var exempt []bool
		nginx, rbl := strings.Builder{}, strings.Builder{}
		rbl.WriteString("$SOA 1 a b 1 1 1 1 1\n!10.0.0.0/8\n")
		seen := map[netip.Prefix]bool{}
		for range 1 + r.IntN(12) {
			p := netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(r.IntN(64))}), 26+r.IntN(7)).Masked()
			if seen[p] {
				continue // the same prefix twice has no meaning in rbldnsd
			}
			seen[p] = true
			no := r.IntN(2) == 0
			lines, exempt = append(lines, p), append(exempt, no)
			if no {
				fmt.Fprintf(&nginx, "allow %s;\n", p)
				fmt.Fprintf(&rbl, "!%s\n", p)
			} else {
				fmt.Fprintf(&nginx, "deny %s;\n", p)
				fmt.Fprintf(&rbl, "%s\n", p)
			}
		}
		for format, text := range map[string]string{"nginx": nginx.String(), "rbldnsd": rbl.String()} {
			l, err := lists.Read(strings.NewReader(text), lists.Options{Format: format})
			if err != nil {
				l = &lists.List{} // nothing remains
			}
			for i := range 64 {
				a := netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})
				want, bits := false, -1
				for j, p := range lines {
					if !p.Contains(a) || format == "nginx" && bits >= 0 || p.Bits() < bits {
						continue
					}
					want, bits = !exempt[j], p.Bits()
				}
				got := false
				for _, e := range l.Entries {
					got = got || e.Prefix.Contains(a)
				}
				if got != want {
					t.Fatalf("seed %d, %s: %s is listed: %t, want %t\n%s%v", seed, format, a, got, want, text, err)
				}
			}
		}
	}
}

func TestAggregateAll(t *testing.T) {
	var all []netip.Prefix
	for _, s := range []string{"0.0.0.0/2", "0.0.0.0/1", "128.0.0.0/2", "::/0", "192.0.0.0/2"} {
		all = append(all, netip.MustParsePrefix(s))
	}
	if got := fmt.Sprint(lists.Aggregate(all)); got != "[0.0.0.0/0 ::/0]" {
		t.Errorf("got %s", got)
	}
}
