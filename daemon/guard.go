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

// violations lists the blocks in force that the guard would refuse now, as
// warnings for the operator. They are never lifted silently: an address that
// moved is not a reason to let an attacker in.
func violations(b *policy.Book, guard []policy.Protected, now policy.Deadline) []string {
	const most = 10
	var warnings []string
	for _, p := range guard {
		for e := range b.Overlapping(policy.Block, p.Prefix) {
			if e.Action != policy.Drop || e.Forced || !e.Live(now) {
				continue
			}
			if len(warnings) == most {
				return append(warnings, "more blocks cover what must not be blocked")
			}
			warnings = append(warnings, fmt.Sprintf("the block of %s by %s covers %s, %s: paraxialctl unblock %s --origin %s",
				e.Prefix, e.Origin, p.Prefix.Addr(), p.What, e.Prefix, e.Origin))
		}
	}
	return warnings
}
