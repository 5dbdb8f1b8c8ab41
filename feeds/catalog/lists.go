package catalog

import "time"

// Lists returns all lists.
func Lists() []List {
	var all []List
	for _, group := range [][]List{attackers(), anonymous(), clouds(), visitors()} {
		all = append(all, group...)
	}
	return all
}

// Texts of many entries.
const (
	block, shadow, allow, proxies, tag = "block", "shadow", "allow", "proxies", "tag"

	noLicence = "none is stated"
	countOnly = "shadow only counts: look at what it counts before you block"
)

func attackers() []List {
	return []List{
		{
			Name: "spamhaus-drop", URL: "https://www.spamhaus.org/drop/drop_v4.json", Every: 12 * time.Hour, Use: block,
			About: "Spamhaus DROP: IPv4 networks in the hands of spammers and other criminals", Entries: "1,500",
			Limit:   "once an hour at most; once a day is enough. Clients that ask more often are blocked",
			Licence: "free, with terms: https://www.spamhaus.org/blocklists/drop-fair-use-policy/",
		},
		{
			Name: "spamhaus-drop-v6", URL: "https://www.spamhaus.org/drop/drop_v6.json", Every: 12 * time.Hour,
			Use:   block,
			About: "Spamhaus DROPv6: IPv6 networks in the hands of spammers and other criminals", Entries: "100",
			Limit:   "once an hour at most; once a day is enough. Clients that ask more often are blocked",
			Licence: "free, with terms: https://www.spamhaus.org/blocklists/drop-fair-use-policy/",
		},
		{
			Name: "dshield", URL: "https://feeds.dshield.org/block.txt", Every: 6 * time.Hour, Use: block,
			About: "DShield: the 20 networks (/24) that attacked most in the last three days", Entries: "20",
			Licence: "CC BY-NC-SA, as the header of the list says",
		},
		{
			Name: "firehol-level1", Every: 12 * time.Hour, Use: block, Entries: "5,000",
			URL:     "https://raw.githubusercontent.com/firehol/blocklist-ipsets/master/firehol_level1.netset",
			About:   "FireHOL level 1: Spamhaus DROP, DShield, Feodo and networks that nobody uses",
			Licence: "that of each source: https://github.com/firehol/blocklist-ipsets",
			Note:    "private and reserved networks in it are left out",
		},
		{
			Name: "firehol-level2", Every: 12 * time.Hour, Use: shadow, Entries: "20,000",
			URL:     "https://raw.githubusercontent.com/firehol/blocklist-ipsets/master/firehol_level2.netset",
			About:   "FireHOL level 2: attacks of the last 48 hours, from several lists",
			Licence: "that of each source: https://github.com/firehol/blocklist-ipsets", Note: countOnly,
		},
		{
			Name: "blocklist-de", URL: "https://lists.blocklist.de/lists/all.txt", Every: time.Hour, Use: block,
			About: "blocklist.de: addresses that attacked its users in the last 48 hours", Entries: "25,000",
			Licence: "see https://www.blocklist.de",
		},
		{
			Name: "blocklist-de-ssh", URL: "https://lists.blocklist.de/lists/ssh.txt", Every: time.Hour, Use: block,
			About: "blocklist.de: addresses that attacked SSH in the last 48 hours", Entries: "10,000",
			Licence: "see https://www.blocklist.de",
		},
		{
			Name: "feodo", URL: "https://feodotracker.abuse.ch/downloads/ipblocklist.txt", Every: time.Hour, Use: block,
			About: "Feodo Tracker of abuse.ch: servers that control botnets", Entries: "0 to 500",
			Licence: "see https://feodotracker.abuse.ch/blocklist/",
			Note:    "at times the list is empty, which is an error here; the set then ends at its ttl",
		},
		{
			Name: "cins", URL: "https://cinsscore.com/list/ci-badguys.txt", Every: 6 * time.Hour, Use: block,
			About: "CINS Army: addresses with a bad score", Entries: "15,000", Licence: "see https://cinsscore.com",
		},
		{
			Name: "et-block", Every: 12 * time.Hour, Use: block, Entries: "1,500",
			URL:     "https://rules.emergingthreats.net/fwrules/emerging-Block-IPs.txt",
			About:   "Emerging Threats: Spamhaus DROP, DShield and servers that control botnets",
			Licence: "see https://rules.emergingthreats.net",
		},
		{
			Name: "et-compromised", Every: 12 * time.Hour, Use: block, Entries: "500",
			URL:     "https://rules.emergingthreats.net/blockrules/compromised-ips.txt",
			About:   "Emerging Threats: hosts that were taken over",
			Licence: "see https://rules.emergingthreats.net",
		},
		{
			Name: "greensnow", URL: "https://blocklist.greensnow.co/greensnow.txt", Every: 6 * time.Hour, Use: block,
			About: "GreenSnow: attacks on SSH, mail, web and others", Entries: "5,000",
			Licence: "see https://greensnow.co",
		},
		{
			Name: "ipsum-3", URL: "https://raw.githubusercontent.com/stamparm/ipsum/master/levels/3.txt",
			Every: 24 * time.Hour, Use: block, Entries: "15,000",
			About:   "IPsum level 3: addresses on three or more of some 30 lists",
			Licence: "see https://github.com/stamparm/ipsum", Note: "made anew once a day",
		},
		{
			Name: "stopforumspam-toxic", URL: "https://www.stopforumspam.com/downloads/toxic_ip_cidr.txt",
			Every: 24 * time.Hour, Use: block, Entries: "100",
			About:   "StopForumSpam: networks from which hardly anything but spam comes",
			Limit:   "see https://www.stopforumspam.com/downloads",
			Licence: "see https://www.stopforumspam.com",
		},
	}
}

