package metrics

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// checkHost refuses requests for a host name that is not one of hosts. Otherwise a web page
// could read the metrics through a browser on this host, by a name of its own that leads
// to an address of this host (DNS rebinding).
func checkHost(next http.Handler, hosts func() []string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if name := hostName(r.Host); !accepted(name, hosts()) {
			http.Error(w, fmt.Sprintf("paraxiald does not serve metrics under the name %q: "+
				"request them by IP address, or add the name to metrics_hosts in the configuration and "+
				"run systemctl reload paraxiald", name),
				http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// hostName returns the Host header without port.
func hostName(header string) string {
	host, _, err := net.SplitHostPort(header)
	if err != nil {
		host = strings.TrimSuffix(strings.TrimPrefix(header, "["), "]")
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// accepted tells whether a request may name this host. A client without a name, such as
// one that speaks HTTP/1.0, is no browser.
func accepted(name string, hosts []string) bool {
	if _, err := netip.ParseAddr(name); err == nil || name == "" || name == "localhost" {
		return true
	}
	return slices.ContainsFunc(hosts, func(h string) bool { return strings.EqualFold(h, name) })
}
