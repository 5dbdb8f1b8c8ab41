package policy

import (
	"net/netip"
	"testing"
)

func TestHasBogon(t *testing.T) {
	for prefix, want := range map[string]bool{
		"172.0.0.0/8": true, "100.0.0.0/8": true, "168.0.0.0/7": true, "192.0.0.0/8": true, "8.0.0.0/6": true,
		"10.1.2.3/32": true, "10.0.0.0/24": true, "126.0.0.0/7": true, "128.0.0.0/1": true, "0.0.0.0/0": true,
		"172.15.0.0/16": false, "172.32.0.0/11": false, "9.0.0.0/8": false, "198.0.0.0/8": false, "192.0.2.7/32": false,
		"2000::/3": false, "2001::/16": false, "2001:db8::/64": false, "2000::/2": true, "::/0": true, "fd00::/8": true,
	} {
		if got := HasBogon(netip.MustParsePrefix(prefix)); got != want {
			t.Errorf("%s: %t, want %t", prefix, got, want)
		}
	}
}
