package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/policy"
)

func TestWithin(t *testing.T) {
	p := netip.MustParsePrefix
	inside := within([]netip.Prefix{p("192.0.2.0/24"), p("2001:db8::/48")})
	for source, want := range map[string]bool{
		"192.0.2.7/32": true, "192.0.0.0/16": true, "192.0.3.0/24": false,
		"2001:db8:0:7::/64": true, "2001:db8:1::/64": false, "::ffff:0:0/96": false,
	} {
		if got := inside(p(source)); got != want {
			t.Errorf("%s: %v", source, got)
		}
	}
}

// overlapping returns entries of both kinds that cover a prefix or are inside it, each
// once, and no more than mostPreviewed.
func TestOverlapping(t *testing.T) {
	b := newBench(t, 5000)
	drops := shadow("198.18.0.0/15", "198.18.2.0/24", "192.0.2.1")
	drops.Action = policy.Drop
	for _, c := range []control.Block{drops, shadow("198.18.2.3")} {
		if err := b.request(c); err != nil {
			t.Fatal(err)
		}
	}
	b.allow("198.18.0.0/16")
	p := netip.MustParsePrefix
	got, more := b.overlapping(t.Context(), []netip.Prefix{p("198.18.2.0/24"), p("198.18.2.3/32")})
	found := map[string]int{}
	for _, e := range got {
		found[e.Kind+" "+e.Prefix]++
	}
	want := map[string]int{
		"allow 198.18.0.0/16": 1, "block 198.18.0.0/15": 1, "block 198.18.2.0/24": 1, "block 198.18.2.3/32": 1,
	}
	if fmt.Sprint(found) != fmt.Sprint(want) || more {
		t.Errorf("got %v, more %v; want %v", found, more, want)
	}
	var many []string
	for i := range mostPreviewed {
		many = append(many, fmt.Sprintf("203.0.%d.%d", i/256, i%256))
	}
	for _, last := range []string{"", "203.0.113.1"} {
		if last != "" {
			many = []string{last}
		}
		if err := b.request(shadow(many...)); err != nil {
			t.Fatal(err)
		}
		got, more := b.overlapping(t.Context(), []netip.Prefix{p("203.0.0.0/16")})
		if len(got) != mostPreviewed || more != (last != "") {
			t.Errorf("after %q: %d entries, more %v", last, len(got), more)
		}
	}
}

// A preview stops when its client has gone.
func TestPreviewEndsWithItsContext(t *testing.T) {
	b := newBench(t, 1000)
	ctx, leave := context.WithCancel(t.Context())
	leave()
	request := control.Block{Prefixes: prefixes("198.18.2.0/24"), Action: policy.Shadow}
	if _, err := b.Preview(ctx, control.Caller{}, request); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	read := 0
	b.readEach(ctx, prefixes("198.18.2.0/24"), func(*policy.Book, netip.Prefix) bool {
		read++
		return true
	})
	if read > 0 {
		t.Errorf("%d prefixes were looked up", read)
	}
}
