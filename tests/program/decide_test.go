package program_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/paraxial/paraxial/policy"
)

// node is an element of a trie.
type node struct {
	prefix string
	allow  policy.Tick // for the allow trie, unless 0
	verdict
}

func (n node) table() string {
	if n.allow != 0 {
		return "allow"
	}
	return "block"
}

func (f *filter) putNode(n node) {
	f.tb.Helper()
	if n.allow != 0 {
		f.allow(n.prefix, n.allow)
		return
	}
	f.block(n.prefix, n.verdict)
}

func (f *filter) removeNode(n node) {
	f.tb.Helper()
	prefix := netip.MustParsePrefix(n.prefix)
	if err := f.maps[n.table()+"_"+family(prefix)].Delete(key(prefix)); err != nil {
		f.tb.Fatalf("delete %s: %v", n.prefix, err)
	}
}

// Deadlines, in ticks. The live one is finite, and far away.
const (
	never   = uint32(policy.TickNever)
	expired = 1
	live    = forever - 1
	forever = uint32(policy.TickForever)
)

func allowNode(prefix string, until uint32) node {
	return node{prefix: prefix, allow: policy.Tick(until)}
}

func blockNode(prefix string, v verdict) node { return node{prefix: prefix, verdict: v} }

var listCases = []struct {
	name  string
	nodes []node
	src   string
	want  reason
	hits  map[uint32]uint64
}{
	{"nothing listed", nil, "10.1.2.3", notListed, nil},
	{"drop", []node{blockNode("10.1.2.3/32", verdict{Drop: forever, Hit: 1})}, "10.1.2.3", blocked,
		map[uint32]uint64{1: 1}},
	{"beside the drop", []node{blockNode("10.1.2.3/32", verdict{Drop: forever, Hit: 1})}, "10.1.2.2", notListed, nil},
	{"first of a prefix", []node{blockNode("10.1.2.4/30", verdict{Drop: forever, Hit: 1})}, "10.1.2.4", blocked,
		map[uint32]uint64{1: 1}},
	{"last of a prefix", []node{blockNode("10.1.2.4/30", verdict{Drop: forever, Hit: 1})}, "10.1.2.7", blocked,
		map[uint32]uint64{1: 1}},
	{"behind a prefix", []node{blockNode("10.1.2.4/30", verdict{Drop: forever, Hit: 1})}, "10.1.2.8", notListed, nil},
	{"all of IPv4", []node{blockNode("0.0.0.0/0", verdict{Drop: forever, Hit: 1})}, "10.1.2.3", blocked,
		map[uint32]uint64{1: 1}},
	{"all of IPv6", []node{blockNode("::/0", verdict{Drop: forever, Hit: 1})}, "2001:db8::1", blocked,
		map[uint32]uint64{1: 1}},
	{"one IPv6 address", []node{blockNode("2001:db8::1/128", verdict{Drop: forever, Hit: 1})}, "2001:db8::1", blocked,
		map[uint32]uint64{1: 1}},
	{"beside one IPv6 address", []node{blockNode("2001:db8::1/128", verdict{Drop: forever, Hit: 1})}, "2001:db8::",
		notListed, nil},
	{"live drop", []node{blockNode("10.0.0.0/8", verdict{Drop: live, Hit: 1})}, "10.1.2.3", blocked,
		map[uint32]uint64{1: 1}},
	{"expired drop", []node{blockNode("10.0.0.0/8", verdict{Drop: expired, Hit: 1})}, "10.1.2.3", notListed, nil},
	{"no deadline", []node{blockNode("10.0.0.0/8", verdict{Drop: never, Shadow: never, Hit: 1})}, "10.1.2.3", notListed,
		nil},
	{"live shadow", []node{blockNode("10.0.0.0/8", verdict{Shadow: live, Hit: 1})}, "10.1.2.3", shadowed,
		map[uint32]uint64{1: 1}},
	{"expired shadow", []node{blockNode("10.0.0.0/8", verdict{Shadow: expired, Hit: 1})}, "10.1.2.3", notListed, nil},
	{"drop before shadow", []node{blockNode("10.0.0.0/8", verdict{Drop: live, Shadow: forever, Hit: 1})}, "10.1.2.3",
		blocked, map[uint32]uint64{1: 1}},
	{"shadow behind expired drop", []node{blockNode("10.0.0.0/8", verdict{Drop: expired, Shadow: forever, Hit: 1})},
		"10.1.2.3", shadowed, map[uint32]uint64{1: 1}},
	{"limits do not exist yet", []node{blockNode("10.0.0.0/8", verdict{Limit: forever, LimitID: 1, Hit: 1})},
		"10.1.2.3", notListed, nil},
	{"hit 0 is no counter", []node{blockNode("10.0.0.0/8", verdict{Drop: forever, Hit: 0})}, "10.1.2.3", blocked, nil},
	{"hit out of range", []node{blockNode("10.0.0.0/8", verdict{Drop: forever, Hit: 1 << 30})}, "10.1.2.3", blocked,
		nil},
	{"longest match", []node{
		blockNode("10.0.0.0/8", verdict{Drop: forever, Hit: 1}),
		blockNode("10.1.0.0/16", verdict{Shadow: forever, Hit: 2}),
	}, "10.1.2.3", shadowed, map[uint32]uint64{2: 1}},
	{"wide allow, narrow block", []node{allowNode("10.0.0.0/8", forever),
		blockNode("10.1.2.3/32", verdict{Drop: forever, Hit: 1})}, "10.1.2.3", allowed, nil},
	{"narrow allow, wide block", []node{allowNode("10.1.2.3/32", forever),
		blockNode("10.0.0.0/8", verdict{Drop: forever, Hit: 1})}, "10.1.2.3", allowed, nil},
	{"beside a narrow allow", []node{allowNode("10.1.2.3/32", forever),
		blockNode("10.0.0.0/8", verdict{Drop: forever, Hit: 1})}, "10.1.2.4", blocked, map[uint32]uint64{1: 1}},
	{"live allow", []node{allowNode("10.0.0.0/8", live), blockNode("10.1.2.3/32", verdict{Drop: forever, Hit: 1})},
		"10.1.2.3", allowed, nil},
	{"expired allow", []node{allowNode("10.0.0.0/8", expired),
		blockNode("10.1.2.3/32", verdict{Drop: forever, Hit: 1})}, "10.1.2.3", blocked, map[uint32]uint64{1: 1}},
	{"expired allow and drop", []node{allowNode("10.0.0.0/8", expired),
		blockNode("10.1.2.3/32", verdict{Drop: expired, Hit: 1})}, "10.1.2.3", notListed, nil},
	{"allow over shadow", []node{allowNode("10.0.0.0/8", forever),
		blockNode("10.0.0.0/8", verdict{Shadow: forever, Hit: 1})}, "10.1.2.3", allowed, nil},
	{"allow alone", []node{allowNode("10.0.0.0/8", forever)}, "10.1.2.3", allowed, nil},
	{"wide IPv6 allow", []node{allowNode("2001:db8::/32", forever),
		blockNode("2001:db8::1/128", verdict{Drop: forever, Hit: 1})}, "2001:db8::1", allowed, nil},
	{"narrow IPv6 allow", []node{allowNode("2001:db8::1/128", forever),
		blockNode("2001:db8::/32", verdict{Drop: forever, Hit: 1})}, "2001:db8::1", allowed, nil},
	{"IPv4 block, IPv6 of the same bits", []node{blockNode("42.0.0.0/8", verdict{Drop: forever, Hit: 1})}, "2a00::1",
		notListed, nil},
	{"IPv6 block, IPv4 of the same bits", []node{blockNode("2a00::/8", verdict{Drop: forever, Hit: 1})}, "42.0.0.1",
		notListed, nil},
	{"IPv4 allow, IPv6 of the same bits", []node{allowNode("42.0.0.0/8", forever),
		blockNode("2a00::/8", verdict{Drop: forever, Hit: 1})}, "2a00::1", blocked, map[uint32]uint64{1: 1}},
	{"IPv6 allow, IPv4 of the same bits", []node{allowNode("2a00::/8", forever),
		blockNode("42.0.0.0/8", verdict{Drop: forever, Hit: 1})}, "42.0.0.1", blocked, map[uint32]uint64{1: 1}},
}

