package loader

import (
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/paraxial/paraxial/policy"
)

// Attest, Glance and Ask take no lock that is held while a change waits for a grace period.
func TestAttestationWaitsForNoGracePeriod(t *testing.T) {
	l := open(t, bpffs(t), entriesOfMany)
	veth(t, "loc0")
	attach(t, l, "loc0", ModeNative, 0)
	look := func() {
		if a := l.Attest("loc0"); !a.Protected || a.Warning != "" {
			t.Errorf("attestation %+v", a)
		}
		if !l.Glance("loc0") {
			t.Error("a glance finds no link")
		}
		if got, err := l.Ask("loc0", netip.MustParseAddr("192.0.2.1")); err != nil || got.Reason != NotListed {
			t.Errorf("Ask = %+v, %v", got, err)
		}
	}
	for what, lock := range map[string]*sync.Mutex{
		"an IPv4 index is swapped": &l.indexes[policy.IPv4].mu,
		"an IPv6 index is swapped": &l.indexes[policy.IPv6].mu,
		"drop counters are added":  &l.hits.mu,
		"limits are added":         &l.limits.mu,
	} {
		t.Run("attest and ask while "+what, func(t *testing.T) { completesWithout(t, lock, look) })
	}
	for what, change := range map[string]func(){
		"swap": func() {
			for _, family := range policy.Families() {
				publishIndex(t, l, newIndexMemory(t, l, family, 10))
				publishIndex(t, l, newIndexMemory(t, l, family, 10))
				check(t, l.UnpublishIndex(family))
			}
		},
		"add drop counters": func() { check(t, l.GrowHits(segmentIDs+1)) },
		"add limits": func() {
			applyLimits(t, l, policy.Delta{Limits: []policy.LimitRecord{ownLimit(t, 1, "1k/s")}})
		},
	} {
		t.Run(what+" while an interface is attested", func(t *testing.T) { completesWithout(t, &l.mu, change) })
	}
	if hits, limits := len(l.hits.all()), len(l.limits.all()); hits != 2 || limits != 1 {
		t.Errorf("%d segments of drop counters and %d of limits, want 2 and 1", hits, limits)
	}
	look()
}

// completesWithout checks that f completes while a lock is held. The time only limits how
// long a failure takes.
func completesWithout(t *testing.T, held *sync.Mutex, f func()) {
	t.Helper()
	held.Lock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
		held.Unlock()
	case <-time.After(30 * time.Second):
		t.Error("it waits for the lock")
		held.Unlock()
		<-done
	}
}
