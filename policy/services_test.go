package policy

import (
	"net/netip"
	"testing"
)

// Each service is a masked prefix that the guard protects as a whole, and has a source.
func TestServices(t *testing.T) {
	g := NewGuard(nil)
	for _, s := range services() {
		p, err := netip.ParsePrefix(s.prefix)
		if err != nil || p != p.Masked() {
			t.Errorf("%s is no masked prefix: %v", s.prefix, err)
			continue
		}
		if s.what == "" || s.source == "" {
			t.Errorf("%s has no description or no source", s.prefix)
		}
		if !g.Protects(p) || p.Bits() >= widestFor(p) && g.Check(p) == nil {
			t.Errorf("%s can be blocked", s.prefix)
		}
	}
}
