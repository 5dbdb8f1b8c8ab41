package config

import (
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/paraxial/paraxial/policy"
)

// Proxy is a prefix of proxies, or the name of a set of them.
type Proxy struct {
	Prefix netip.Prefix
	Set    string // empty for a prefix
}

// proxySet is before the name of a set of proxies.
const proxySet = "set:"

func (p Proxy) String() string {
	if p.Set != "" {
		return proxySet + p.Set
	}
	return p.Prefix.String()
}

func parseProxy(s string) (p Proxy, err error) {
	if name, ok := strings.CutPrefix(s, proxySet); ok {
		p.Set, err = parseFeedName(name)
		return p, err
	}
	p.Prefix, err = parsePrefix(s)
	return p, err
}

func proxiesKey(list *[]Proxy) key {
	k := listKey("proxies", true, list, text, parseProxy, Proxy.String)
	decode := k.decode
	k.decode = func(d *decoder, n ast.Node) {
		d.proxies = n
		decode(d, n)
	}
	return k
}

// readProxies appends the prefixes in ProxiesFile to Proxies.
func (c *Config) readProxies() error {
	if c.ProxiesFile == "" {
		return nil
	}
	f, err := os.Open(c.ProxiesFile)
	if err != nil {
		return fmt.Errorf("read proxies_file: %w (named in %s)", err, c.File)
	}
	defer f.Close()
	var errs Errors
	prefixes := slices.Clip(c.Proxies)
	err = policy.ReadList(io.LimitReader(f, MaxFileSize), func(l policy.ListLine) bool {
		if l.Err != nil {
			errs = append(errs, &Error{
				File: c.ProxiesFile, Line: l.Number, Column: 1, Message: "proxies_file: " + message("%v", l.Err),
			})
			return len(errs) < maxListed
		}
		prefixes = append(prefixes, Proxy{Prefix: l.Prefix})
		return true
	})
	if err != nil {
		return fmt.Errorf("read proxies_file %s: %w", c.ProxiesFile, err)
	}
	if len(errs) > 0 {
		return errs
	}
	c.Proxies = prefixes
	return nil
}

// BehindProxy reports whether all of p is part of a prefix in Proxies. It does not look into sets.
func (c Config) BehindProxy(p netip.Prefix) bool {
	return slices.ContainsFunc(c.Proxies, func(proxy Proxy) bool {
		return proxy.Set == "" && proxy.Prefix.Bits() <= p.Bits() && proxy.Prefix.Overlaps(p)
	})
}

// ProxyOf returns the prefix in Proxies that overlaps p, if there is one. It does not look into sets.
func (c Config) ProxyOf(p netip.Prefix) (netip.Prefix, bool) {
	for _, proxy := range c.Proxies {
		if proxy.Set == "" && proxy.Prefix.Overlaps(p) {
			return proxy.Prefix, true
		}
	}
	return netip.Prefix{}, false
}

// IsProxySet reports whether Proxies names a set.
func (c Config) IsProxySet(name string) bool { return slices.Contains(c.Proxies, Proxy{Set: name}) }

// WithProxySets returns the configuration with the prefixes of the sets under Sets in place of their
// names in Proxies. It is for programs that do not have the sets: only the daemon has those of feeds.
func (c Config) WithProxySets() Config {
	var all []Proxy
	for _, p := range c.Proxies {
		n := slices.IndexFunc(c.Sets, func(s Set) bool { return s.Name == p.Set })
		if p.Set == "" || n < 0 {
			all = append(all, p)
			continue
		}
		for _, prefix := range c.Sets[n].Prefixes {
			all = append(all, Proxy{Prefix: prefix})
		}
	}
	c.Proxies = all
	return c
}

// ProxyPrefixes returns the prefixes in Proxies.
func (c Config) ProxyPrefixes() (prefixes []netip.Prefix) {
	for _, p := range c.Proxies {
		if p.Set == "" {
			prefixes = append(prefixes, p.Prefix)
		}
	}
	return prefixes
}

// checkProxies returns an error for the first set in Proxies that is not there.
func (c Config) checkProxies() error {
	for _, p := range c.Proxies {
		if p.Set == "" || slices.ContainsFunc(c.Sets, func(s Set) bool { return s.Name == p.Set }) {
			continue
		}
		f, ok := c.Feed(p.Set)
		switch {
		case !ok:
			return fmt.Errorf("proxies: %s is neither a set nor a feed; "+
				"add it under sets, or under feeds with use: tag", p)
		case f.InKernel():
			return fmt.Errorf("proxies: %s is a feed with use: %s; want one with use: tag or proxies", p, f.Use)
		}
	}
	return nil
}
