package policy_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/paraxial/paraxial/policy"
)

func allowOf(p netip.Prefix, origin string) policy.Entry {
	return policy.Entry{Prefix: p, Kind: policy.Allow, Origin: origin, Deadline: policy.Forever}
}

// blocksOf returns n neighbouring prefixes of a length, from the start of the IPv4 or IPv6
// addresses on.
func blocksOf(n, bits int, first netip.Addr) (all []netip.Prefix) {
	for i := range n {
		a := first.AsSlice()
		v := i << (32 - bits)
		for j := range 4 {
			a[j] += byte(v >> (24 - 8*j))
		}
		addr, _ := netip.AddrFromSlice(a)
		all = append(all, netip.PrefixFrom(addr, bits))
	}
	return all
}

// Allows that together are wider than the guard accepts turn filtering off as one wide allow
// does, and no more count than are longer than /16 or /32.
func TestFilteringOff(t *testing.T) {
	v4, v6 := netip.IPv4Unspecified(), netip.MustParseAddr("2000::")
	for _, tt := range []struct {
		name       string
		prefixes   []netip.Prefix
		requested  [2]float64 // by a request for all of them
		share      [2]float64 // by those that count
		widestBits int
	}{
		{"one that the guard accepts", append(blocksOf(1, 8, v4), blocksOf(1, 16, v6)...),
			[2]float64{}, [2]float64{}, 0},
		{"one that it refuses", blocksOf(1, 7, v4), [2]float64{1. / 128}, [2]float64{1. / 128}, 7},
		{"all of IPv4", blocksOf(256, 8, v4), [2]float64{1}, [2]float64{1}, 8},
		{"the private networks", []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"),
			netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("192.168.0.0/16")},
			[2]float64{}, [2]float64{}, 0},
		{"as much as the guard accepts", blocksOf(512, 16, v4), [2]float64{}, [2]float64{}, 0},
		{"one more", blocksOf(513, 16, v4), [2]float64{513. / 65536}, [2]float64{513. / 65536}, 16},
		{"nested", append(blocksOf(256, 16, v4), blocksOf(1, 8, v4)...), [2]float64{}, [2]float64{}, 0},
		{"too long to count", blocksOf(2048, 17, v4), [2]float64{1. / 64}, [2]float64{}, 0},
		{"as much IPv6", blocksOf(1<<16, 32, v6), [2]float64{}, [2]float64{}, 0},
		{"three of IPv6", blocksOf(3, 16, v6), [2]float64{0, 3. / 65536}, [2]float64{0, 3. / 65536}, 16},
	} {
		sorted := slices.SortedFunc(slices.Values(tt.prefixes), netip.Prefix.Compare)
		b := policy.NewBook(1000)
		for _, p := range tt.prefixes {
			b.Load(allowOf(p, "x"))
		}
		for _, f := range policy.Families() {
			if got := policy.FilteringOffBy(f, slices.Values(sorted)); got != tt.requested[f] {
				t.Errorf("%s: a request turns filtering off for %v of %v, want %v", tt.name, got, f, tt.requested[f])
			}
			off := b.FilteringOff(f)
			if off.Share != tt.share[f] {
				t.Errorf("%s: filtering is off for %v of %v, want %v", tt.name, off.Share, f, tt.share[f])
			}
			if off.Share > 0 && (off.Widest.Prefix.Bits() != tt.widestBits || off.More != len(tt.prefixes)-1) {
				t.Errorf("%s: %+v", tt.name, off)
			}
		}
	}
}

// The union that is kept up to date with each change is that of the allows in the book.
func TestFilteringOffAfterChanges(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	b := policy.NewBook(1000)
	present := make(map[string]policy.Entry)
	for step := range 2000 {
		bits := 4 + random.IntN(14)
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(random.IntN(8)) << 4, byte(random.IntN(4)) << 6}),
			bits).Masked()
		e := allowOf(p, fmt.Sprint(random.IntN(2)))
		key := p.String() + e.Origin
		if old, exists := present[key]; exists {
			b.Apply([]policy.Op{policy.RemoveOp(old.Key())})
			delete(present, key)
		} else {
			b.Apply([]policy.Op{policy.PutOp(e)})
			present[key] = e
		}
		var large []netip.Prefix
		for _, e := range present {
			if e.Prefix.Bits() <= 16 {
				large = append(large, e.Prefix)
			}
		}
		slices.SortFunc(large, netip.Prefix.Compare)
		want := policy.FilteringOffBy(policy.IPv4, slices.Values(large))
		if got := b.FilteringOff(policy.IPv4).Share; got != want {
			t.Fatalf("step %d, %s: %v, want %v of %v", step, key, got, want, large)
		}
	}
}
