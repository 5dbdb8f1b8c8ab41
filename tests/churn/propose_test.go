package churn

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/paraxial/paraxial/policy"
)

// A list may cover a source that must pass only if an entry of the start allows that source. No change
// touches such an entry, not even while nothing is blocked there.
func TestListedSourcesStayAllowed(t *testing.T) {
	for _, f := range []family{ipv4, ipv6} {
		t.Run(f.name, func(t *testing.T) {
			seed := fromEnvironment(t, seedVariable, rand.Uint64())
			t.Logf("%s=%d", seedVariable, seed)
			w := newWorld(f, seed)
			d := &driver{Rand: rand.New(rand.NewPCG(seed, 2)), world: w, checker: &checker{}, model: model{}}
			for _, s := range w.sources {
				if s.class == checkClassLISTED {
					d.accept(request{kind: policy.Block, action: policy.Drop, origin: originAlways,
						prefixes: []netip.Prefix{prefix(s.addr, w.bits)}})
				}
			}
			for _, e := range w.start {
				if e.Kind == policy.Allow {
					d.accept(request{kind: e.Kind, origin: e.Origin, prefixes: []netip.Prefix{e.Prefix}})
				}
			}
			for i := range w.neighbourhoods {
				d.checker.focus.Store(int64(i))
				for range 50 {
					if r, ok := d.propose(); ok {
						d.accept(r)
					}
				}
			}
			d.checkLists(t)
		})
	}
}

// accept makes a change in the model alone.
func (d *driver) accept(r request) { d.model = d.model.after(r.change(time.Now())) }

// checkLists fails if a prefix that a list may have would list a source that must pass.
func (d *driver) checkLists(t *testing.T) {
	t.Helper()
	lines := slices.Concat(d.world.feed, d.world.feedable, d.world.bulk(5000))
	for _, both := range d.world.either {
		lines = append(lines, both[:]...)
	}
	list := request{kind: policy.Block, action: policy.Drop, origin: originFeed, prefixes: lines}
	after := d.model.after(list.change(time.Now()))
	for _, s := range d.world.sources {
		if s.class == checkClassUNLISTED && after.known(s.addr) != checkSettledPASSES {
			t.Errorf("%s is %s, but a list would block it", s.addr, s.class)
		}
	}
}
