package lists_test

import "github.com/paraxial/paraxial/lists"

func plainCases() []meaning {
	return []meaning{
		{name: "comments", format: "plain", want: "192.0.2.1 192.0.2.2 192.0.2.3 192.0.2.4 2001:db8::/32", text: rows(
			"# one", "; two", "// three", "-- four", "", "192.0.2.1 # x", "192.0.2.2;x", "192.0.2.3 // x",
			"192.0.2.4 -- x", "2001:DB8::/32")},
		{name: "forms", format: "plain", text: rows("192.0.2.1-192.0.2.2", "192.0.2.4 - 192.0.2.7", "192.0.2.8-9",
			"198.51.100.0 255.255.255.0", "198.51.100.0/255.255.255.128", "203.0.113.*", "10.20.*.*",
			"198.18.0.0 0.0.255.255", "2001:db8::1-2001:db8::2", "::ffff:192.0.2.99", `"192.0.2.100"`, "[2001:db8::9]"),
			want: "192.0.2.1 192.0.2.2 192.0.2.4/30 192.0.2.8/31 198.51.100.0/24 198.51.100.0/25 203.0.113.0/24 " +
				"10.20.0.0/16 198.18.0.0/16 2001:db8::1 2001:db8::2 192.0.2.99 192.0.2.100 2001:db8::9"},
		{name: "several a line", format: "plain",
			text: "192.0.2.1 192.0.2.2,192.0.2.3\t2001:db8::1\n192.0.2.5, 192.0.2.6\n",
			want: "192.0.2.1 192.0.2.2 192.0.2.3 2001:db8::1 192.0.2.5 192.0.2.6"},
		{name: "CR", format: "plain", text: "192.0.2.1\r192.0.2.2\r\r\nx\r192.0.2.3",
			want: "192.0.2.1 192.0.2.2 192.0.2.3",
			bad:  []int{4}},
		{name: "score", format: "plain", text: "192.0.2.1\t10\n192.0.2.2\t9\n192.0.2.64 26\n",
			want: "192.0.2.1 192.0.2.2 192.0.2.64"},
		{name: "export", format: "plain",
			text: "192.0.2.0/24\tfeed:x\n# shadow: 192.0.2.1/32\tcli\n2001:db8::/32\tmy.list\n",
			want: "192.0.2.0/24 2001:db8::/32"},
		{name: "errors", format: "plain", want: "192.0.2.1", bad: []int{2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
			16, 17},
			text: rows("192.0.2.1", "example.com", "192.0.2.2:80", "http://192.0.2.3/", "192.0.2.", "192.000.002.004",
				"192.0.2.5 word", "192.0.2.9-192.0.2.1", "192.0.2.0/33", "fe80::1%eth0", "<html>",
				"192.0.2.0 255.0.255.0 x",
				"192.0.2.256", "192.*.2.1", "192.0.2.1 192.0.2.2 example.com", "1.2.3.4-2001:db8::",
				"tcp|in|d=22|s=192.0.2.1")},
		{name: "two as a range", opts: lists.Options{Format: "ranges"}, format: "ranges",
			text: "192.0.2.0\t192.0.2.3\n",
			want: "192.0.2.0/30"},
		{name: "two as addresses", opts: lists.Options{Format: "addresses"}, format: "addresses",
			text: "192.0.2.0,192.0.2.3\n", want: "192.0.2.0 192.0.2.3"},
		{name: "csf", format: "csf.deny", want: "192.0.2.7", bad: []int{1},
			text: rows("tcp|in|d=22|s=192.0.2.1", "192.0.2.7 # lfd: (sshd) failed login")},
		{name: "spamhaus", format: "spamhaus", text: "; Spamhaus\n192.0.2.0/24 ; SBL1\n", want: "192.0.2.0/24"},
		{name: "p2p", format: "p2p", text: "Some: name, 1-2:192.0.2.0-192.0.2.3\n# c\nx " +
			"y:2001:db8::-2001:db8::1\nbad\n",
			want: "192.0.2.0/30 2001:db8::/127", bad: []int{4}},
		{name: "emule", format: "emule", text: "192.000.002.008 - 192.000.002.009 , 000 , some name\n" +
			"192.0.2.1 - 192.0.2.1 , 127 , x\n192.0.2.77 - 192.0.2.77 , 128 , allowed\n",
			want: "192.0.2.8/31 192.0.2.1"},
		{name: "dshield", format: "dshield", bad: []int{4}, want: "192.0.2.0/24",
			text: rows("# c", "Start\tEnd\tNetmask", "192.0.2.0\t192.0.2.255\t24\t9\tNAME",
				"192.0.2.0\t192.0.2.255\t23\t9")},
	}
}

