package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// A contender is one way to drop packets of blocked sources at the host end.
type contender struct {
	name    string
	missing string // reason why it cannot be measured here
	arm     func() (disarm func() error, err error)
}

// notInstalled returns the reason for a contender whose tool is missing. The package is Debian's.
func notInstalled(tool, pkg string) string {
	if _, err := exec.LookPath(tool); err != nil {
		return fmt.Sprintf("not installed: %s (apt-get install %s)", tool, pkg)
	}
	return ""
}

func contenders(ctx context.Context, t *tables, blocked []netip.Prefix, v *veth) []contender {
	xdp := func(name string, c *ebpf.Collection, program string, flags link.XDPAttachFlags) contender {
		return contender{name: name, arm: func() (func() error, error) {
			l, err := link.AttachXDP(link.XDPOptions{Program: c.Programs[program], Interface: v.host.Attrs().Index,
				Flags: flags})
			if err != nil {
				return nil, fmt.Errorf("attach: %w", err)
			}
			return l.Close, nil
		}}
	}
	return []contender{
		xdp("empty XDP_DROP, native", t.index, shippedProgEmptyDrop, link.XDPDriverMode),
		xdp("parse and count, native", t.floor, floorProgParaxial, link.XDPDriverMode),
		xdp(contenderNative, t.index, shippedProgParaxial, link.XDPDriverMode),
		xdp("Paraxial, LPM only, native", t.lpm, shippedProgParaxial, link.XDPDriverMode),
		xdp("empty XDP_DROP, generic", t.index, shippedProgEmptyDrop, link.XDPGenericMode),
		xdp("Paraxial, generic", t.index, shippedProgParaxial, link.XDPGenericMode),
		xdp("Paraxial, LPM only, generic", t.lpm, shippedProgParaxial, link.XDPGenericMode),
		nft(ctx, nftHash, blocked),
		nft(ctx, nftInterval, blocked),
		ipset(ctx, blocked),
	}
}

// contenderNative is the contender that the others are compared with.
const contenderNative = "Paraxial, native"

// run runs a tool with script as its standard input.
func run(ctx context.Context, script string, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

// An nftSet is a kind of nft set: the flags make nft choose its data structure.
type nftSet struct{ name, flags string }

var (
	nftHash     = nftSet{name: "nft hash set, netdev ingress"}
	nftInterval = nftSet{name: "nft interval set, netdev ingress", flags: "flags interval"}
)

// script loads a table that drops the elements of the set, as one transaction.
func (s nftSet) script(blocked []netip.Prefix) string {
	var b strings.Builder
	fmt.Fprintf(&b, "table netdev bench {\nset blocked {\ntype ipv4_addr\n%s\nsize %d\nelements = { ", s.flags,
		2*len(blocked))
	writePrefixes(&b, blocked, "%s, ")
	fmt.Fprintf(&b, "}\n}\nchain in {\ntype filter hook ingress device %q priority 0\nip saddr @blocked drop\n}\n}\n",
		hostName)
	return b.String()
}

// writePrefixes writes addresses without the /32, because not every tool accepts it.
func writePrefixes(b *strings.Builder, prefixes []netip.Prefix, format string) {
	for _, p := range prefixes {
		if p.IsSingleIP() {
			fmt.Fprintf(b, format, p.Addr())
		} else {
			fmt.Fprintf(b, format, p)
		}
	}
}

func nft(ctx context.Context, s nftSet, blocked []netip.Prefix) contender {
	return contender{name: s.name, missing: notInstalled("nft", "nftables"), arm: func() (func() error, error) {
		if err := run(ctx, s.script(blocked), "nft", "-f", "-"); err != nil {
			return nil, err
		}
		undo := func() error { return run(context.WithoutCancel(ctx), "", "nft", "delete", "table", "netdev", "bench") }
		return undo, nil
	}}
}

const ipsetName = "ipset hash:net, raw PREROUTING"

func ipsetScript(blocked []netip.Prefix) string {
	var b strings.Builder
	fmt.Fprintf(&b, "create blocked hash:net family inet maxelem %d\n", 2*len(blocked))
	writePrefixes(&b, blocked, "add blocked %s\n")
	return b.String()
}

// iptables returns the command to use, and prefers the newer one.
func iptables() (command, missing string) {
	for _, command := range []string{"iptables-nft", "iptables-legacy"} {
		if notInstalled(command, "iptables") == "" {
			return command, ""
		}
	}
	return "", notInstalled("iptables", "iptables")
}

func ipset(ctx context.Context, blocked []netip.Prefix) contender {
	command, missing := iptables()
	if absent := notInstalled("ipset", "ipset"); absent != "" {
		missing = absent
	}
	rule := []string{"PREROUTING", "-i", hostName, "-m", "set", "--match-set", "blocked", "src", "-j", "DROP"}
	table := func(ctx context.Context, action string) error {
		return run(ctx, "", command, append([]string{"-t", "raw", action}, rule...)...)
	}
	return contender{name: ipsetName, missing: missing, arm: func() (func() error, error) {
		if err := run(ctx, ipsetScript(blocked), "ipset", "restore"); err != nil {
			return nil, err
		}
		if err := table(ctx, "-A"); err != nil {
			return nil, err
		}
		return func() error {
			ctx := context.WithoutCancel(ctx)
			return errors.Join(table(ctx, "-D"), run(ctx, "", "ipset", "destroy", "blocked"))
		}, nil
	}}
}
