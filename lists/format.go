package lists

import (
	"fmt"
	"slices"
	"strings"
)

// format is a format of lists.
type format struct {
	name    string
	title   string
	is      func(*sample) bool // recognises it
	open    func(*sink) parser
	selects bool // it has fields for Options.Select
	columns bool // it has columns for Options.Column
}

// formats lists all formats. The first one that recognises a text reads it.
func formats(opts Options) []format {
	firstIs := func(f func(string) bool) func(*sample) bool {
		return func(s *sample) bool { return f(s.first()) }
	}
	anyIs := func(f func(string) bool) func(*sample) bool {
		return func(s *sample) bool { return s.any(f) }
	}
	mostAre := func(f func(string) bool) func(*sample) bool {
		return func(s *sample) bool { return s.most(f) }
	}
	never := func(*sample) bool { return false }
	sep := func(b byte) func(*sink) parser {
		return func(o *sink) parser { return openTable(b)(o, opts) }
	}
	return []format{
		{"spamhaus-json", "Spamhaus NDJSON", isNDJSON, openNDJSON, true, false},
		{"fail2ban-banned", "fail2ban's banned", anyPrefix("[{'"), fail2banBanned, true, false},
		{"nft-json", "nft JSON", hasKeys("nftables"), openJSON(nftJSON), true, false},
		{"aws", "AWS ip-ranges", hasKeys("prefixes", "ip_prefix"), openJSON(aws), true, false},
		{"google", "Google JSON", isGoogle, openJSON(google), true, false},
		{"azure", "Azure service tags", hasKeys("values", "addressPrefixes"), openJSON(azure), true, false},
		{"oracle", "Oracle ranges", hasKeys("regions", "cidrs"), openJSON(oracle), true, false},
		{"fastly", "Fastly JSON", hasKeys("addresses", "ipv6_addresses"), openJSON(fastly), false, false},
		{"cloudflare", "Cloudflare JSON", hasKeys("result", "ipv4_cidrs"), openJSON(cloudflare), true, false},
		{"github", "GitHub meta", hasKeys("hooks", "web"), openJSON(github), true, false},
		{"crowdsec-json", "CrowdSec JSON", isCrowdsecJSON, openJSON(crowdsec), true, false},
		{"json", "JSON array", isJSON, openJSON(array(opts.Column)), true, true},
		{"fail2ban-status", "fail2ban status", anyPrefix("Status for the jail:"), openFail2banStatus, false, false},
		{"fail2ban-times", "fail2ban's bans with times", firstIs(banTime.MatchString), fail2banTimes, false, false},
		{"ipset", "ipset", firstIs(isIPSet), openIPSet, true, false},
		{"iptables", "iptables-save", firstIs(isIPTables), openIPTables, true, false},
		{"nft", "nft set", firstIs(isNFT), openNFT, true, false},
		{"mikrotik", "MikroTik script", firstIs(isMikroTik), openMikroTik, true, false},
		{"tor", "Tor exit addresses", anyPrefix("ExitNode "), tor, false, false},
		{"sshguard", "sshguard blacklist", firstIs(isSSHGuard), sshguard, false, false},
		{"rir", "delegated file of a registry", firstIs(isRegistry), openRegistry, true, false},
		{"rbldnsd", "rbldnsd", anyIs(isRBLDNSD), rbldnsd, false, false},
		{"dshield", "DShield", mostAre(isDShield), dshield, false, false},
		{"p2p", "P2P", mostAre(isP2P), p2p, false, false},
		{"emule", "eMule ipfilter.dat", mostAre(isEmule), emule, false, false},
		{"hosts.deny", "hosts.deny", mostAre(isHostsDeny), hostsDeny, false, false},
		{"nginx", "nginx access rules", anyPrefix("deny ", "allow "), nginxAccess, false, false},
		{"nginx-geo", "nginx geo", firstIs(geoStart.MatchString), openNginxGeo, true, false},
		{"apache", "Apache access rules", firstIs(isApache), apache, false, false},
		{"postfix", "Postfix CIDR table", mostAre(isPostfix), postfix, false, false},
		{"crowdsec", "CrowdSec CSV", firstIs(isCrowdsecHeader), openCrowdsecCSV, false, false},
		{"csv", "CSV", mostAre(isRecord(',')), sep(','), true, true},
		{"tsv", "TSV", mostAre(isRecord('\t')), sep('\t'), true, true},
		{"bars", "columns between |", mostAre(isRecord('|')), sep('|'), true, true},
		{"semicolons", "columns between ;", isSemicolons, sep(';'), true, true},
		{"words", "columns between blanks", never, sep(0), true, true},
		{"spamhaus", "Spamhaus DROP", isSpamhaus, openPlain(unknownTwo), false, false},
		{"csf.deny", "csf.deny", anyPrefix("tcp|", "udp|"), openPlain(unknownTwo), false, false},
		{"ranges", "ranges", never, openPlain(twoEnds), false, false},
		{"addresses", "addresses", never, openPlain(twoSingle), false, false},
		{"plain", "plain list", func(*sample) bool { return true }, openPlain(unknownTwo), false, false},
	}
}

// Formats returns the names of all formats.
func Formats() []string {
	var names []string
	for _, f := range formats(Options{}) {
		names = append(names, f.name)
	}
	slices.Sort(names)
	return names
}

// choose returns the format of a text.
func choose(s *sample, opts Options) (format, error) {
	all := formats(opts)
	if opts.Format != "" {
		for _, f := range all {
			if f.name == opts.Format {
				return f, nil
			}
		}
		return format{}, fmt.Errorf("format %s is not known; the formats are %s",
			quote(opts.Format), strings.Join(Formats(), ", "))
	}
	if s.any(isSinkhole) && s.most(isSinkhole) {
		return format{}, fmt.Errorf("this is a hosts file: it lists host names, which are not resolved")
	}
	if opts.Column != "" {
		return tableOf(s, all)
	}
	for _, f := range all {
		if f.is(s) {
			return f, nil
		}
	}
	return format{}, fmt.Errorf("the format is not known: choose one with --format")
}

