package match

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

// TestEnds: the end of a connection counts only if the connection had no failure.
func TestEnds(t *testing.T) {
	const (
		invalid = "Invalid user x from 198.51.100.20 port 4"
		failed  = "Failed password for bob from 198.51.100.20 port 4 ssh2"
		closed  = "Connection closed by authenticating user bob 198.51.100.20 port 4 [preauth]"
		bye     = "Received disconnect from 198.51.100.20 port 4:11: Bye [preauth]|" +
			"Disconnected from invalid user x 198.51.100.20 port 4 [preauth]"
		scan  = "Connection closed by 198.51.100.20 port 4 [preauth]"
		other = "Connection closed by 203.0.113.77 port 4 [preauth]"
	)
	for _, c := range []struct {
		lines string
		want  int
	}{
		{invalid + "|" + closed, 1}, {invalid + "|" + bye, 1}, {closed, 1}, {bye, 1}, {scan, 1},
		{failed + "|" + failed + "|" + failed + "|" + closed, 3},
		{invalid + "|" + invalid + "|" + closed + "|" + bye, 2},
		{invalid + "|" + other, 2},
		{strings.Repeat(closed+"|", 10) + closed, 6}, // two lines may be one end
		{invalid + strings.Repeat("|"+closed, 4), 2},
		{strings.Repeat(failed+"|", 100) + strings.Repeat(scan+"|", 65) + scan, 101},
	} {
		f, err := New("sshd")
		if err != nil {
			t.Fatal(err)
		}
		var e Ends
		got := 0
		for line := range strings.SplitSeq(c.lines, "|") {
			r := f.Match([]byte("Nov 29 08:00:01 web1 sshd[7]: " + line))
			if !r.Held().IsValid() {
				t.Fatalf("%q is held against nobody: %s", line, r.Kind)
			}
			if e.Counts(r) {
				got++
			}
		}
		if got != c.want {
			t.Errorf("%.200q counts %d times, want %d", c.lines, got, c.want)
		}
	}
}

// Strangers cannot make it grow.
func TestEndsAreBounded(t *testing.T) {
	var e Ends
	for n := range 3 * maxEnds {
		e.Counts(Result{Kind: Failure, Address: netip.MustParseAddr(fmt.Sprintf("198.51.%d.%d", n>>8&255, n&255))})
		if len(e.left) > maxEnds {
			t.Fatalf("%d addresses are remembered", len(e.left))
		}
	}
}