func tableCases() []meaning {
	country := lists.Options{Select: []lists.Condition{{Key: "country", Values: []string{"nz"}}}}
	return []meaning{
		{name: "header", format: "csv",
			text: "id,ip,note\n7,192.0.2.1,\"a, b\"\n8,192.0.2.2,\"say \"\"x\"\"\"\n9,x,y\n8,192.0.2.3\n",
			want: "192.0.2.1 192.0.2.2", bad: []int{4, 5}},
		{name: "no header", format: "tsv", text: "a\t192.0.2.1\tb\nc\t192.0.2.2\td\n", want: "192.0.2.1 192.0.2.2"},
		{name: "column", format: "csv", opts: lists.Options{Column: "dst"}, text: "src,dst\n192.0.2.1,192.0.2.2\n",
			want: "192.0.2.2"},
		{name: "column number", format: "words", opts: lists.Options{Column: "2"},
			text: "a 192.0.2.1 b\nc 192.0.2.2 d\n",
			want: "192.0.2.1 192.0.2.2"},
		{name: "bars", format: "bars", text: "# ASN | name | ip | seen\n64500 | X | 192.0.2.1 | today\n",
			want: "192.0.2.1"},
		{name: "semicolons", format: "semicolons", text: "id;ip\n1;192.0.2.1\n2;192.0.2.2\n",
			want: "192.0.2.1 192.0.2.2"},
		{name: "abuse.ch", format: "csv", text: "# \"first_seen\",\"dst_ip\",\"dst_port\",\"malware\"\n" +
			"\"2026-01-01 00:00:00\",\"192.0.2.1\",\"443\",\"X\"\n# END\n", want: "192.0.2.1"},
		{name: "DB-IP", format: "csv", opts: country,
			text: "192.0.2.0,192.0.2.3,NZ\n192.0.2.4,192.0.2.7,AU\n2001:db8::,2001:db8::1,NZ\n",
			want: "192.0.2.0/30 2001:db8::/127"},
		{name: "range by name", format: "csv", text: "name,start_ip,end_ip\nx,192.0.2.0,192.0.2.3\n",
			want: "192.0.2.0/30"},
		{name: "range by column", format: "csv", opts: lists.Options{Column: "2-3"}, text: "x,192.0.2.0,192.0.2.3\n",
			want: "192.0.2.0/30"},
		{name: "IP2Location", format: "csv", opts: country,
			text: "\"3221225984\",\"3221225987\",\"NZ\",\"New Zealand\"\n" +
				"\"3221225988\",\"3221225988\",\"AU\",\"Australia\"\n", want: "192.0.2.0/30"},
		{name: "GeoLite", format: "csv", text: "network,geoname_id\n192.0.2.0/24,1\n198.51.100.0/24,2\n",
			opts: lists.Options{Select: []lists.Condition{{Key: "geoname_id", Values: []string{"2"}}}},
			want: "198.51.100.0/24"},
		{name: "geofeed", format: "csv", opts: country,
			text: "# prefix,country\n192.0.2.0/24,NZ,,Town,\n2001:db8::/32,AU,,,\n",
			want: "192.0.2.0/24"},
		{name: "registry", format: "rir", opts: country, want: "192.0.2.0/24 192.0.3.0/25 2001:db8::/32", text: rows(
			"2|apnic|20260101|4|20260101|20260101|+1000", "apnic|*|ipv4|*|2|summary", "apnic|*|ipv6|*|1|summary",
			"apnic|*|asn|*|1|summary", "apnic|NZ|asn|64500|1|20200101|allocated",
			"apnic|NZ|ipv4|192.0.2.0|384|20200101|allocated", "apnic|AU|ipv4|198.51.100.0|256|20200101|allocated",
			"apnic|NZ|ipv6|2001:db8::|32|20200101|allocated")},
	}
}

