package upstream

import (
	"slices"
	"strings"
)

// dnsmasqTakes are the options of one letter of dnsmasq that are of interest here.
var dnsmasqTakes = []string{"S", "r", "C"}

// OfDnsmasq returns the servers and files that a command line of dnsmasq names.
func OfDnsmasq(args []string) ([]Server, []Reference) {
	var f found
	for i, arg := range args {
		if long, ok := strings.CutPrefix(arg, "--"); ok {
			key, value, _ := strings.Cut(long, "=")
			f.dnsmasqOption(key, value)
		} else if short, ok := strings.CutPrefix(arg, "-"); ok && short != "" &&
			slices.Contains(dnsmasqTakes, short[:1]) {
			value := short[1:]
			if value == "" && i+1 < len(args) {
				value = args[i+1]
			}
			f.dnsmasqOption(short[:1], value)
		}
	}
	return f.servers(dnsServer + " (the command line of dnsmasq)"), f.refs
}

// OfOpenVPN returns the servers that a command line of OpenVPN names.
func OfOpenVPN(args []string) ([]Server, []Reference) {
	var f found
	for i := 0; i+1 < len(args); i++ {
		switch args[i] {
		case "--remote":
			f.add(args[i+1])
		case "--config":
			f.refer(args[i+1], kind{vpnServer, nil, nil, directives("remote")})
		}
	}
	return f.servers(vpnServer + " (the command line of openvpn)"), f.refs
}

func (f found) servers(what string) []Server {
	var list []Server
	for _, a := range f.addrs[:min(len(f.addrs), mostServers)] {
		list = append(list, Server{a, what})
	}
	return list
}
