package upstream

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"unicode/utf8"
)

// found is what a file names.
type found struct {
	addrs []netip.Addr
	refs  []Reference
}

// Reference names another file that has servers.
type Reference struct {
	path string
	kind kind
}

// address reads an address, perhaps with a port, an interface or a name: 192.0.2.1#53@eth0,
// 192.0.2.1@853#name, [2001:db8::1]:53%eth0#name. Addresses of this host, and those of many
// hosts, are no servers.
func address(text string) (netip.Addr, bool) {
	text, _, _ = strings.Cut(text, "#")
	text, _, _ = strings.Cut(text, "@")
	text, _, _ = strings.Cut(text, "%")
	a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]"))
	if err != nil {
		var both netip.AddrPort
		if both, err = netip.ParseAddrPort(text); err != nil {
			return netip.Addr{}, false
		}
		a = both.Addr()
	}
	a = a.Unmap()
	return a, !a.IsLoopback() && !a.IsUnspecified() && !a.IsMulticast()
}

func (f *found) add(words ...string) {
	for _, w := range words {
		if a, ok := address(w); ok {
			f.addrs = append(f.addrs, a)
		}
	}
}

// eachLine calls read for the lines of a text, without the space around them.
func eachLine(text []byte, read func(line string)) error {
	if bytes.IndexByte(text, 0) >= 0 || !utf8.Valid(text) {
		return errors.New("it is no text file")
	}
	for line := range strings.Lines(string(text)) {
		read(strings.TrimSpace(line))
	}
	return nil
}

// directives reads lines such as "server 192.0.2.1 iburst". Names of servers are left out.
func directives(keywords ...string) func([]byte) (found, error) {
	return func(text []byte) (f found, err error) {
		err = eachLine(text, func(line string) {
			if words := strings.Fields(line); len(words) > 1 && slices.Contains(keywords, words[0]) {
				f.add(words[1])
			}
		})
		return f, err
	}
}

// assignments reads lines such as "NTP=192.0.2.1 192.0.2.2".
func assignments(keys ...string) func([]byte) (found, error) {
	return func(text []byte) (f found, err error) {
		err = eachLine(text, func(line string) {
			if key, value, ok := strings.Cut(line, "="); ok && slices.Contains(keys, strings.TrimSpace(key)) {
				f.add(strings.Fields(value)...)
			}
		})
		return f, err
	}
}

// unboundConf reads the servers to which unbound forwards.
func unboundConf(text []byte) (f found, err error) {
	err = eachLine(text, func(line string) {
		key, value, _ := strings.Cut(line, ":")
		if words := strings.Fields(value); len(words) > 0 && (key == "forward-addr" || key == "stub-addr") {
			f.add(strings.Trim(words[0], `"'`))
		}
	})
	return f, err
}

// dnsmasqOptions reads lines such as "server=/example.org/192.0.2.1#53".
func dnsmasqOptions(text []byte) (f found, err error) {
	err = eachLine(text, func(line string) {
		line, _, _ = strings.Cut(line, " #")
		key, value, _ := strings.Cut(line, "=")
		f.dnsmasqOption(strings.TrimSpace(key), strings.TrimSpace(value))
	})
	return f, err
}

// dnsmasqOption reads one option. A server may follow domains, or the prefix of a reverse zone.
func (f *found) dnsmasqOption(key, value string) {
	switch key {
	case "server", "S":
		f.add(value[strings.LastIndexByte(value, '/')+1:])
	case "rev-server":
		if _, server, ok := strings.Cut(value, ","); ok {
			f.add(server)
		}
	case "resolv-file", "r":
		f.refer(value, resolvConf())
	case "servers-file", "conf-file", "C":
		f.refer(value, dnsmasqConf())
	}
}

// refer notes a file. /dev/null means none.
func (f *found) refer(path string, k kind) {
	if strings.HasPrefix(path, "/") && path != "/dev/null" {
		f.refs = append(f.refs, Reference{path, k})
	}
}

// dhclientLeases reads a file of dhclient(8). A later lease of an interface replaces those before
// it.
func dhclientLeases(text []byte) (found, error) {
	last := make(map[string]netip.Addr)
	var iface string
	var server netip.Addr
	var bad error
	err := eachLine(text, func(line string) {
		words := strings.Fields(strings.TrimSuffix(line, ";"))
		switch {
		case line == "lease {":
			iface, server = "", netip.Addr{}
		case len(words) == 2 && words[0] == "interface":
			iface = words[1]
		case len(words) == 3 && words[1] == "dhcp-server-identifier":
			a, err := netip.ParseAddr(words[2])
			if err != nil {
				bad = fmt.Errorf("dhcp-server-identifier %q is no address", words[2])
			}
			server = a
		case line == "}" && server.IsValid():
			last[iface] = server
		}
	})
	var f found
	for _, a := range last {
		f.addrs = append(f.addrs, a)
	}
	return f, errors.Join(err, bad)
}

// dhcpcdLease reads a file of dhcpcd(8): the answer of the server as RFC 2131 describes it, with
// its options after the fixed fields.
func dhcpcdLease(message []byte) (f found, err error) {
	const (
		fixed  = 240
		cookie = 0x63825363
		pad    = 0
		server = 54
		end    = 255
	)
	if len(message) == 0 {
		return found{}, nil // it is being written
	}
	if len(message) < fixed || binary.BigEndian.Uint32(message[fixed-4:]) != cookie {
		return found{}, errors.New("it is no DHCP message")
	}
	for options := message[fixed:]; len(options) > 0 && options[0] != end; {
		if options[0] == pad {
			options = options[1:]
			continue
		}
		if len(options) < 2 || len(options) < 2+int(options[1]) {
			return found{}, errors.New("its last option is cut off")
		}
		value := options[2 : 2+options[1]]
		if a, ok := netip.AddrFromSlice(value); ok && a.Is4() && options[0] == server {
			f.addrs = append(f.addrs, a)
		}
		options = options[2+len(value):]
	}
	return f, nil
}
