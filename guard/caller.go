package guard

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/paraxial/paraxial/policy"
)

// Caller is the process that sent a request. Accepted is the time since boot when its connection
// was accepted.
type Caller struct {
	PID      int
	Accepted time.Duration
}

// GuardFor returns the guard for a request, which also protects the address from where its
// caller uses a terminal of this host. It protects this address from nobody else. Like Guard it
// never returns nil.
func (r *Reader) GuardFor(ctx context.Context, c Caller) (*policy.Guard, error) {
	list, guard, err := r.facts(ctx)
	if !r.sessions() {
		return guard, err
	}
	peer, peerErr := r.host.CallerPeer(c.PID, c.Accepted)
	if peerErr != nil || !peer.IsValid() {
		return guard, errors.Join(err, peerErr)
	}
	return policy.NewGuard(append(slices.Clip(list), terminal(peer))), err
}

func terminal(peer netip.Addr) policy.Protected {
	return policy.Protected{
		Prefix: netip.PrefixFrom(peer, peer.BitLen()), What: "from where you are connected to this host", Session: true,
	}
}

// Open returns the protected addresses, with those of held allows whose terminal is open. A
// terminal protects its peer only in requests of its own user, so all others are left out.
func (r *Reader) Open(ctx context.Context, held []policy.Entry) ([]policy.Protected, error) {
	list, err := r.Protected(ctx)
	if err != nil || !r.sessions() {
		return list, err
	}
	missing := make(map[netip.Prefix]bool)
	for _, e := range held {
		missing[e.Prefix] = true
	}
	for _, p := range list {
		if p.Session {
			delete(missing, p.Prefix)
		}
	}
	if len(missing) == 0 {
		return list, nil
	}
	peers, err := r.host.TerminalPeers()
	if err != nil {
		r.log.Warn("terminals cannot be read, so the allows that spare them may end", "error", err)
		return list, err
	}
	open := slices.Clip(list)
	for _, a := range peers {
		if p := terminal(a); missing[p.Prefix] {
			open = append(open, p)
		}
	}
	return open, nil
}
