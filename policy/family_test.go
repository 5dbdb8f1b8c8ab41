package policy_test

import (
	"net/netip"
	"testing"

	"github.com/paraxial/paraxial/policy"
)

func TestFamily(t *testing.T) {
	for _, test := range []struct {
		addr string
		want policy.Family
		name string
	}{
		{"192.0.2.1", policy.IPv4, "ipv4"},
		{"0.0.0.0", policy.IPv4, "ipv4"},
		{"2001:db8::1", policy.IPv6, "ipv6"},
		{"::", policy.IPv6, "ipv6"},
		{"::ffff:192.0.2.1", policy.IPv6, "ipv6"},
	} {
		got := policy.FamilyOf(netip.MustParseAddr(test.addr))
		if got != test.want || got.String() != test.name {
			t.Errorf("%s: got %v, want %v", test.addr, got, test.name)
		}
	}
}
