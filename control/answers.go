package control

import (
	"context"
	"os"

	"github.com/paraxial/paraxial/policy"
)

func (c *call) why() error {
	if err := knownParameters(c.query, "address"); err != nil {
		return err
	}
	address := c.query.Get("address")
	if err := checkWord("address", address); err != nil {
		return err
	}
	addr, err := policy.ParseAddr(address)
	if err != nil {
		return invalid("address: %v", err)
	}
	return sendResult(c, func(ctx context.Context) (WhyResult, error) { return c.backend.Why(ctx, addr) })
}

// empty is a body or an answer without fields.
type empty struct{}

func (*empty) parse(Caller) (empty, error) { return empty{}, nil }

// detach removes the protection, so access to the socket is not enough: only root
// and the user of the daemon may do it.
func detach(b Backend) func(context.Context, Caller, empty) (empty, error) {
	return func(ctx context.Context, c Caller, _ empty) (empty, error) {
		if c.UID != 0 && int(c.UID) != os.Geteuid() {
			return empty{}, Errorf(CodeForbidden, "detach: only root may take the filter off, not uid %d", c.UID)
		}
		return empty{}, b.Detach(ctx, c)
	}
}
