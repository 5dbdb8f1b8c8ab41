package hostinfo

import (
	"fmt"
	"os"
)

const localPortRange = "/proc/sys/net/ipv4/ip_local_port_range"

// LocalPorts returns the first and the last of the local ports that the kernel gives to
// connections of this host, of IPv4 and of IPv6.
func LocalPorts() (first, last uint16, err error) {
	text, err := os.ReadFile(localPortRange)
	if err == nil {
		_, err = fmt.Sscan(string(text), &first, &last)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("read the range of local ports: %w", err)
	}
	return first, last, nil
}
