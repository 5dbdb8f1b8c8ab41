package index

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/paraxial/paraxial/policy"
)

// generation is a *V4 or a *V6.
type generation interface {
	Update(netip.Prefix) bool
	Lookup(netip.Addr, policy.Tick) Answer
}

func heap(lines uint32) ([]uint64, error) { return make([]uint64, lines*lineWords), nil }

func buildFor(t *testing.T, b *policy.Book, a netip.Addr) generation {
	t.Helper()
	var x generation
	var err error
	if a.Is4() {
		x, err = BuildV4(b, heap)
	} else {
		x, err = BuildV6(b, heap)
	}
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// The index is not told that an entry expired and was removed. It still agrees with the model after a
// prefix that covers the entry is removed or renewed.
func TestExpiredEntryInsidePrefix(t *testing.T) {
	const expired, later = v6Now, v6Now + v6Hour
	inner := map[string]policy.Entry{
		"shadow": {Kind: policy.Block, Action: policy.Shadow, Deadline: expired},
		"drop":   {Kind: policy.Block, Action: policy.Drop, Deadline: expired},
		"limit": {Kind: policy.Block, Action: policy.Limit, Deadline: expired,
			Rate: policy.Rate{PerSecond: 1, Unit: policy.Packets}},
		"allow": {Kind: policy.Allow, Deadline: expired},
	}
	host4, host6 := netip.MustParseAddr("30.1.2.3"), netip.MustParseAddr("2a00:1:2:3:4:5:6:7")
	for _, lengths := range []struct {
		host         netip.Addr
		outer, inner []int
	}{
		{host4, []int{8, 15, 16, 20, 24, 28, 31}, []int{12, 17, 24, 25, 30, 32}},
		{host6, []int{16, 20, 30, 36, 44, 56, 60, 64, 80, 124, 127}, []int{28, 48, 52, 64, 100, 126, 128}},
	} {
		for _, o := range lengths.outer {
			outer := policy.Entry{Prefix: netip.PrefixFrom(lengths.host, o).Masked(), Kind: policy.Block,
				Action: policy.Drop, Origin: "cli", Deadline: policy.Forever}
			for _, i := range lengths.inner {
				for name, e := range inner {
					if i <= o {
						continue
					}
					e.Prefix, e.Origin = netip.PrefixFrom(lengths.host, i).Masked(), "cli"
					t.Run(fmt.Sprintf("%s %s in /%d", name, e.Prefix, o), func(t *testing.T) {
						shorter := outer
						shorter.Deadline = later
						checkExpired(t, lengths.host, outer, e, policy.RemoveOp(outer.Key()))
						checkExpired(t, lengths.host, outer, e, policy.PutOp(shorter))
					})
				}
			}
		}
	}
}

// checkExpired checks a host after its entry inside outer has expired, and again after a change of
// outer. The entries are either in the book before the index is built, or patched into it.
func checkExpired(t *testing.T, host netip.Addr, outer, inner policy.Entry, change policy.Op) {
	for _, built := range []bool{true, false} {
		book := policy.NewBook(1 << 10)
		if built {
			book.Apply([]policy.Op{policy.PutOp(outer), policy.PutOp(inner)})
		}
		x := buildFor(t, book, host)
		if !built {
			book.Apply([]policy.Op{policy.PutOp(outer), policy.PutOp(inner)})
			update(t, x, outer.Prefix)
			update(t, x, inner.Prefix)
		}
		book.Apply([]policy.Op{policy.RemoveOp(inner.Key())})
		checkAnswer(t, x, book, host, inner.Deadline)
		book.Apply([]policy.Op{change})
		update(t, x, outer.Prefix)
		for _, after := range []time.Duration{0, 2 * time.Hour} {
			checkAnswer(t, x, book, host, inner.Deadline+policy.Deadline(after))
		}
	}
}

func update(t *testing.T, x generation, p netip.Prefix) {
	t.Helper()
	if !x.Update(p) {
		t.Fatalf("no room for %s", p)
	}
}

func checkAnswer(t *testing.T, x generation, b *policy.Book, src netip.Addr, now policy.Deadline) {
	t.Helper()
	got, want := x.Lookup(src, policy.TickAt(now)+1), policy.Decide(v6Entries(b), src, now)
	if got == Clean && want != policy.NotListed || got == Drop && want != policy.Blocked {
		t.Errorf("%s: the index says %d, the model %s", src, got, want)
	}
}
