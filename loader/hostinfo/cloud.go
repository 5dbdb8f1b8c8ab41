package hostinfo

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
)

// dmiDir has the names that the firmware gives to the machine. Everyone can read those used here.
const dmiDir = "/sys/class/dmi/id"

// cloudMark is a text by which the firmware of a machine shows that it is in a cloud.
type cloudMark struct {
	cloud string
	file  string // in dmiDir
	text  string // a part of it
}

// cloudMarks returns the marks that cloud-init knows the clouds by (tools/ds-identify), and that of
// AWS on Xen.
func cloudMarks() []cloudMark {
	return []cloudMark{
		{"AWS", "sys_vendor", "Amazon EC2"},
		{"AWS", "bios_version", "amazon"},
		{"Google Cloud", "product_name", "Google Compute Engine"},
		{"Azure", "chassis_asset_tag", "7783-7084-3265-9085-8269-3286-77"},
		{"Alibaba Cloud", "product_name", "Alibaba Cloud ECS"},
		{"Alibaba Cloud", "sys_vendor", "Alibaba Cloud"},
		{"Oracle Cloud", "chassis_asset_tag", "OracleCloud.com"},
		{"Scaleway", "sys_vendor", "Scaleway"},
		{"Akamai", "sys_vendor", "Akamai"},
		{"Akamai", "sys_vendor", "Linode"},
	}
}

// Clouds returns the names of the clouds that Read knows.
func Clouds() []string {
	var names []string
	for _, m := range cloudMarks() {
		names = append(names, m.cloud)
	}
	return slices.Compact(names)
}

// cloudOf returns the cloud of a machine, or "". Machines without these files, such as containers
// and some virtual machines, are in no known cloud.
func cloudOf(dir string) string {
	for _, m := range cloudMarks() {
		text, err := os.ReadFile(filepath.Join(dir, m.file))
		if err == nil && strings.Contains(string(text), m.text) {
			return m.cloud
		}
	}
	return ""
}

// hostRoutes returns those of the addresses to which this host has a route of their own through a
// gateway. The DHCP server of Azure gives such routes to the services there.
func hostRoutes(addrs []netip.Addr) []netip.Addr {
	var list []netip.Addr
	for _, a := range addrs {
		// An error is the kernel's answer if there is no route.
		routes, err := netlink.RouteGetWithOptions(a.AsSlice(), &netlink.RouteGetOptions{FIBMatch: true})
		if err != nil {
			continue
		}
		if slices.ContainsFunc(routes, isHostRoute) {
			list = append(list, a)
		}
	}
	return list
}

func isHostRoute(r netlink.Route) bool {
	if r.Dst == nil || r.Gw == nil {
		return false
	}
	ones, bits := r.Dst.Mask.Size()
	return bits > 0 && ones == bits
}
