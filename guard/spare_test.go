package guard

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/paraxial/paraxial/policy"
)

const now = policy.Deadline(time.Hour)

// bookOf returns a book with these entries.
func bookOf(entries ...policy.Entry) *policy.Book {
	b := policy.NewBook(100)
	b.Put(entries)
	return b
}

func block(prefix string, change func(*policy.Entry)) policy.Entry {
	e := policy.Entry{
		Prefix: netip.MustParsePrefix(prefix), Kind: policy.Block, Action: policy.Drop,
		Origin: "cli", Deadline: policy.Forever,
	}
	if change != nil {
		change(&e)
	}
	return e
}

// expired makes an entry one whose time is over.
func expired(e *policy.Entry) { e.Deadline = now - policy.Deadline(time.Minute) }

// An allow of a session lasts as long as the session is open and a block covers it that does
// not override the guard.
func TestRenewals(t *testing.T) {
	peer := netip.MustParseAddr("192.0.2.7")
	session := []policy.Protected{{Prefix: netip.PrefixFrom(peer, 32), Session: true}}
	fresh := Spares([]netip.Addr{peer, peer}, now)
	if len(fresh) != 1 {
		t.Fatalf("%d allows for one session, want 1", len(fresh))
	}
	old := fresh[0]
	old.Deadline = policy.After(now, spareFor/2-time.Second)
	for _, tc := range []struct {
		name    string
		allow   policy.Entry
		block   policy.Entry
		open    []policy.Protected
		puts    int
		removes int
	}{
		{"fresh", fresh[0], block("192.0.2.0/24", nil), session, 0, 0},
		{"half of its time is over", old, block("192.0.2.0/24", nil), session, 1, 0},
		{"the session has ended", fresh[0], block("192.0.2.0/24", nil), nil, 0, 1},
		{"no block covers it", fresh[0], block("198.51.100.0/24", nil), session, 0, 1},
		{"the block has expired", fresh[0], block("192.0.2.0/24", expired), session, 0, 1},
		{"the block is a shadow entry", fresh[0],
			block("192.0.2.0/24", func(e *policy.Entry) { e.Action = policy.Shadow }), session, 0, 1},
		{"the block overrides the guard", fresh[0],
			block("192.0.2.0/24", func(e *policy.Entry) { e.Forced = true }), session, 0, 1},
	} {
		ops, ended := Renewals(bookOf(tc.allow, tc.block), tc.open, now)
		puts := len(slices.DeleteFunc(slices.Clone(ops), func(o policy.Op) bool { return !o.IsPut() }))
		if puts != tc.puts || len(ops)-puts != tc.removes || len(ended) != tc.removes {
			t.Errorf("%s: %d renewed, %d removed, %d told, want %d, %d, %d",
				tc.name, puts, len(ops)-puts, len(ended), tc.puts, tc.removes, tc.removes)
		}
	}
}

// A forced block ends the allows of the sessions inside it, and only those.
func TestChangesOfForcedBlocks(t *testing.T) {
	in, out := netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("198.51.100.7")
	c := Changes{Forced: map[netip.Prefix]bool{netip.MustParsePrefix("192.0.2.0/24"): true}}
	ops := c.Ops(bookOf(Spares([]netip.Addr{in, out}, now)...))
	if len(ops) != 1 || ops[0].IsPut() || ops[0].Remove.Prefix.Addr() != in {
		t.Errorf("changes: %+v, want one that removes the allow of %s", ops, in)
	}
}

func TestViolations(t *testing.T) {
	peer := netip.MustParsePrefix("192.0.2.7/32")
	address := []policy.Protected{{Prefix: peer, What: "an address of eth0"}}
	session := []policy.Protected{{Prefix: peer, What: "a session", Session: true}}
	covering := block("192.0.2.0/24", nil)
	many := make([]policy.Protected, 12)
	for i := range many {
		many[i] = address[0]
	}
	for _, tc := range []struct {
		name      string
		entries   []policy.Entry
		protected []policy.Protected
		want      int
	}{
		{"covered", []policy.Entry{covering}, address, 1},
		{"not covered", []policy.Entry{block("198.51.100.0/24", nil)}, address, 0},
		{"forced", []policy.Entry{block("192.0.2.0/24", func(e *policy.Entry) { e.Forced = true })}, address, 0},
		{"expired", []policy.Entry{block("192.0.2.0/24", expired)}, address, 0},
		{"shadow", []policy.Entry{block("192.0.2.0/24", func(e *policy.Entry) { e.Action = policy.Shadow })}, address,
			0},
		{"a session that is not spared", []policy.Entry{covering}, session, 1},
		{"a session that is spared", append(Spares([]netip.Addr{peer.Addr()}, now), covering), session, 0},
		{"an address that is allowed", append(Spares([]netip.Addr{peer.Addr()}, now), covering), address, 1},
		{"too many to list", []policy.Entry{covering}, many, 11},
	} {
		got := Violations(bookOf(tc.entries...), tc.protected, now)
		if len(got) != tc.want {
			t.Errorf("%s: %d warnings, want %d: %s", tc.name, len(got), tc.want, strings.Join(got, "\n"))
		}
	}
}
