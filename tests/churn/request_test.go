package churn

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"time"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/policy"
)

// request is one request to the daemon.
type request struct {
	kind     policy.Kind
	action   policy.Action
	origin   string
	ttl      string
	remove   bool
	prefixes []netip.Prefix

	// For an import: all its lines, of which prefixes are those that matter to the model, and the
	// prefixes that it no longer lists.
	list *strings.Builder
	gone []netip.Prefix
}

func (r request) String() string {
	switch {
	case r.list != nil:
		return fmt.Sprintf("import of %d bytes", r.list.Len())
	case r.remove:
		return fmt.Sprintf("remove %s %v of %s", r.kind, r.prefixes, r.origin)
	}
	return fmt.Sprintf("%s %s %v of %s for %q", r.kind, r.action, r.prefixes, r.origin, r.ttl)
}

// change returns the effect of the request on the model if it is acknowledged now.
func (r request) change(now time.Time) change {
	var c change
	var over time.Time
	if r.ttl != "" {
		if d, err := time.ParseDuration(r.ttl); err == nil && d < time.Hour {
			over = now.Add(d + slack)
		}
	}
	for _, p := range r.prefixes {
		h := held{policy.Entry{Prefix: p, Kind: r.kind, Action: r.action, Origin: r.origin}, over}
		if r.remove {
			c.remove = append(c.remove, h.Key())
		} else {
			c.put = append(c.put, h)
		}
	}
	for _, p := range r.gone {
		c.remove = append(c.remove, policy.Key{Kind: r.kind, Prefix: p, Origin: r.origin})
	}
	return c
}

// moment returns when to kill a daemon after a request: about equally often before and after its
// answer.
func (r request) moment(x *rand.Rand) time.Duration {
	longest := 4 * time.Millisecond
	if r.list != nil {
		longest += time.Duration(r.list.Len()) * time.Microsecond / 2
	}
	return time.Duration(x.Int64N(int64(longest)))
}

// send sends the request. Nil means that the daemon has acknowledged it.
func (r request) send(ctx context.Context, c *control.Client) error {
	var err error
	switch {
	case r.list != nil:
		err = r.sendList(ctx, c)
	case r.kind == policy.Allow && r.remove:
		_, err = c.Unallow(ctx, control.UnallowRequest{Prefixes: r.names(), Origin: r.origin})
	case r.kind == policy.Allow:
		_, err = c.Allow(ctx, control.AllowRequest{Prefixes: r.names(), Origin: r.origin, For: r.ttl, Replace: true})
	case r.remove:
		_, err = c.Unblock(ctx, control.UnblockRequest{Prefixes: r.names(), Origin: r.origin})
	default:
		_, err = c.Block(ctx, control.BlockRequest{Prefixes: r.names(), Origin: r.origin, Action: r.action.String(),
			For: r.ttl, Force: true, Replace: true})
	}
	return err
}

func (r request) sendList(ctx context.Context, c *control.Client) error {
	result, err := c.Import(ctx, control.ImportRequest{Origin: r.origin, For: r.ttl, Force: true, Accept: true},
		strings.NewReader(r.list.String()), nil)
	if err != nil {
		return err
	}
	if len(result.Invalid)+len(result.Refused) > 0 {
		return errors.New("lines of the list are invalid or refused")
	}
	return nil
}

func (r request) names() []string {
	var names []string
	for _, p := range r.prefixes {
		names = append(names, p.String())
	}
	return names
}
