package guard

import (
	"context"
	"fmt"
	"strings"

	"github.com/paraxial/paraxial/policy"
)

// Recheck is like Protected, for a check of all blocks. WatchServers looks for changes since then.
func (r *Reader) Recheck(ctx context.Context) ([]policy.Protected, error) {
	r.host.Mark()
	return r.Protected(ctx)
}

// WatchServers calls f after changes of servers and tunnels, until ctx is done, and returns the
// error of ctx. f has to call Recheck.
func (r *Reader) WatchServers(ctx context.Context, f func()) error {
	return r.host.WatchServers(ctx, f)
}

// noteUnknown records and logs which servers and tunnels cannot be read. It is called at each
// reading.
func (r *Reader) noteUnknown(problems []string) {
	var found []string
	for _, p := range problems {
		found = append(found, fmt.Sprintf("the guard lacks addresses, so a block may cover them: %s; "+
			"put them into guard.never_block in the configuration", strings.ReplaceAll(p, "\n", "; ")))
	}
	for _, w := range r.unknown.Set("", found) {
		r.log.Warn(w)
	}
}

// Unknown returns the warnings about servers and tunnels that the last reading lacks. They do not
// make the guard incomplete.
func (r *Reader) Unknown() []string { return r.unknown.List() }