func cloudCases() []meaning {
	sel := func(key, value string) lists.Options {
		return lists.Options{Select: []lists.Condition{{Key: key, Values: []string{value}}}}
	}
	return []meaning{
		{name: "aws", format: "aws", opts: sel("service", "ec2"), want: "192.0.2.0/24 2001:db8::/32",
			text: `{"prefixes":[
			{"ip_prefix":"192.0.2.0/24","region":"x","service":"EC2"},{"ip_prefix":"198.51.100.0/24","service":"S3"}],
			"ipv6_prefixes":[{"ipv6_prefix":"2001:db8::/32","service":"EC2"}]}`},
		{name: "google", format: "google", want: "192.0.2.0/24 2001:db8::/32", bad: []int{3}, text: `{"prefixes":[
			{"ipv4Prefix":"192.0.2.0/24","scope":"x"},{"ipv6Prefix":"2001:db8::/32"},
			{"other":"198.51.100.0/24"}]}`},
		{name: "azure", format: "azure", opts: sel("region", "west"), want: "192.0.2.0/24", text: `{"values":[
			{"name":"A","properties":{"region":"west","addressPrefixes":["192.0.2.0/24"]}},
			{"name":"B","properties":{"region":"east","addressPrefixes":["198.51.100.0/24"]}}]}`},
		{name: "oracle", format: "oracle", opts: sel("tag", "OCI"), want: "192.0.2.0/24",
			text: `{"regions":[{"region":"r","cidrs":[{"cidr":"192.0.2.0/24","tags":["OCI"]},` +
				`{"cidr":"198.51.100.0/24","tags":["OSN"]}]}]}`},
		{name: "fastly", format: "fastly", want: "192.0.2.0/24 2001:db8::/32",
			text: `{"addresses":["192.0.2.0/24"],"ipv6_addresses":["2001:db8::/32"]}`},
		{name: "cloudflare", format: "cloudflare", want: "192.0.2.0/24 2001:db8::/32",
			text: `{"result":{"ipv4_cidrs":["192.0.2.0/24"],"ipv6_cidrs":["2001:db8::/32"],` +
				`"etag":"x"},"success":true}`},
		{name: "github", format: "github", opts: sel("service", "actions"), want: "198.51.100.0/24",
			text: `{"ssh_keys":["k"],"hooks":["192.0.2.0/24"],"web":["192.0.2.0/24"],` +
				`"actions":["198.51.100.0/24"],"domains":{"x":["y"]}}`},
		{name: "array", format: "json", want: "192.0.2.0/24", bad: []int{2},
			text: "[\"192.0.2.0/24\",\n\"example.com\"]"},
		{name: "objects", format: "json", opts: lists.Options{Column: "ip"}, want: "192.0.2.1",
			text: `[{"ip":"192.0.2.1"}]`},
		{name: "spamhaus-json", format: "spamhaus-json", want: "192.0.2.0/24", bad: []int{2},
			text: "{\"cidr\":\"192.0.2.0/24\",\"sblid\":\"SBL1\"}\n{\"cidr\":\"x\"}\n" +
				"{\"type\":\"metadata\",\"records\":2}\n"},
	}
}

