package guard

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/paraxial/paraxial/config"
	"github.com/paraxial/paraxial/loader/hostinfo"
	"github.com/paraxial/paraxial/policy"
)

// protected returns the addresses that blocks must not cover on this host now. The
// error names facts that cannot be read; the list has the rest.
func protected(ctx context.Context, host *hostinfo.Reader, cfg config.Guard) ([]policy.Protected, error) {
	facts, err := host.Read(ctx, hostinfo.Options{SSHSessions: len(cfg.SSHPorts) > 0})
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
	for _, p := range cfg.NeverBlock {
		list = append(list, policy.Protected{Prefix: p, What: "in never_block"})
	}
	if err != nil {
		return list, fmt.Errorf("read the addresses that must not be blocked: %w", err)
	}
	return list, nil
}
