package guard

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/paraxial/paraxial/loader/hostinfo"
	"github.com/paraxial/paraxial/policy"
)

// The services of a cloud hinder wide blocks on a host that is in this cloud, or that has a route
// of their own to them, and nowhere else.
func TestServicesOfTheCloud(t *testing.T) {
	cgnat, azure := netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("168.63.128.0/20")
	for _, tc := range []struct {
		name         string
		facts        hostinfo.Facts
		cgnat, azure bool // refused
	}{
		{"in no cloud", hostinfo.Facts{}, false, false},
		{"in Alibaba Cloud", hostinfo.Facts{Cloud: "Alibaba Cloud"}, true, false},
		{"in Azure", hostinfo.Facts{Cloud: "Azure"}, false, true},
		{"with a route", hostinfo.Facts{Routed: []netip.Addr{netip.MustParseAddr("168.63.129.16")}}, false, true},
	} {
		g := policy.NewGuard(listed(tc.facts, nil))
		if got := g.Check(cgnat); (got != nil) != tc.cgnat {
			t.Errorf("%s: %s: %v, refused should be %t", tc.name, cgnat, got, tc.cgnat)
		}
		if got := g.Check(azure); (got != nil) != tc.azure {
			t.Errorf("%s: %s: %v, refused should be %t", tc.name, azure, got, tc.azure)
		}
	}
}

// A host can be found to be in each cloud that has services.
func TestCloudsAreKnown(t *testing.T) {
	for _, s := range policy.CloudServices() {
		if !slices.Contains(hostinfo.Clouds(), s.Cloud) {
			t.Errorf("no host is found to be in %s", s.Cloud)
		}
	}
}
