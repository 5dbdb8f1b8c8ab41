package config

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/goccy/go-yaml/ast"
)

// Set is a set of addresses with a name, in the file. It tags its addresses.
type Set struct {
	Name     string
	Prefixes []netip.Prefix
}

// Limits of sets.
const (
	MaxSets        = 64
	MaxSetPrefixes = 10_000 // of all sets of the file together
)

func setsKey(list *[]Set) key {
	const name = "sets"
	return key{
		name: name, live: true, blank: true, value: list,
		decode: func(d *decoder, n ast.Node) { *list = d.sets(n) },
		check: func() error {
			for n, s := range *list {
				if err := nextSet((*list)[:n], s); err != nil {
					return named(name, err)
				}
			}
			return nil
		},
	}
}

func (d *decoder) sets(n ast.Node) (list []Set) {
	m, ok := n.(*ast.MappingNode)
	if !ok {
		d.errorf(n, "sets: got %s; want names with prefixes, as in office: [198.51.100.0/24]", describe(n))
		return nil
	}
	var keys []key
	sets := make([]Set, len(m.Values))
	for i, v := range m.Values {
		s := &sets[i]
		s.Name = v.Key.GetToken().Value
		k := listKey("sets."+s.Name, true, &s.Prefixes, text, parsePrefix, netip.Prefix.String)
		decode := k.decode
		k.decode = func(d *decoder, n ast.Node) {
			decode(d, n)
			if err := nextSet(list, *s); err != nil && len(d.errs) == 0 {
				d.errorf(n, "sets: %v", err)
			}
			list = append(list, *s)
		}
		keys = append(keys, k)
	}
	d.mapping(m, "sets.", keys)
	return list
}

// nextSet returns an error if s cannot follow the sets before it.
func nextSet(before []Set, s Set) error {
	if _, err := parseFeedName(s.Name); err != nil {
		return err
	}
	all := len(s.Prefixes)
	for _, b := range before {
		if b.Name == s.Name {
			return fmt.Errorf("%q is there twice; leave one of them out", s.Name)
		}
		all += len(b.Prefixes)
	}
	switch {
	case len(s.Prefixes) == 0:
		return fmt.Errorf("%q has no prefixes; want some, as in [198.51.100.0/24]", s.Name)
	case len(before) == MaxSets:
		return fmt.Errorf("more than %d; %q is one too many", MaxSets, s.Name)
	case all > MaxSetPrefixes:
		return fmt.Errorf("more than %d prefixes together; put those of %q into a file, and name that file under feeds",
			MaxSetPrefixes, s.Name)
	}
	return nil
}

// checkNames returns an error for the first name of sets and feeds that is used twice, or that
// except does not find. feed is the number of the feed that has it.
func (c Config) checkNames() (feed int, err error) {
	for n, f := range c.Feeds {
		if slices.ContainsFunc(c.Sets, func(s Set) bool { return s.Name == f.Name }) {
			return n, fmt.Errorf("feeds: %q is also the name of a set under sets; rename one of them", f.Name)
		}
		for _, name := range f.Except {
			if err := c.checkExcept(name); err != nil {
				return n, fmt.Errorf("feeds: %q has except: %w", f.Name, err)
			}
		}
	}
	return 0, nil
}

func (c Config) checkExcept(name string) error {
	if slices.ContainsFunc(c.Sets, func(s Set) bool { return s.Name == name }) {
		return nil
	}
	f, ok := c.Feed(name)
	switch {
	case !ok:
		return fmt.Errorf("%q is neither a set nor a feed; add it under sets, or under feeds with use: tag", name)
	case f.InKernel() && f.Use != UseAllow:
		return fmt.Errorf("%q has use: %s; want a feed with use: tag, proxies or allow", name, f.Use)
	}
	return nil
}

// checkExceptions returns an error for exceptions that the use of a feed cannot have.
func checkExceptions(f Feed) error {
	switch {
	case len(f.Except) > 0 && f.Use != UseBlock && f.Use != UseShadow && f.Use != UseLimit:
		return fmt.Errorf("%q has except, which needs use: block, shadow or limit", f.Name)
	case len(f.Except) > maxExcept:
		return fmt.Errorf("%q has more than %d exceptions", f.Name, maxExcept)
	}
	sorted := slices.Sorted(slices.Values(f.Except))
	if len(slices.Compact(sorted)) < len(f.Except) {
		return errors.New("a name is twice under except; leave one of them out")
	}
	return nil
}

// Exempts reports whether the addresses of a set are kept from blocks or detectors.
func (c Config) Exempts(name string) bool {
	f, _ := c.Feed(name)
	return f.Use == UseProxies || c.IsProxySet(name) || slices.ContainsFunc(c.Feeds, func(f Feed) bool {
		return slices.Contains(f.Except, name)
	})
}
