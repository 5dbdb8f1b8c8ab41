package config

import (
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestSets(t *testing.T) {
	c := parsed(t, `
sets:
  office: [198.51.100.0/24, "2001:db8::/32"]
  AS64500: [203.0.113.7]
feeds:
- {name: cloud, url: /c, use: block, except: [bot, office]}
- {name: bot, url: /b, use: tag}
- {name: cdn, url: /d, use: proxies}
`)
	want := []Set{
		{"office", []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("2001:db8::/32")}},
		{"AS64500", []netip.Prefix{netip.MustParsePrefix("203.0.113.7/32")}},
	}
	if diff := cmp.Diff(fmt.Sprint(want), fmt.Sprint(c.Sets)); diff != "" {
		t.Errorf("sets (-want +got):\n%s", diff)
	}
	exempts := ""
	for _, name := range []string{"office", "AS64500", "cloud", "bot", "cdn", "none"} {
		if c.Exempts(name) {
			exempts += name + " "
		}
	}
	if exempts != "office bot cdn " {
		t.Errorf("%s exempt", exempts)
	}
	for n, f := range c.Feeds {
		if f.InKernel() != (n == 0) {
			t.Errorf("%s is in the kernel: %t", f.Name, f.InKernel())
		}
	}
}

// A set that proxies names is kept from blocks and detectors, as one with use: proxies.
func TestProxySets(t *testing.T) {
	const sets = `
sets:
  edge: [198.51.100.0/28, "2001:db8::/48"]
feeds:
- {name: aws, url: /a, use: tag}
- {name: spam, url: /s, use: block}
`
	c := parsed(t, sets+`proxies: ["set:edge", 192.0.2.0/24, "set:aws"]`)
	if got := fmt.Sprint(c.Proxies); got != "[set:edge 192.0.2.0/24 set:aws]" {
		t.Errorf("proxies: %s", got)
	}
	for name, want := range map[string]bool{"edge": true, "aws": true, "spam": false, "none": false} {
		if c.IsProxySet(name) != want || c.Exempts(name) != want {
			t.Errorf("%s: proxies %t, exempt %t", name, c.IsProxySet(name), c.Exempts(name))
		}
	}
	if got := fmt.Sprint(c.ProxyPrefixes(), c.WithProxySets().ProxyPrefixes()); got !=
		"[192.0.2.0/24] [198.51.100.0/28 2001:db8::/48 192.0.2.0/24]" {
		t.Errorf("prefixes: %s", got)
	}
	inside := netip.MustParsePrefix("198.51.100.1/32")
	if c.BehindProxy(inside) || !c.WithProxySets().BehindProxy(inside) {
		t.Error("a prefix of the set is behind a proxy only with the sets")
	}
	for proxies, want := range map[string]string{
		`["set:none"]`: "set:none is neither a set nor a feed",
		`["set:spam"]`: "set:spam is a feed with use: block; want one with use: tag or proxies",
		`["set:"]`:     "cannot be a name",
		`["edge"]`:     "edge",
	} {
		_, err := Parse("f.yaml", []byte(sets+"proxies: "+proxies+"\n"))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "f.yaml:7:") {
			t.Errorf("proxies: %s: %v, want %q in line 7", proxies, err, want)
		}
	}
}

// The examples of the page about feeds are valid together.
func TestFeedsPage(t *testing.T) {
	page, err := os.ReadFile("../docs/feeds.md")
	if err != nil {
		t.Fatal(err)
	}
	examples := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllSubmatch(page, -1)
	for _, x := range examples {
		if _, err := Parse("docs/feeds.md", x[1]); err != nil {
			t.Errorf("%v\n%s", err, x[1])
		}
	}
	if len(examples) < 2 {
		t.Error("the page has no examples")
	}
}

