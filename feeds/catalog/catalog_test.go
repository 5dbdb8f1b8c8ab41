package catalog

import (
	"net/url"
	"strings"
	"testing"
	"time"
)

func TestLists(t *testing.T) {
	seen := map[string]bool{}
	for _, l := range Lists() {
		if seen[l.Name] {
			t.Errorf("%s is listed twice", l.Name)
		}
		seen[l.Name] = true
		if l.About == "" || l.Entries == "" || l.Licence == "" {
			t.Errorf("%s: something is missing: %+v", l.Name, l)
		}
		u, err := url.Parse(l.URL)
		if err != nil || u.Scheme != "https" && !strings.HasPrefix(l.URL, "/") {
			t.Errorf("%s: the address %q is neither https nor a file", l.Name, l.URL)
		}
		// Spamhaus blocks clients that ask more often than once an hour.
		if l.Every < time.Hour || l.Every > 24*time.Hour {
			t.Errorf("%s is asked for every %s", l.Name, l.Every)
		}
		if got, ok := Find(l.Name); !ok || got != l {
			t.Errorf("Find(%q) = %v, %t", l.Name, got, ok)
		}
	}
	if len(seen) < 25 {
		t.Errorf("%d lists, want about 25", len(seen))
	}
	if _, ok := Find("none"); ok {
		t.Error("there is a list that is not listed")
	}
}

func TestWrite(t *testing.T) {
	l, _ := Find("aws")
	l.Every = 24 * time.Hour
	var b strings.Builder
	if err := Write(&b, []List{l}); err != nil {
		t.Fatal(err)
	}
	const want = `feeds:
  # Amazon Web Services: addresses of virtual machines
  # Size: about 4,000 entries
  # Licence: none is stated
  # Note: without select it is all of Amazon. shadow only counts: look at what it counts before you block
  - name: aws
    url: https://ip-ranges.amazonaws.com/ip-ranges.json
    select: service=EC2
    every: 24h
    use: shadow
    ttl: 168h
`
	if b.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", b.String(), want)
	}
}
