package lists

import (
	"errors"
	"strings"
)

// aws reads ip-ranges.json.
func aws(o *sink, n *node) error {
	if err := n.member("prefixes").expect('[', `"prefixes"`); err != nil {
		return err
	}
	return errors.Join(
		o.records(n.member("prefixes"), "ip_prefix"),
		o.records(n.member("ipv6_prefixes"), "ipv6_prefix"))
}

// google reads the lists of Google and Bing.
func google(o *sink, n *node) error {
	all := n.member("prefixes")
	if err := all.expect('[', `"prefixes"`); err != nil {
		return err
	}
	return o.records(all, "ipv4Prefix", "ipv6Prefix")
}

// records adds the prefixes of an array of objects. An object has one or more of keys.
func (o *sink) records(all *node, keys ...string) error {
	for _, r := range all.values {
		found := false
		for _, key := range keys {
			if v := r.member(key); v.kind != 'n' {
				found = true
				if err := o.prefix(v, details{}, r.fields()); err != nil {
					return err
				}
			}
		}
		if !found {
			o.badf(r.line, "the record has no %s", strings.Join(keys, " or "))
		}
	}
	return nil
}

// azure reads ServiceTags_Public.json.
func azure(o *sink, n *node) error {
	all := n.member("values")
	if err := all.expect('[', `"values"`); err != nil {
		return err
	}
	for _, tag := range all.values {
		p := tag.member("properties")
		fields := append(tag.fields(), p.fields()...)
		fields = append(fields, field{"service", tag.member("name").text})
		if err := o.prefixes(p.member("addressPrefixes"), fields...); err != nil {
			return err
		}
	}
	return nil
}

// oracle reads public_ip_ranges.json.
func oracle(o *sink, n *node) error {
	all := n.member("regions")
	if err := all.expect('[', `"regions"`); err != nil {
		return err
	}
	for _, region := range all.values {
		for _, r := range region.member("cidrs").values {
			fields := append(region.fields(), r.fields()...)
			for _, tag := range r.member("tags").values {
				fields = append(fields, field{"tag", tag.text}, field{"service", tag.text})
			}
			if err := o.prefix(r.member("cidr"), details{}, fields); err != nil {
				return err
			}
		}
	}
	return nil
}

// fastly reads public-ip-list.
func fastly(o *sink, n *node) error {
	if err := n.member("addresses").expect('[', `"addresses"`); err != nil {
		return err
	}
	if err := o.prefixes(n.member("addresses")); err != nil || !n.has("ipv6_addresses") {
		return err
	}
	return o.prefixes(n.member("ipv6_addresses"))
}

// cloudflare reads the answer of the API /ips.
func cloudflare(o *sink, n *node) error {
	r := n.member("result")
	if err := r.expect('{', `"result"`); err != nil {
		return err
	}
	if n.member("success").text == "false" {
		return errors.New(`the answer says "success": false`)
	}
	for _, key := range []string{"ipv4_cidrs", "ipv6_cidrs", "jdcloud_cidrs"} {
		if r.has(key) {
			if err := o.prefixes(r.member(key), field{"service", strings.TrimSuffix(key, "_cidrs")}); err != nil {
				return err
			}
		}
	}
	return nil
}

// github reads the answer of the API /meta. Each array of prefixes is a service.
func github(o *sink, n *node) error {
	if err := n.member("hooks").expect('[', `"hooks"`); err != nil {
		return err
	}
	for i, key := range n.keys {
		if key == "ssh_keys" || n.values[i].kind != '[' {
			continue // texts, fingerprints and domains
		}
		if err := o.prefixes(n.values[i], field{"service", key}); err != nil {
			return err
		}
	}
	return nil
}

// array reads an array of prefixes, or an array of objects with the column that the
// user names.
func array(column string) func(*sink, *node) error {
	return func(o *sink, n *node) error {
		if err := n.expect('[', "an array"); err != nil {
			return err
		}
		if column == "" {
			return o.prefixes(n)
		}
		for _, r := range n.values {
			if err := o.prefix(r.member(column), details{}, r.fields()); err != nil {
				return err
			}
		}
		return nil
	}
}
