package policy

import (
	"net/netip"
	"testing"
)

// Each service is a masked prefix that the guard protects as a whole, and has a source.
func TestServices(t *testing.T) {
	g := NewGuard(nil)
	for _, s := range services() {
		checkService(t, g, s)
	}
	for cloud, all := range cloudServices() {
		for _, s := range all {
			checkService(t, g, s)
			if p, err := netip.ParsePrefix(s.prefix); err != nil || !p.IsSingleIP() {
				t.Errorf("%s of %s is no single address", s.prefix, cloud)
			}
		}
	}
}

func checkService(t *testing.T, g *Guard, s service) {
	t.Helper()
	p, err := netip.ParsePrefix(s.prefix)
	if err != nil || p != p.Masked() {
		t.Errorf("%s is no masked prefix: %v", s.prefix, err)
		return
	}
	if s.what == "" || s.source == "" {
		t.Errorf("%s has no description or no source", s.prefix)
	}
	if !g.Protects(p) || p.Bits() >= widestFor(p) && g.Check(p) == nil {
		t.Errorf("%s can be blocked", s.prefix)
	}
}

// A service of a cloud hinders a wider block only on a host that is in this cloud.
func TestServicesOfClouds(t *testing.T) {
	elsewhere := NewGuard(nil)
	for _, s := range CloudServices() {
		wide := netip.PrefixFrom(s.Prefix.Addr(), widestFor(s.Prefix)).Masked()
		if refusal := elsewhere.Check(wide); refusal != nil {
			t.Errorf("the block of %s is refused on hosts outside %s: %v", wide, s.Cloud, refusal)
		}
		if inside := NewGuard([]Protected{s.Protected}); inside.Check(wide) == nil {
			t.Errorf("%s can be blocked in %s", wide, s.Cloud)
		}
	}
}