func firewallCases() []meaning {
	return []meaning{
		{name: "ipset save", format: "ipset", bad: []int{4, 5}, want: "192.0.2.0/30 192.0.2.4/31 192.0.2.7 192.0.2.9",
			text: rows(
				"create bl hash:net family inet", "add bl 192.0.2.0/29 comment \"lfd: x\"", "add bl 192.0.2.6 nomatch",
				"add bl 192.0.2.1,tcp:80",
				"add bl 192.0.2.8 strange 1", "add bl 192.0.2.9 timeout 60 packets 1 bytes 2 comment \"a b\"")},
		{name: "ipset list", format: "ipset", want: "192.0.2.1", text: rows("Name: bl", "Type: hash:ip", "Revision: 4",
			"Header: family inet", "Size in memory: 1", "References: 0", "Number of entries: 1", "Members:",
			"192.0.2.1 timeout 5")},
		{name: "iptables", format: "iptables", bad: []int{6, 7, 8}, want: "192.0.2.1 192.0.2.3 192.0.2.4/31",
			text: rows(
				"*filter", ":INPUT ACCEPT [0:0]", "-A INPUT -s 192.0.2.1/32 -j DROP", "-A INPUT -s 192.0.2.2 -j ACCEPT",
				"-A INPUT -s 192.0.2.2/31 -m comment --comment \"a -p b\" -j REJECT --reject-with "+
					"icmp-port-unreachable",
				"-A INPUT -s 192.0.2.9 -p tcp -j DROP", "-A INPUT ! -s 192.0.2.9 -j DROP",
				"-A OUTPUT -s 192.0.2.9 -j DROP",
				"-A f2b -s 192.0.2.4/31 -j DROP", "-A f2b -j RETURN", "COMMIT")},
		{name: "nft", format: "nft", want: "192.0.2.1 192.0.2.4/30 192.0.2.8/31",
			text: rows("table inet fw {", "set bl {",
				"type ipv4_addr", "flags interval,timeout",
				"elements = { 192.0.2.1 timeout 1h expires 59m30s comment \"a, b\",",
				"192.0.2.4/30, 192.0.2.8-192.0.2.9 }", "}", "}")},
		{name: "nft add", format: "nft", want: "192.0.2.1 192.0.2.2", text: "#!/usr/sbin/nft -f\nflush set inet f b\n" +
			"add element inet f b{\n192.0.2.1,\n192.0.2.2,\n}\n"},
		{name: "nft json", format: "nft-json", want: "192.0.2.1 192.0.2.0/28 192.0.2.4/31 192.0.2.9",
			text: `{"nftables":[
			{"metainfo":{}},{"set":{"name":"b","type":"ipv4_addr","elem":["192.0.2.1",
			{"prefix":{"addr":"192.0.2.0","len":28}},
			{"range":["192.0.2.4","192.0.2.5"]},{"elem":{"val":"192.0.2.9","expires":60}}]}}]}`},
		{name: "mikrotik", format: "mikrotik", bad: []int{4, 5}, want: "192.0.2.1 192.0.2.2", text: rows(
			"/ip firewall address-list", "add address=192.0.2.1 list=b comment=\"a b\" timeout=1d",
			"/ip firewall address-list add list=b address=192.0.2.2", "add address=192.0.2.3 list=b chain=x",
			"/system reboot",
			"add address=192.0.2.4 list=b disabled=yes", "remove [find list=b]")},
		{name: "mikrotik array", format: "mikrotik", want: "192.0.2.1 192.0.2.0/24",
			text: ":local ips { \\\n{ \"192.0.2.1\" };\\\n{ \"192.0.2.0/24\" };\\\n}\n"},
	}
}

