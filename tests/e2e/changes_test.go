package e2e

import (
	"bufio"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/paraxial/paraxial/report"
)

// stdinChanges reads changes from the lines +PREFIX and -PREFIX.
func stdinChanges(name string, generation uint64) report.Changes {
	c := report.Changes{Name: name, Generation: generation}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		p := netip.MustParsePrefix(lines.Text()[1:])
		if lines.Text()[0] == '+' {
			c.Put = append(c.Put, report.Entry{Prefix: p, For: time.Hour})
		} else {
			c.Remove = append(c.Remove, p)
		}
	}
	return c
}

// A reporter may change a few entries of a set that it has put, within the bounds of the set.
func TestReporterChanges(t *testing.T) {
	h := newHost(t)
	h.configured(`
interfaces: [up0]
metrics: off
feeds:
- {name: a, url: /a, use: block, max_entries: 1000}
- {name: b, url: /b, use: tag}
- {name: c, url: /c, use: block}
reports: {reporters: [{name: agent, user: "65534", sets: [a, b]}]}
`)
	h.start()
	server := h.serve()
	r := h.hand(reporterUID, "+203.0.113.1/32\n", "change a 1 false")
	expectEqual(t, "change of a set that was not put", r.Code, report.CodeUnknown)
	expectEqual(t, "put", h.hand(reporterUID, someHosts(150), "put a 1 false").Code, "")
	r = h.hand(reporterUID, "+203.0.115.1/32\n+203.0.113.5/32\n+127.0.0.1/32\n-203.0.113.1/32\n-192.0.2.1/32\n",
		"change a 2 false")
	expectEqual(t, "change", fmt.Sprint(r.Code, r.Result.Added, r.Result.Removed, r.Result.Unchanged, r.Result.Refused),
		"1 1 1 1")
	for source, want := range map[string]bool{"203.0.115.1": true, "203.0.113.2": true, "203.0.113.1": false} {
		expectEqual(t, source+" is dropped", h.dropped(server, source), want)
	}
	expectEqual(t, "renew of the generation", h.hand(reporterUID, "", "renew a 2 false").Code, "")

	var wide, many strings.Builder
	for n := range 30 {
		fmt.Fprintf(&wide, "+%d.0.0.0/8\n", 20+n)
	}
	for n := range 851 {
		fmt.Fprintf(&many, "+198.51.%d.%d/32\n", n/256, n%256)
	}
	for what, tt := range map[string][3]string{
		"too wide":        {wide.String(), "change a 3 false", report.CodeUnknown},
		"too many":        {many.String(), "change a 3 false", report.CodeUnknown},
		"grows":           {many.String()[:400*17], "change a 3 false", report.CodeUnknown},
		"not its own":     {"+203.0.115.1/32\n", "change c 1 false", report.CodeForbidden},
		"not in the book": {"+203.0.115.1/32\n", "change b 1 false", report.CodeInvalidRequest},
	} {
		expectEqual(t, what, h.hand(reporterUID, tt[0], tt[1]).Code, tt[2])
	}
	expectEqual(t, "entries after all that", len(h.entriesOf("feed:a")), 150)
	// All may go, because each is named. The bounds of a set that is held stay known.
	r = h.hand(reporterUID, someHosts(1), "put a 3 false")
	expectEqual(t, "a set that shrinks is held", r.Result.Held != "", true)
	r = h.hand(reporterUID, strings.ReplaceAll("-"+strings.TrimSuffix(someHosts(150), "\n"), "\n", "\n-")+"\n",
		"change a 4 false")
	expectEqual(t, "change", fmt.Sprint(r.Code, r.Result.Removed), "149")
	h.kill()
	h.start()
	expectEqual(t, "change after a restart", h.hand(reporterUID, "-203.0.115.1/32\n", "change a 5 false").Code,
		report.CodeUnknown)
}
