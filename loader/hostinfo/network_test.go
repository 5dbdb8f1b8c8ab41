package hostinfo

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
)

// A reading has each change of the network that was made before it, and reads nothing again if
// there was none.
func TestNetworkFactsFollowChanges(t *testing.T) {
	bridge(t, "net0", "192.0.2.1/24")
	r := newReader(t)
	service := netip.MustParseAddr("168.63.129.16")
	facts := func() Facts {
		t.Helper()
		f, err := r.Read(t.Context(), Options{Services: []netip.Addr{service}})
		check(t, err)
		return f
	}
	has := func(addr, name string) bool {
		t.Helper()
		return slices.Contains(facts().Addresses, LocalAddr{netip.MustParseAddr(addr), name})
	}
	if !has("192.0.2.1", "net0") {
		t.Fatal("the address is missing in the first reading")
	}
	for range 3 {
		ip(t, "addr", "add", "192.0.2.2/24", "dev", "net0")
		if !has("192.0.2.2", "net0") {
			t.Error("an added address is missing")
		}
		ip(t, "addr", "del", "192.0.2.2/24", "dev", "net0")
		if has("192.0.2.2", "net0") {
			t.Error("a removed address is still there")
		}
		ip(t, "route", "add", service.String(), "via", "192.0.2.254")
		if !slices.Contains(facts().Routed, service) {
			t.Error("a service with a new route of its own is missing")
		}
		ip(t, "route", "del", service.String())
		if slices.Contains(facts().Routed, service) {
			t.Error("a service is there without its route")
		}
	}
	ip(t, "link", "set", "net0", "down")
	ip(t, "link", "set", "net0", "name", "net1")
	if !has("192.0.2.1", "net1") {
		t.Error("the new name of the interface is missing")
	}
	ip(t, "link", "set", "net1", "name", "net0")
	ip(t, "link", "set", "net0", "up")
	await(t, func() bool { return r.quiet(t) })
	r.network.links.list = nil
	if names := interfaceNames(r.keptLinks(t)); len(names) != 0 {
		t.Errorf("without a change, the interfaces were read again: %v", names)
	}
	check(t, r.Close())
	if !has("192.0.2.1", "net0") {
		t.Error("after Close: the name of the interface is missing")
	}
}

// quiet reads, and reports whether no announcement came since the reading before.
func (r *Reader) quiet(t *testing.T) bool {
	t.Helper()
	before := r.network.gateways.announcements
	_, err := r.Read(t.Context(), Options{})
	check(t, err)
	return r.network.gateways.announcements == before
}

// keptLinks returns the interfaces after another reading.
func (r *Reader) keptLinks(t *testing.T) []netlink.Link {
	t.Helper()
	_, err := r.Read(t.Context(), Options{})
	check(t, err)
	return r.network.links.list
}

func BenchmarkNetworkFacts(b *testing.B) {
	r := NewReader()
	defer r.Close()
	services := []netip.Addr{netip.MustParseAddr("168.63.129.16"), netip.MustParseAddr("100.100.100.200")}
	for b.Loop() {
		var f Facts
		if err := r.network.read(&f, services); err != nil {
			b.Fatal(err)
		}
	}
}
