package config

import (
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"

	"github.com/paraxial/paraxial/policy"
)

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
		prefixes = append(prefixes, l.Prefix)
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

// BehindProxy reports whether all of p is part of a prefix in Proxies.
func (c Config) BehindProxy(p netip.Prefix) bool {
	return slices.ContainsFunc(c.Proxies, func(proxy netip.Prefix) bool {
		return proxy.Bits() <= p.Bits() && proxy.Overlaps(p)
	})
}

// ProxyOf returns the prefix in Proxies that overlaps p, if there is one.
func (c Config) ProxyOf(p netip.Prefix) (netip.Prefix, bool) {
	for _, proxy := range c.Proxies {
		if proxy.Overlaps(p) {
			return proxy, true
		}
	}
	return netip.Prefix{}, false
}