func TestListsDecide(t *testing.T) {
	eachBuild(t, func(t *testing.T, f *filter) {
		for _, c := range listCases {
			for _, n := range c.nodes {
				f.putNode(n)
			}
			b := start(c.src).UDP(1, 2, nil)
			want := wantOne(c.want, len(b))
			want.Hits = c.hits
			if want.Hits == nil {
				want.Hits = map[uint32]uint64{}
			}
			check(t, c.name, want, f.observe(b), b)
			for _, n := range c.nodes {
				f.removeNode(n)
			}
		}
	})
}

// A ban ends on time without a daemon, and not a tick early.
func TestBanEndsByItself(t *testing.T) {
	eachBuild(t, func(t *testing.T, f *filter) {
		deadline := policy.After(now(t), time.Second)
		f.block("198.51.100.1/32", verdict{Drop: uint32(deadline.Tick())})
		b := start("198.51.100.1").UDP(1, 2, nil)
		drops := 0
		for asked := now(t); f.run(b) == drop; asked = now(t) {
			drops++
			if late := asked - deadline; late > policy.Deadline(time.Second) {
				t.Fatalf("still drops %v after its end", time.Duration(late))
			}
			time.Sleep(5 * time.Millisecond)
		}
		if at := policy.TickAt(now(t)); drops == 0 || at < deadline.Tick() {
			t.Errorf("passed at tick %d after %d drops; the ban ends with tick %d", at, drops, deadline.Tick())
		}
	})
}
