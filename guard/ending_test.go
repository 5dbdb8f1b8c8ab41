package guard

import (
	"net/netip"
	"testing"
	"time"

	"github.com/paraxial/paraxial/policy"
)

func allow(prefix, origin string, ttl time.Duration) policy.Entry {
	return policy.Entry{
		Prefix: netip.MustParsePrefix(prefix), Kind: policy.Allow, Origin: origin, Deadline: policy.After(now, ttl),
	}
}

// Sessions are spared whose last allow ends soon, inside a block that does not override the guard.
func TestSparesAhead(t *testing.T) {
	peer := netip.MustParsePrefix("192.0.2.7/32")
	open := []policy.Protected{{Prefix: peer, What: "a session", Session: true}}
	covering := block("192.0.2.0/24", nil)
	ending := allow("192.0.2.0/28", "cli", SpareAhead-time.Second)
	for _, tc := range []struct {
		name    string
		entries []policy.Entry
		open    []policy.Protected
		want    int
	}{
		{"ends soon", []policy.Entry{covering, ending}, open, 1},
		{"ends later", []policy.Entry{covering, allow("192.0.2.0/28", "cli", SpareAhead+time.Second)}, open, 0},
		{"another allow stays",
			[]policy.Entry{covering, ending, allow("192.0.0.0/16", "x", policy.TTLForever)}, open, 0},
		{"both end", []policy.Entry{covering, ending, allow("192.0.0.0/16", "x", time.Second)}, open, 1},
		{"spared already", append(Spares([]netip.Addr{peer.Addr()}, now), covering, ending), open, 0},
		{"not blocked", []policy.Entry{ending}, open, 0},
		{"blocked against the guard", []policy.Entry{ending,
			block("192.0.2.0/24", func(e *policy.Entry) { e.Forced = true })}, open, 0},
		{"not allowed", []policy.Entry{covering}, open, 0},
		{"the allow has ended", []policy.Entry{covering, allow("192.0.2.0/28", "cli", -time.Minute)}, open, 0},
		{"no session", []policy.Entry{covering, ending}, []policy.Protected{{Prefix: peer, What: "a gateway"}}, 0},
	} {
		if got := SparesAhead(bookOf(tc.entries...), tc.open, now); len(got) != tc.want {
			t.Errorf("%s: %v, want %d", tc.name, got, tc.want)
		}
	}
}

func TestAllowsEnd(t *testing.T) {
	soon := func(e *policy.Entry) { e.Deadline = now + policy.Deadline(time.Second) }
	many := policy.NewBook(2 * mostEnding)
	for i := range mostEnding {
		e := block("192.0.2.0/24", soon)
		e.Prefix = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)
		many.Put([]policy.Entry{e})
	}
	const peer = "192.0.2.7/32"
	for name, tc := range map[string]struct {
		book *policy.Book
		want bool
	}{
		"none":                   {bookOf(block("192.0.2.0/24", soon), allow(peer, "x", policy.TTLForever)), false},
		"later":                  {bookOf(allow(peer, "x", time.Hour)), false},
		"one":                    {bookOf(block("192.0.2.0/24", soon), allow(peer, "x", time.Second)), true},
		"too many blocks to see": {many, true},
	} {
		if got := AllowsEnd(tc.book, now); got != tc.want {
			t.Errorf("%s: %t, want %t", name, got, tc.want)
		}
	}
}
