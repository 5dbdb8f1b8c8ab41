package daemon

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/paraxial/paraxial/policy"
)

// exempt implements host.
func (v *enforcer) exempt(p netip.Prefix) (reason string, exempt bool) {
	if proxy, ok := v.d.settings().ProxyOf(p); ok {
		return fmt.Sprintf("part of proxies (%s): a ban would affect all users of the proxy", proxy), true
	}
	now := v.d.engine.Now()
	if set, ok := v.d.tags.Proxy(p, now); ok {
		return fmt.Sprintf("part of the set %s of proxies: a ban would affect all users of the proxy", set), true
	}
	v.d.engine.Read(func(b *policy.Book) {
		for e := range b.Covering(policy.Allow, p) {
			if e.Live(now) {
				reason, exempt = "allowed by "+e.Origin, true
				return
			}
		}
	})
	if exempt {
		return reason, true
	}
	guard, err := v.fresh()
	if err != nil {
		return guardUnknown, true
	}
	if refusal := guard.Check(p); refusal != nil {
		return refusal.Error(), true
	}
	return "", false
}

// partlyExempt implements host.
func (v *enforcer) partlyExempt(p netip.Prefix) bool {
	guard, err := v.fresh()
	now, partly := v.d.engine.Now(), true
	if err != nil || v.d.settings().BehindProxy(p) || v.d.tags.BehindProxy(p, now) || guard.Protects(p) {
		return false
	}
	v.d.engine.Read(func(b *policy.Book) {
		for e := range b.Covering(policy.Allow, p) {
			partly = partly && !e.Live(now)
		}
	})
	return partly
}

// guardUnknown is why no source is acted upon while the guard does not know all protected
// addresses: a ban could cut off the operator.
const guardUnknown = "the guard is incomplete"

// fresh returns the guard, at most guardAge old. The error names facts that cannot be read.
func (v *enforcer) fresh() (*policy.Guard, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.guard == nil || time.Since(v.read) >= guardAge {
		v.guard, v.unknown = v.d.guard.Guard(context.Background())
		v.read = time.Now()
	}
	return v.guard, v.unknown
}
