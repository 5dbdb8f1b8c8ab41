package program_test

import (
	"testing"
	"time"

	"github.com/paraxial/paraxial/policy"
)

// node is an element of a trie.
type node struct {
	prefix string
	allow  policy.Tick // for the allow trie, if not 0
	verdict
}

func TestListsDecide(t *testing.T) {
	const (
		never   = uint32(policy.TickNever)
		expired = 1
		forever = uint32(policy.TickForever)
	)
	live := uint32(policy.After(now(t), time.Hour).Tick())
	allow := func(prefix string, until uint32) node { return node{prefix: prefix, allow: policy.Tick(until)} }
	block := func(prefix string, v verdict) node { return node{prefix: prefix, verdict: v} }
	one := map[uint32]uint64{1: 1}

	for _, c := range []struct {
		name  string
		nodes []node
		src   string
		want  reason
		hits  map[uint32]uint64
	}{
		{"nothing listed", nil, "10.1.2.3", notListed, nil},
		{"drop", []node{block("10.1.2.3/32", verdict{Drop: forever, Hit: 1})}, "10.1.2.3", blocked, one},
		{"beside the drop", []node{block("10.1.2.3/32", verdict{Drop: forever, Hit: 1})}, "10.1.2.2", notListed, nil},
		{"first of a prefix", []node{block("10.1.2.4/30", verdict{Drop: forever, Hit: 1})}, "10.1.2.4", blocked, one},
		{"last of a prefix", []node{block("10.1.2.4/30", verdict{Drop: forever, Hit: 1})}, "10.1.2.7", blocked, one},
		{"behind a prefix", []node{block("10.1.2.4/30", verdict{Drop: forever, Hit: 1})}, "10.1.2.8", notListed, nil},
		{"all of IPv4", []node{block("0.0.0.0/0", verdict{Drop: forever, Hit: 1})}, "10.1.2.3", blocked, one},
		{"all of IPv6", []node{block("::/0", verdict{Drop: forever, Hit: 1})}, "2001:db8::1", blocked, one},
		{"one IPv6 address", []node{block("2001:db8::1/128", verdict{Drop: forever, Hit: 1})}, "2001:db8::1", blocked, one},
		{"beside one IPv6 address", []node{block("2001:db8::1/128", verdict{Drop: forever, Hit: 1})}, "2001:db8::", notListed, nil},
		{"live drop", []node{block("10.0.0.0/8", verdict{Drop: live, Hit: 1})}, "10.1.2.3", blocked, one},
		{"expired drop", []node{block("10.0.0.0/8", verdict{Drop: expired, Hit: 1})}, "10.1.2.3", notListed, nil},
		{"no deadline", []node{block("10.0.0.0/8", verdict{Drop: never, Shadow: never, Hit: 1})}, "10.1.2.3", notListed, nil},
		{"live shadow", []node{block("10.0.0.0/8", verdict{Shadow: live, Hit: 1})}, "10.1.2.3", shadowed, one},
		{"expired shadow", []node{block("10.0.0.0/8", verdict{Shadow: expired, Hit: 1})}, "10.1.2.3", notListed, nil},
		{"drop before shadow", []node{block("10.0.0.0/8", verdict{Drop: live, Shadow: forever, Hit: 1})}, "10.1.2.3", blocked, one},
		{"shadow behind expired drop", []node{block("10.0.0.0/8", verdict{Drop: expired, Shadow: forever, Hit: 1})}, "10.1.2.3", shadowed, one},
		{"limits do not exist yet", []node{block("10.0.0.0/8", verdict{Limit: forever, LimitID: 1, Hit: 1})}, "10.1.2.3", notListed, nil},
		{"hit 0 is nobody's", []node{block("10.0.0.0/8", verdict{Drop: forever, Hit: 0})}, "10.1.2.3", blocked, nil},
		{"hit out of range", []node{block("10.0.0.0/8", verdict{Drop: forever, Hit: 1 << 30})}, "10.1.2.3", blocked, nil},
		{"longest match", []node{
			block("10.0.0.0/8", verdict{Drop: forever, Hit: 1}), block("10.1.0.0/16", verdict{Shadow: forever, Hit: 2}),
		}, "10.1.2.3", shadowed, map[uint32]uint64{2: 1}},
		{"wide allow, narrow block", []node{allow("10.0.0.0/8", forever), block("10.1.2.3/32", verdict{Drop: forever, Hit: 1})}, "10.1.2.3", allowed, nil},
		{"narrow allow, wide block", []node{allow("10.1.2.3/32", forever), block("10.0.0.0/8", verdict{Drop: forever, Hit: 1})}, "10.1.2.3", allowed, nil},
		{"beside a narrow allow", []node{allow("10.1.2.3/32", forever), block("10.0.0.0/8", verdict{Drop: forever, Hit: 1})}, "10.1.2.4", blocked, one},
		{"live allow", []node{allow("10.0.0.0/8", live), block("10.1.2.3/32", verdict{Drop: forever, Hit: 1})}, "10.1.2.3", allowed, nil},
		{"expired allow", []node{allow("10.0.0.0/8", expired), block("10.1.2.3/32", verdict{Drop: forever, Hit: 1})}, "10.1.2.3", blocked, one},
		{"expired allow and drop", []node{allow("10.0.0.0/8", expired), block("10.1.2.3/32", verdict{Drop: expired, Hit: 1})}, "10.1.2.3", notListed, nil},
		{"allow over shadow", []node{allow("10.0.0.0/8", forever), block("10.0.0.0/8", verdict{Shadow: forever, Hit: 1})}, "10.1.2.3", allowed, nil},
		{"allow alone", []node{allow("10.0.0.0/8", forever)}, "10.1.2.3", allowed, nil},
		{"wide IPv6 allow", []node{allow("2001:db8::/32", forever), block("2001:db8::1/128", verdict{Drop: forever, Hit: 1})}, "2001:db8::1", allowed, nil},
		{"narrow IPv6 allow", []node{allow("2001:db8::1/128", forever), block("2001:db8::/32", verdict{Drop: forever, Hit: 1})}, "2001:db8::1", allowed, nil},
		{"IPv4 block, IPv6 of the same bits", []node{block("42.0.0.0/8", verdict{Drop: forever, Hit: 1})}, "2a00::1", notListed, nil},
		{"IPv6 block, IPv4 of the same bits", []node{block("2a00::/8", verdict{Drop: forever, Hit: 1})}, "42.0.0.1", notListed, nil},
		{"IPv4 allow, IPv6 of the same bits", []node{allow("42.0.0.0/8", forever), block("2a00::/8", verdict{Drop: forever, Hit: 1})}, "2a00::1", blocked, one},
		{"IPv6 allow, IPv4 of the same bits", []node{allow("2a00::/8", forever), block("42.0.0.0/8", verdict{Drop: forever, Hit: 1})}, "42.0.0.1", blocked, one},
	} {
		t.Run(c.name, func(t *testing.T) {
			eachBuild(t, func(t *testing.T, f *filter) {
				for _, n := range c.nodes {
					if n.allow != 0 {
						f.allow(n.prefix, n.allow)
						continue
					}
					f.block(n.prefix, n.verdict)
				}
				b := start(c.src).UDP(1, 2, nil)
				want := wantOne(c.want, len(b))
				want.Hits = c.hits
				if want.Hits == nil {
					want.Hits = map[uint32]uint64{}
				}
				check(t, c.name, want, f.observe(b), b)
			})
		})
	}
}

// A ban ends on time with nobody there to end it, and not a tick early.
func TestBanEndsByItself(t *testing.T) {
	eachBuild(t, func(t *testing.T, f *filter) {
		deadline := policy.After(now(t), 300*time.Millisecond)
		f.block("198.51.100.1/32", verdict{Drop: uint32(deadline.Tick())})
		b := start("198.51.100.1").UDP(1, 2, nil)
		drops := 0
		for f.run(b) == drop {
			drops++
			if late := now(t) - deadline; late > policy.Deadline(time.Second) {
				t.Fatalf("still drops %v after its end", time.Duration(late))
			}
			time.Sleep(5 * time.Millisecond)
		}
		if at := policy.TickAt(now(t)); drops == 0 || at < deadline.Tick() {
			t.Errorf("passed at tick %d after %d drops; the ban ends with tick %d", at, drops, deadline.Tick())
		}
	})
}
