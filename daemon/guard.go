package daemon

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/paraxial/paraxial/loader/hostinfo"
	"github.com/paraxial/paraxial/policy"
)

// protected lists the addresses that blocks must not cover on this host now, with
// an error for facts that cannot be read. SSH sessions come and go, so nothing is
// kept from one reading to the next.
func (d *Daemon) protected(ctx context.Context) ([]policy.Protected, error) {
	cfg := d.settings().Guard
	facts, err := hostinfo.Read(ctx, hostinfo.Options{SSHPorts: cfg.SSHPorts})
	var list []policy.Protected
	add := func(a netip.Addr, format string, args ...any) {
		list = append(list, policy.Protected{Prefix: netip.PrefixFrom(a, a.BitLen()), What: fmt.Sprintf(format, args...)})
	}
	// Where one address is several things, the first is named.
	for _, a := range facts.SSHPeers {
		add(a, "from where an SSH session to this host is open")
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
	for _, p := range cfg.NeverBlock {
		list = append(list, policy.Protected{Prefix: p, What: "in never_block"})
	}
	if err != nil {
		return list, fmt.Errorf("find out what must not be blocked: %w", err)
	}
	return list, nil
}
