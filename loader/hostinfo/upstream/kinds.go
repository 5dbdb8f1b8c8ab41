package upstream

// kind is a kind of file.
type kind struct {
	what     string
	patterns []string
	users    []string // who may own the file, besides root
	parse    func([]byte) (found, error)
}

// The descriptions of servers.
const (
	dhcpServer = "a DHCP server of this host"
	dnsServer  = "a DNS resolver of this host"
	timeServer = "a time server of this host"
	vpnServer  = "a VPN server of this host"
)

// kinds returns the files that Read reads.
func kinds() []kind {
	networkd := []string{"systemd-network"}
	return []kind{
		{dhcpServer, []string{
			"/var/lib/dhcp/*.leases", "/var/lib/dhclient/*.lease", "/var/lib/dhclient/*.leases",
			"/var/lib/NetworkManager/dhclient-*.lease",
		}, nil, dhclientLeases},
		{dhcpServer, []string{"/var/lib/dhcpcd/*.lease", "/var/lib/dhcpcd5/*.lease"},
			[]string{"dhcpcd", "_dhcpcd"}, dhcpcdLease},
		{dhcpServer, []string{"/run/systemd/netif/leases/*", "/var/lib/NetworkManager/internal-*.lease"}, networkd,
			assignments("SERVER_ADDRESS")},
		{dhcpServer, []string{"/run/NetworkManager/devices/*"}, nil,
			assignments("dhcp4.dhcp_server_identifier")},
		{dnsServer, []string{"/run/systemd/netif/leases/*", "/run/systemd/netif/links/*"}, networkd,
			assignments("DNS")},
		{timeServer, []string{"/run/systemd/netif/leases/*", "/run/systemd/netif/links/*"}, networkd,
			assignments("NTP")},
		resolvConf("/run/NetworkManager/resolv.conf", "/run/NetworkManager/no-stub-resolv.conf",
			"/run/dnsmasq/resolv.conf"),
		dnsmasqConf("/etc/dnsmasq.conf", "/etc/dnsmasq.d/*", "/run/dnsmasq.d/*"),
		{dnsServer, []string{"/etc/unbound/unbound.conf", "/etc/unbound/unbound.conf.d/*.conf"}, nil, unboundConf},
		{timeServer, []string{
			"/etc/chrony/chrony.conf", "/etc/chrony.conf", "/etc/chrony/conf.d/*.conf",
			"/etc/chrony/sources.d/*.sources", "/run/chrony-dhcp/*.sources", "/run/chrony.d/*.sources",
			"/etc/ntp.conf", "/etc/ntpsec/ntp.conf",
		}, []string{"_chrony", "chrony"}, directives("server", "pool", "peer")},
		{timeServer, []string{
			"/etc/systemd/timesyncd.conf", "/etc/systemd/timesyncd.conf.d/*.conf",
			"/run/systemd/timesyncd.conf.d/*.conf",
		}, nil, assignments("NTP", "FallbackNTP")},
		{vpnServer, []string{"/etc/openvpn/*.conf", "/etc/openvpn/client/*.conf"}, nil, directives("remote")},
	}
}

func resolvConf(patterns ...string) kind {
	return kind{dnsServer, patterns, []string{"systemd-resolve", "dhcpcd", "_dhcpcd"}, directives("nameserver")}
}

func dnsmasqConf(patterns ...string) kind {
	return kind{dnsServer, patterns, []string{"dnsmasq"}, dnsmasqOptions}
}