func anonymous() []List {
	return []List{
		{
			Name: "tor-exits", URL: "https://check.torproject.org/torbulkexitlist", Every: time.Hour, Use: shadow,
			About: "Tor: addresses from which its users come", Entries: "1,500", Licence: noLicence, Note: countOnly,
		},
		{
			Name: "x4b-vpn", URL: "https://raw.githubusercontent.com/X4BNet/lists_vpn/main/output/vpn/ipv4.txt",
			Every: 24 * time.Hour, Use: shadow, Entries: "10,000",
			About: "X4BNet: networks of VPN providers", Licence: "see https://github.com/X4BNet/lists_vpn",
			Note: countOnly,
		},
		{
			Name: "x4b-datacenter", Every: 24 * time.Hour, Use: shadow, Entries: "15,000",
			URL:   "https://raw.githubusercontent.com/X4BNet/lists_vpn/main/output/datacenter/ipv4.txt",
			About: "X4BNet: networks of hosting providers", Licence: "see https://github.com/X4BNet/lists_vpn",
			Note: countOnly,
		},
	}
}

func clouds() []List {
	return []List{
		{
			Name: "aws", URL: "https://ip-ranges.amazonaws.com/ip-ranges.json", Every: 12 * time.Hour, Use: shadow,
			Select: "service=EC2", About: "Amazon Web Services: addresses of virtual machines", Entries: "4,000",
			Licence: noLicence, Note: "without select it is all of Amazon. " + countOnly,
		},
		{
			Name: "gcp", URL: "https://www.gstatic.com/ipranges/cloud.json", Every: 12 * time.Hour, Use: shadow,
			About: "Google Cloud: addresses of its customers", Entries: "900", Licence: noLicence, Note: countOnly,
		},
		{
			Name: "azure", URL: "/var/lib/paraxial-lists/azure.json", Every: time.Hour, Use: shadow,
			Select: "service=AzureCloud", About: "Microsoft Azure", Entries: "10,000", Licence: noLicence,
			Note: "the address changes every week. Put the file there from " +
				"https://www.microsoft.com/download/details.aspx?id=56519",
		},
		{
			Name: "oracle", URL: "https://docs.oracle.com/en-us/iaas/tools/public_ip_ranges.json",
			Every: 12 * time.Hour,
			Use:   shadow, About: "Oracle Cloud", Entries: "1,000", Licence: noLicence, Note: countOnly,
		},
		{
			Name: "digitalocean", URL: "https://digitalocean.com/geo/google.csv", Every: 24 * time.Hour, Use: shadow,
			About: "DigitalOcean", Entries: "1,200", Licence: noLicence, Note: countOnly,
		},
		{
			Name: "linode", URL: "https://geoip.linode.com/", Every: 24 * time.Hour, Use: shadow,
			About: "Linode (Akamai)", Entries: "5,000", Licence: noLicence, Note: countOnly,
		},
		{
			Name: "openai-gptbot", URL: "https://openai.com/gptbot.json", Every: 24 * time.Hour, Use: shadow,
			About: "OpenAI: the crawler GPTBot", Entries: "300", Licence: noLicence, Note: countOnly,
		},
	}
}

// visitors are lists of addresses that most servers want to hear from.
func visitors() []List {
	const why = "an allow beats every block"
	const proxiesOnly = "detectors leave the addresses alone. With use: allow they pass every block, too"
	const crawler = "name it in except of a feed that blocks clouds. With use: allow it passes every block"
	return []List{
		{
			Name: "cloudflare", URL: "https://api.cloudflare.com/client/v4/ips", Every: 24 * time.Hour, Use: proxies,
			About: "Cloudflare: the addresses from which it asks your server", Entries: "22", Licence: noLicence,
			Note: proxiesOnly,
		},
		{
			Name: "fastly", URL: "https://api.fastly.com/public-ip-list", Every: 24 * time.Hour, Use: proxies,
			About: "Fastly: the addresses from which it asks your server", Entries: "21", Licence: noLicence,
			Note: proxiesOnly,
		},
		{
			Name: "github-hooks", URL: "https://api.github.com/meta", Select: "service=hooks", Every: 24 * time.Hour,
			Use:   allow,
			About: "GitHub: the addresses from which it calls web hooks", Entries: "6", Licence: noLicence, Note: why,
			Limit: "60 times an hour from one address, together with other requests to this API",
		},
		{
			Name: "googlebot", URL: "https://developers.google.com/static/search/apis/ipranges/googlebot.json",
			Every: 24 * time.Hour, Use: tag, About: "Google's crawler for its search", Entries: "300",
			Licence: noLicence,
			Note:    crawler,
		},
		{
			Name: "bingbot", URL: "https://www.bing.com/toolbox/bingbot.json", Every: 24 * time.Hour, Use: tag,
			About: "Microsoft's crawler for Bing", Entries: "28", Licence: noLicence, Note: crawler,
		},
		{
			Name: "uptimerobot", URL: "https://uptimerobot.com/inc/files/ips/IPv4andIPv6.txt", Every: 24 * time.Hour,
			Use: allow, About: "UptimeRobot: the addresses from which it checks your server", Entries: "200",
			Licence: noLicence, Note: why,
		},
	}
}
