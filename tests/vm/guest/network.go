package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
)

// network configures a card with addresses, and waits until it can receive.
func network(name string, addresses []string) (string, error) {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return "", fmt.Errorf("find %s: %w", name, err)
	}
	// Without duplicate address detection an address is usable at once.
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/"+name+"/accept_dad", []byte("0"), 0); err != nil {
		return "", err
	}
	for _, text := range addresses {
		a, err := netlink.ParseAddr(text)
		if err != nil {
			return "", err
		}
		if err := netlink.AddrAdd(link, a); err != nil {
			return "", fmt.Errorf("add %s to %s: %w", text, name, err)
		}
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return "", fmt.Errorf("set %s up: %w", name, err)
	}
	for deadline := time.Now().Add(carrierTime); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		b, err := os.ReadFile("/sys/class/net/" + name + "/carrier")
		if err == nil && strings.TrimSpace(string(b)) == "1" {
			return queues(name)
		}
	}
	return "", fmt.Errorf("%s has no carrier", name)
}

// queues returns how many receive queues a card has in use.
func queues(name string) (string, error) {
	entries, err := os.ReadDir("/sys/class/net/" + name + "/queues")
	if err != nil {
		return "", err
	}
	n := 0
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "rx-") {
			n++
		}
	}
	return fmt.Sprint(n), nil
}