func programCases() []meaning {
	return []meaning{
		{name: "hosts.deny", format: "hosts.deny", bad: []int{4, 5, 6},
			want: "192.0.2.1 192.0.2.0/24 198.51.100.0/24 2001:db8::/32",
			text: rows("ALL: 192.0.2.1 # x", "sshd, vsftpd : 192.0.2., 198.51.100.0/255.255.255.0",
				"ALL: [2001:db8::]/32 : deny",
				"ALL: .example.com", "ALL: 192.0.2.9 : allow", "ALL: 192.0.2.9:22")},
		{name: "nginx", format: "nginx", bad: []int{3}, want: "192.0.2.0 192.0.2.2/31", text: rows(
			"allow 192.0.2.1;", "deny 192.0.2.0/30; # x", "deny all;", "allow 192.0.2.3;")},
		{name: "nginx geo", format: "nginx-geo", want: "192.0.2.0/25 192.0.2.129",
			text: rows("geo $bad {", "default 0;",
				"192.0.2.0/24 1;", "192.0.2.128/25 0;", "192.0.2.129 1;", "}")},
		{name: "apache", format: "apache", bad: []int{4}, want: "192.0.2.1 198.51.100.0/24 203.0.113.0/24",
			text: rows("<RequireAll>",
				"Require all granted", "Require not ip 192.0.2.1 198.51.100", "Require not host example.com",
				"Deny from 203.0.113.0/24",
				"</RequireAll>")},
		{name: "postfix", format: "postfix", bad: []int{4}, want: "192.0.2.0/24 198.51.100.0/25", text: rows(
			"192.0.2.0/24 REJECT go away", "198.51.100.128/25 OK", "198.51.100.0/24 550 no", "203.0.113.0/24 FILTER x",
			"192.0.2.1 DUNNO")},
		{name: "fail2ban banned", format: "fail2ban-banned", want: "192.0.2.1 2001:db8::1 192.0.2.2",
			text: "[{'sshd': ['192.0.2.1', '2001:db8::1']}, {'web': ['192.0.2.2']}]\n"},
		{name: "fail2ban status", format: "fail2ban-status", want: "192.0.2.1 192.0.2.2",
			text: rows("Status for the jail: sshd",
				"|- Filter", "|  |- Currently failed:\t0", "|  `- File list:\t/var/log/auth.log", "`- Actions",
				"   |- Currently banned:\t2", "   |- Total banned:\t2", "   `- Banned IP list:\t192.0.2.1 192.0.2.2")},
		{name: "fail2ban times", format: "fail2ban-times", want: "192.0.2.1 192.0.2.3", text: rows(
			"192.0.2.1 \t2026-03-01 11:30:00 + 3600 = 2026-03-01 12:30:00",
			"192.0.2.2 \t2026-03-01 10:00:00 + 600 = 2026-03-01 10:10:00",
			"192.0.2.3 \t2026-03-01 10:00:00 + -1 = 9999-12-31 23:59:59")},
		{name: "crowdsec raw", format: "crowdsec", bad: []int{4}, want: "192.0.2.1 192.0.2.64/26", text: rows(
			"id,source,ip,reason,action,country,as,events_count,expiration,simulated,alert_id",
			"1,x,Ip:192.0.2.1,ssh,ban,,\"64500 A, B\",4,3h,false,1",
			"2,x,Range:192.0.2.64/26,ssh,ban,,,4,3h0m1s,false,1",
			"3,x,Ip:192.0.2.9,ssh,captcha,,,4,3h,false,1", "4,x,Ip:192.0.2.10,ssh,ban,,,4,-3s,false,1",
			"5,x,Ip:192.0.2.11,ssh,ban,,,4,3h,true,1")},
		{name: "crowdsec import", format: "crowdsec", want: "192.0.2.1",
			text: "duration,scope,value\n24h,ip,192.0.2.1\n"},
		{name: "crowdsec json", format: "crowdsec-json", bad: []int{2}, want: "192.0.2.1",
			text: `[{"decisions":[{"scope":"Ip","type":"ban","value":"192.0.2.1","duration":"1h"},
			{"scope":"AS","type":"ban","value":"64500","duration":"1h"}]}]`},
		{name: "sshguard", format: "sshguard", bad: []int{2}, want: "192.0.2.1",
			text: "1602062744|100|4|192.0.2.1\n1602062744|100|4\n"},
		{name: "tor", format: "tor", want: "192.0.2.1", text: "ExitNode AB\nPublished 2026-01-01 00:00:00\n" +
			"LastStatus 2026-01-01 00:00:00\nExitAddress 192.0.2.1 2026-01-01 00:00:00\n"},
		{name: "rbldnsd", format: "rbldnsd", bad: []int{6},
			want: "192.0.2.0/25 192.0.2.128/26 192.0.2.193 198.51.100.0/24", text: rows(
				"$SOA 1 a b 1 1 1 1 1", ":127.0.0.2: listed", "192.0.2.0/24 why", "!192.0.2.192/26",
				"192.0.2.193:127.0.0.3:x",
				"$DATASET ip4set", "198.51.100")},
	}
}
