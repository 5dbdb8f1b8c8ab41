package hostinfo

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"
)

func resolvers(files []string) ([]netip.Addr, error) {
	var addrs []netip.Addr
	var errs []error
	for _, name := range files {
		f, err := os.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("read resolvers: %w", err))
			continue
		}
		found, err := parseResolvConf(f)
		addrs = append(addrs, found...)
		if err = errors.Join(err, f.Close()); err != nil {
			errs = append(errs, fmt.Errorf("read resolvers from %s: %w", name, err))
		}
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	return slices.Compact(addrs), errors.Join(errs...)
}

// parseResolvConf returns the nameservers of a resolv.conf(5), without those on loopback,
// from which no packet of another host can come.
func parseResolvConf(r io.Reader) ([]netip.Addr, error) {
	var addrs []netip.Addr
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		a, err := netip.ParseAddr(fields[1])
		if err != nil {
			continue // the resolver library ignores it as well
		}
		if a = a.WithZone("").Unmap(); !a.IsLoopback() {
			addrs = append(addrs, a)
		}
	}
	return addrs, lines.Err()
}
