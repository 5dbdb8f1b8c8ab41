package e2e

import (
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/paraxial/paraxial/control"
)

// An entry expires inside a blocked prefix, which is unblocked later. No packet from there is dropped
// then, not even in a flood, when the index alone decides about most drops.
func TestUnblockAroundExpiredEntry(t *testing.T) {
	for name, c := range map[string]struct{ wide, inside, source string }{
		"ipv4":             {"203.0.112.0/22", "203.0.113.7/32", "203.0.113.7"},
		"ipv6, an address": {"3fff::/31", "3fff:1:2:3::7/128", "3fff:1:2:3::7"},
		"ipv6, prefixes":   {"3fff::/48", "3fff:0:0:2::/64", "3fff:0:0:2::7"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			h.start()
			source := netip.MustParseAddr(c.source)
			h.ctl(0, "block", c.wide)
			if !h.floodDropped(source) {
				t.Fatalf("%s passes, although %s is blocked", source, c.wide)
			}
			h.ctl(0, "block", c.inside, "--shadow", "--for", "1s")
			h.within("the entry expires", patience, func() bool {
				return ctlJSON[control.Status](h, "status").Blocks == 1
			})
			h.ctl(0, "unblock", c.wide)
			if h.floodDropped(source) {
				t.Errorf("%s is dropped, although no entry is left", source)
			}
		})
	}
}

// floodDropped reports whether the last packet of a flood from a source is dropped. The flood has more
// packets than the program looks up in the tries after the index has said drop.
func (h *host) floodDropped(source netip.Addr) bool {
	h.Helper()
	action, err := h.filter().Run(&ebpf.RunOptions{Data: h.datagram(source), Repeat: 5000})
	if err != nil {
		h.Fatal(err)
	}
	const drop = 1
	return action == drop
}