func TestCrowdSecFeed(t *testing.T) {
	c := parsed(t, `
feeds:
- name: crowdsec
  crowdsec: {url: "http://127.0.0.1:8080", key_file: /etc/paraxial/crowdsec.key, resync: 5m}
  use: block
`)
	want := CrowdSec{"http://127.0.0.1:8080", "/etc/paraxial/crowdsec.key", 10 * time.Second, 5 * time.Minute}
	if got := c.Feeds[0].CrowdSec; got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestWrongSets(t *testing.T) {
	var many, long strings.Builder
	for n := range MaxSets + 1 {
		fmt.Fprintf(&many, "  s%d: [203.0.113.1]\n", n)
	}
	for n := range MaxSetPrefixes + 1 {
		fmt.Fprintf(&long, "10.%d.%d.%d, ", n>>16, n>>8&255, n&255)
	}
	const crowdsec = "crowdsec: {url: 'http://127.0.0.1', key_file: /k}"
	for _, tt := range []struct{ file, want string }{
		{"sets: [198.51.100.0/24]", "f:1:7: sets: got a list; want names with prefixes"},
		{"sets: {a b: [203.0.113.1]}", `"a b" cannot be a name`},
		{"sets: {a: []}", `f:1:11: sets: "a" has no prefixes`},
		{"sets: {a: x}", "sets.a: got"},
		{"sets: {a: [x]}", "f:1:12: sets.a: "},
		{"sets: {a: [203.0.113.1], a: [203.0.113.2]}", "given twice"},
		{"sets:\n" + many.String(), `f:66:8: sets: more than 64; "s64" is one too many`},
		{"sets: {a: [203.0.113.1], b: [" + long.String() + "]}", "more than 10000 prefixes together"},
		{"sets: {a: [203.0.113.1]}\nfeeds: [{name: a, url: /a, use: tag}]",
			`f:2:9: feeds: "a" is also the name of a set under sets`},
		{"feeds: [{name: a, url: /a, use: block, except: [b]}]", `f:1:9: feeds: "a" has except: "b" is neither a set`},
		{"feeds: [{name: a, url: /a, use: block, except: [a]}]", `"a" has use: block; want a feed with use: tag`},
		{"feeds: [{name: a, url: /a, use: tag, except: [a]}]", `"a" has except, which needs use: block`},
		{"sets: {b: [203.0.113.1]}\nfeeds: [{name: a, url: /a, use: block, except: [b, b]}]", "twice under except"},
		{"feeds: [{name: a, use: tag, " + crowdsec + "}]", "want block, shadow or limit with crowdsec"},
		{"sets: {b: [203.0.113.1]}\nfeeds: [{name: a, use: block, except: [b], " + crowdsec + "}]",
			"except, which crowdsec does not have"},
		{"feeds: [{name: a, use: block, url: /x, " + crowdsec + "}]", "both url and crowdsec"},
		{"feeds: [{name: a, use: block, select: x, " + crowdsec + "}]", "which crowdsec does not have"},
		{"feeds: [{name: a, use: block, ttl: 29m, " + crowdsec + "}]", "ttl shorter than twice its crowdsec.resync"},
		{"feeds: [{name: a, use: block, crowdsec: {url: 'http://127.0.0.1'}}]", "has no crowdsec.key_file"},
		{"feeds: [{name: a, use: block, crowdsec: {url: 'http://192.0.2.1', key_file: /k}}]",
			"over http to another host"},
		{"feeds: [{name: a, use: block, crowdsec: {url: /run/x, key_file: /k}}]", "not the address of an API"},
		{"feeds: [{name: a, use: block, crowdsec: {url: 'http://[::1]:1', key_file: /k, every: 1h}}]",
			"resync shorter than crowdsec.every"},
	} {
		_, err := Parse("f", []byte(tt.file))
		if got := fmt.Sprint(err); !strings.Contains(got, tt.want) {
			t.Errorf("%.80s\ngot  %.300s\nwant %s", tt.file, got, tt.want)
		}
	}
}
