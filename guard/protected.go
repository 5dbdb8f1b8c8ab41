package guard

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/paraxial/paraxial/config"
	"github.com/paraxial/paraxial/loader/hostinfo"
	"github.com/paraxial/paraxial/policy"
)

// protected reads the addresses that blocks must not cover on this host now. The
// error names facts that cannot be read; the list has the rest.
func (r *Reader) protected(ctx context.Context, cfg config.Guard) ([]policy.Protected, error) {
	facts, err := r.host.Read(ctx, hostinfo.Options{
		SSHSessions: len(cfg.SSHPorts) > 0, Services: cloudAddresses(),
	})
	r.noteUnknown(facts.Problems)
	list := listed(facts, cfg.NeverBlock)
	if err != nil {
		return list, fmt.Errorf("read the addresses that must not be blocked: %w", err)
	}
	return list, nil
}

// listed returns the addresses among the facts, and those of the configuration.
func listed(facts hostinfo.Facts, neverBlock []netip.Prefix) []policy.Protected {
	var list []policy.Protected
	add := func(a netip.Addr, format string, args ...any) {
		what := fmt.Sprintf(format, args...)
		list = append(list, policy.Protected{Prefix: netip.PrefixFrom(a, a.BitLen()), What: what})
	}
	// If an address is in several lists, a refusal names the first.
	for _, a := range facts.SSHPeers {
		add(a, "from where an SSH session to this host is open")
		list[len(list)-1].Session = true
	}
	for _, g := range facts.Gateways {
		add(g.Addr, "the gateway of %s", g.Interface)
	}
	for _, a := range facts.Addresses {
		add(a.Addr, "an address of %s", a.Interface)
	}
	for _, a := range facts.Resolvers {
		add(a, "a DNS resolver of this host")
	}
	for _, t := range facts.Tunnels {
		add(t.Addr, "the other end of the tunnel %s (%s)", t.Interface, t.Kind)
	}
	for _, s := range facts.Servers {
		add(s.Addr, "%s", s.What)
	}
	for _, s := range policy.CloudServices() {
		if s.Cloud == facts.Cloud || slices.Contains(facts.Routed, s.Prefix.Addr()) {
			list = append(list, s.Protected)
		}
	}
	for _, p := range neverBlock {
		list = append(list, policy.Protected{Prefix: p, What: "in never_block"})
	}
	return list
}

func cloudAddresses() []netip.Addr {
	var addrs []netip.Addr
	for _, s := range policy.CloudServices() {
		addrs = append(addrs, s.Prefix.Addr())
	}
	return addrs
}
