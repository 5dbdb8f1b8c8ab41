package detect

import (
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// own are the addresses of a host that must not be blocked.
var own = []netip.Prefix{netip.MustParsePrefix("2001:db8::1/128"), netip.MustParsePrefix("10.0.0.1/32")}

func coversOwn(p netip.Prefix) (string, bool) {
	for _, a := range own {
		if p.Overlaps(a) {
			return "covers " + a.Addr().String(), true
		}
	}
	return "", false
}

// neighbours are the options for a host whose network others use, too.
var neighbours = Options{Exempt: coversOwn, PartlyExempt: func(p netip.Prefix) bool { return !p.IsSingleIP() }}

// A network with an address of the host in it is not acted upon, but the addresses in it
// are, one by one.
func TestAddressesOfTheHostsNetwork(t *testing.T) {
	for _, tt := range []struct {
		name, network, offender, host, fair string
	}{
		{"IPv6", "2001:db8::/64", "2001:db8::66/128", "2001:db8::1/128", "2001:db8::7/128"},
		{"first address", "2001:db8::/64", "2001:db8::/128", "2001:db8::1/128", "2001:db8::7/128"},
		{"IPv4", "10.0.0.0/24", "10.0.0.66/32", "10.0.0.1/32", "10.0.0.7/32"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, neighbours, detector(func(d *Detector) { d.Per.IPv4 = 24 }))
			network := w.add(tt.network, 2150)
			w.add(tt.offender, 1000)
			w.add(tt.host, 1000) // forged
			w.add(tt.fair, 150)
			w.run(20 * time.Second)
			want(t, w.made, "new block "+tt.offender+" 10m;")
			if len(w.spared) != 2 || w.spared[0].Prefix.String() != tt.network ||
				w.spared[1].Prefix.String() != tt.host ||
				!strings.Contains(w.spared[0].Reason, "one by one") {
				t.Errorf("spared: %+v", w.spared)
			}
			// Without excess nothing is split any more, and then the addresses do not count.
			network.rate = 100
			w.run(time.Duration(splitFor) + 20*time.Second)
			if splits := w.Splits(); len(splits) > 0 {
				t.Errorf("still split: %v", splits)
			}
		})
	}
}

// A network that is exempt as a whole is not split.
func TestWhollyExemptIsNotSplit(t *testing.T) {
	w := newWorld(t, Options{Exempt: coversOwn, PartlyExempt: func(netip.Prefix) bool { return false }}, detector())
	w.add("2001:db8::/64", 1000)
	w.add("2001:db8::66/128", 1000)
	want(t, w.run(20*time.Second), "")
}

// The promoter has addresses tracked inside a source that is split, and in no other.
func TestPromoterTracksSplitAddresses(t *testing.T) {
	p := NewPromoter([]Detector{detector()}, 1000, 1)
	send := func() map[netip.Prefix]bool {
		rng := rand.New(rand.NewPCG(1, 1))
		for range 2000 {
			for _, a := range []string{"2001:db8::66", "2001:db8:1::66"} {
				s := Sample{Source: netip.MustParseAddr(a), Weight: 1, Length: 60, Detectors: 1}
				p.Add(start+second, s)
			}
			forged := netip.MustParsePrefix("2001:db8::/64").Addr().As16()
			forged[15], forged[14], forged[13] = byte(rng.Uint32()), byte(rng.Uint32()), byte(rng.Uint32())
			p.Add(start+second, Sample{Source: netip.AddrFrom16(forged), Weight: 1, Length: 60, Detectors: 1})
		}
		tracked := map[netip.Prefix]bool{}
		for _, source := range p.Changes(start+second, nil).Track {
			tracked[source] = true
		}
		return tracked
	}
	if got := send(); len(got) != 2 || !got[netip.MustParsePrefix("2001:db8::/64")] {
		t.Errorf("tracked %v, want the two /64", got)
	}
	p.Split([]netip.Prefix{netip.MustParsePrefix("2001:db8::/64")})
	if got := send(); len(got) != 1 || !got[netip.MustParsePrefix("2001:db8::66/128")] {
		t.Errorf("tracked %v, want the busy address of the split /64", got)
	}
}