// tableOf returns the format of a text that the user says to have columns.
func tableOf(s *sample, all []format) (format, error) {
	for name, in := range map[string]string{"csv": ",", "tsv": "\t", "bars": "|", "semicolons": ";"} {
		if s.most(func(line string) bool { return strings.Contains(line, in) }) && !isJSON(s) {
			return pick(all, name), nil
		}
	}
	if isJSON(s) {
		return pick(all, "json"), nil
	}
	return pick(all, "words"), nil
}

func pick(all []format, name string) format {
	return all[slices.IndexFunc(all, func(f format) bool { return f.name == name })]
}

// anyPrefix recognises a text whose first line begins with one of the words.
func anyPrefix(begin ...string) func(*sample) bool {
	return func(s *sample) bool {
		return slices.ContainsFunc(begin, func(b string) bool { return strings.HasPrefix(s.first(), b) })
	}
}

func isJSON(s *sample) bool {
	first := s.first()
	if !strings.HasPrefix(first, "{") && !strings.HasPrefix(first, "[") {
		return false
	}
	rest := strings.TrimSpace(first[1:])
	if rest == "" && len(s.data) > 1 {
		rest = s.data[1]
	}
	return rest == "" || strings.ContainsRune(`{["]}`, rune(rest[0]))
}

// hasKeys recognises a JSON document whose start has all these keys.
func hasKeys(keys ...string) func(*sample) bool {
	return func(s *sample) bool {
		if !isJSON(s) {
			return false
		}
		text := string(s.start)
		for _, k := range keys {
			if !strings.Contains(text, `"`+k+`"`) {
				return false
			}
		}
		return true
	}
}

func isGoogle(s *sample) bool {
	return hasKeys("prefixes", "ipv4Prefix")(s) || hasKeys("prefixes", "ipv6Prefix")(s)
}

func isCrowdsecJSON(s *sample) bool {
	return strings.HasPrefix(s.first(), "[") && hasKeys("scope", "value", "type")(s)
}

func isIPSet(line string) bool {
	w := strings.Fields(line)
	switch at(w, 0) {
	case "create", "-N":
		return len(w) > 2
	case "add", "-A":
		return len(w) > 2 && !strings.HasPrefix(w[2], "-") && !strings.HasPrefix(w[1], "address=") &&
			w[1] != "element" &&
			w[1] != "set" && w[1] != "table"
	case "Name:":
		return true
	}
	return false
}

func isIPTables(line string) bool {
	return strings.HasPrefix(line, "*filter") || strings.HasPrefix(line, "*nat") || strings.HasPrefix(line, "*raw") ||
		strings.HasPrefix(line, "*mangle") || strings.HasPrefix(line, "-A ") || strings.HasPrefix(line, "-I ")
}

func isNFT(line string) bool {
	for _, begin := range []string{"table ", "add element ", "add set ", "add table ", "flush set ", "flush ruleset",
		"create element ", "define ", "destroy ", "delete set ", "create table "} {
		if strings.HasPrefix(line, begin) {
			return true
		}
	}
	return false
}

func isMikroTik(line string) bool {
	return strings.HasPrefix(line, "/ip") || strings.HasPrefix(line, ":local ") ||
		strings.HasPrefix(line, ":global ") ||
		strings.HasPrefix(line, "add address=") || strings.HasPrefix(line, "add list=")
}

func isApache(line string) bool {
	lower := strings.ToLower(line)
	for _, begin := range []string{"<require", "require ", "deny from ", "order ", "<limit"} {
		if strings.HasPrefix(lower, begin) {
			return true
		}
	}
	return false
}

func isSpamhaus(s *sample) bool {
	return s.any(func(line string) bool {
		text, comment, ok := strings.Cut(line, ";")
		return ok && isPrefix(strings.TrimSpace(text)) && strings.HasPrefix(strings.TrimSpace(comment), "SBL")
	})
}

// isSinkhole reports whether a line is one of a hosts file.
func isSinkhole(line string) bool {
	w := strings.Fields(line)
	switch at(w, 0) {
	case "0.0.0.0", "127.0.0.1", "::", "::1", "255.255.255.255", "fe80::1%lo0":
		return len(w) > 1 && !isValue(w[1]) && !digits(w[1]) && isName(w[1])
	}
	return false
}

func isName(s string) bool {
	return s == "localhost" || strings.HasPrefix(s, "ip6-") || isHostname(s) || s == "broadcasthost" || s == "local"
}

// isRecord recognises a line of several columns that are not all addresses.
func isRecord(sep byte) func(string) bool {
	return func(line string) bool {
		f, err := splitFields(line, sep)
		if err != nil || len(f) < 2 || strings.HasPrefix(line, "tcp|") || strings.HasPrefix(line, "udp|") {
			return false
		}
		addresses := 0
		for _, v := range f {
			if isValue(v) {
				addresses++
			}
		}
		if sep == '\t' && len(f) == 2 && (digits(f[1]) || isExported(line)) {
			return false // a score, or the output of export
		}
		return addresses < len(f)
	}
}

// isSemicolons recognises a table between semicolons, which otherwise begin comments.
func isSemicolons(s *sample) bool {
	first, err := splitFields(s.first(), ';')
	return err == nil && len(first) > 1 && !isValue(first[0]) && !strings.ContainsAny(s.first(), "{") &&
		s.most(func(line string) bool {
			f, err := splitFields(line, ';')
			return err == nil && len(f) == len(first)
		})
}
