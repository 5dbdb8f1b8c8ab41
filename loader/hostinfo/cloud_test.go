package hostinfo

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestCloudOf(t *testing.T) {
	for _, tc := range []struct{ file, text, want string }{
		{"sys_vendor", "Amazon EC2", "AWS"},
		{"bios_version", "4.11.amazon", "AWS"},
		{"product_name", "Google Compute Engine", "Google Cloud"},
		{"chassis_asset_tag", "7783-7084-3265-9085-8269-3286-77", "Azure"},
		{"product_name", "Alibaba Cloud ECS", "Alibaba Cloud"},
		{"chassis_asset_tag", "OracleCloud.com", "Oracle Cloud"},
		{"sys_vendor", "Scaleway", "Scaleway"},
		{"sys_vendor", "Linode", "Akamai"},
		{"sys_vendor", "Microsoft Corporation", ""}, // Hyper-V elsewhere
		{"sys_vendor", "QEMU", ""},
		{"chassis_asset_tag", "Alibaba Cloud", ""}, // not where this cloud writes it
	} {
		dir := t.TempDir()
		check(t, os.WriteFile(filepath.Join(dir, tc.file), []byte(tc.text+"\n"), 0o444))
		if got := cloudOf(dir); got != tc.want {
			t.Errorf("%s %q: cloud %q, want %q", tc.file, tc.text, got, tc.want)
		}
	}
	if got := cloudOf(filepath.Join(t.TempDir(), "missing")); got != "" {
		t.Errorf("a machine without DMI is in the cloud %q", got)
	}
}

// Neither a default route nor an interface in a wide network makes a host one of a cloud.
func TestHostRoutes(t *testing.T) {
	azure, alibaba := netip.MustParseAddr("168.63.129.16"), netip.MustParseAddr("100.100.100.200")
	google := netip.MustParseAddr("fd20:ce::254")
	services := []netip.Addr{azure, alibaba, google}
	want := func(want ...netip.Addr) {
		t.Helper()
		f, err := newReader(t).Read(t.Context(), Options{Services: services})
		check(t, err)
		if !slices.Equal(f.Routed, want) {
			t.Errorf("routes to %v, want %v", f.Routed, want)
		}
	}
	want()
	bridge(t, "cloud", "192.0.2.1/24", "100.100.0.1/16", "2001:db8::1/64")
	ip(t, "route", "add", "default", "via", "192.0.2.254")
	want()
	ip(t, "route", "add", "100.100.100.200/32", "dev", "cloud") // a customer of a provider
	want()
	ip(t, "route", "add", "168.63.129.16/32", "via", "192.0.2.254")
	want(azure)
	ip(t, "route", "add", "fd20:ce::254/128", "via", "2001:db8::fe")
	want(azure, google)
}
