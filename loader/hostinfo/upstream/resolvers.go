package upstream

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"path/filepath"
	"slices"
)

// Resolvers returns the servers of files in the form of resolv.conf(5), without those on loopback,
// from which no packet of another host can come. A file that does not exist counts as empty. A
// file that another user may have written is a problem, and one that cannot be read is an error.
func (r *Reader) Resolvers(paths []string) (addrs []netip.Addr, problems []string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	read := make(map[string]file)
	var errs []error
	for _, path := range paths {
		f := r.resolvConf[path].refreshed(filepath.Join(r.root, path), resolvConf())
		read[path] = f
		addrs = append(addrs, f.found.addrs...)
		switch {
		case f.err == nil || errors.Is(f.err, fs.ErrNotExist):
		case errors.As(f.err, new(untrusted)):
			problems = append(problems, problem(dnsServer, path, f.err))
		default:
			errs = append(errs, fmt.Errorf("read resolvers from %s: %w", path, f.err))
		}
	}
	r.resolvConf = read
	slices.SortFunc(addrs, netip.Addr.Compare)
	return slices.Compact(addrs), problems, errors.Join(errs...)
}
