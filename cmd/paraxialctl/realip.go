package main

import (
	"net/netip"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/paraxial/paraxial/policy"
	"github.com/paraxial/paraxial/realip"
)

// unixPeer is the word for a peer without an address.
const unixPeer = "unix"

func (p *program) realipCommand() command {
	return command{Command: &cli.Command{
		Name:      "realip",
		Usage:     "show the client of an HTTP request that came through proxies",
		ArgsUsage: "[HEADER...]",
		Description: "HEADER is a line of the request, such as 'X-Forwarded-For: 198.51.100.9'. Prints the client,\n" +
			"or nobody. Headers count only if the peer is one of the proxies. They are read from the right,\n" +
			"and an entry that cannot be read ends the search with nobody. Needs no running paraxiald.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "peer",
				Usage: "the connection comes from `ADDR`, or from " + unixPeer + " for a Unix socket"},
			&cli.StringSliceFlag{Name: "proxies",
				Usage: "trust proxies in `PREFIX`, or " + unixPeer + "; may be repeated"},
			&cli.StringSliceFlag{Name: "clients",
				Usage: "take addresses in `PREFIX` for clients although they are private; may be repeated"},
			&cli.StringSliceFlag{Name: "header",
				Usage: "only header `NAME` counts; may be repeated (default: the known ones)"},
			boolFlag("trust-peer", "trust any peer, and skip what cannot be read: clients can then name anybody"),
		},
		Action: p.realip,
	}}
}

// realipResult is the answer of realip.
type realipResult struct {
	Client *netip.Addr `json:"client"`
}

func (p *program) realip(c *cli.Context) error {
	rules, err := realipRules(c)
	if err != nil {
		return err
	}
	peer, err := realipPeer(c)
	if err != nil {
		return err
	}
	var headers []realip.Header
	for _, line := range c.Args().Slice() {
		name, value, ok := strings.Cut(line, ":")
		if !ok || strings.TrimSpace(name) == "" {
			return misuse(c, "%q: want a header such as 'X-Forwarded-For: 198.51.100.9'", line)
		}
		headers = append(headers, realip.Header{Name: strings.TrimSpace(name), Value: strings.TrimSpace(value)})
	}
	client, ok := rules.Client(peer, headers)
	switch {
	case p.json() && ok:
		return p.printJSON(realipResult{&client})
	case p.json():
		return p.printJSON(realipResult{})
	case ok:
		p.printf("%s\n", client)
	default:
		p.printf("nobody\n")
	}
	return nil
}

func realipPeer(c *cli.Context) (netip.Addr, error) {
	switch s := c.String("peer"); {
	case s == unixPeer || s == "" && c.Bool("trust-peer"):
		return netip.Addr{}, nil
	case s == "":
		return netip.Addr{}, misuse(c, "realip needs --peer: the address that the connection comes from")
	default:
		a, err := policy.ParseAddr(s)
		if err != nil {
			return netip.Addr{}, misuse(c, "--peer: %v", err)
		}
		return a, nil
	}
}

func realipRules(c *cli.Context) (r realip.Rules, err error) {
	var proxies []string
	for _, s := range c.StringSlice("proxies") {
		if s == unixPeer {
			r.Unix = true
		} else {
			proxies = append(proxies, s)
		}
	}
	if r.Proxies, err = prefixValues(c, "proxies", proxies); err != nil {
		return r, err
	}
	r.Clients, err = prefixValues(c, "clients", c.StringSlice("clients"))
	r.Headers = c.StringSlice("header")
	r.TrustPeer = c.Bool("trust-peer")
	return r, err
}

// prefixValues reads the values of a flag that holds prefixes.
func prefixValues(c *cli.Context, flag string, values []string) (prefixes []netip.Prefix, err error) {
	for _, s := range values {
		prefix, _, err := policy.ParsePrefix(s)
		if err != nil {
			return nil, misuse(c, "--%s: %v", flag, err)
		}
		prefixes = append(prefixes, prefix)
	}
	return prefixes, nil
}
