package daemon

import (
	"time"

	"github.com/paraxial/paraxial/events"
	"github.com/paraxial/paraxial/policy"
)

// futileEvery is the shortest time between two messages about a ban without effect.
const futileEvery = time.Hour

// findFutile tells of bans without effect: their sources go on, and the entry has dropped nothing.
// Their packets do not come in by a filtered interface, or they come through a proxy.
func (r *ruling) findFutile(going []events.Going, now time.Time) {
	var futile []events.Going
	for _, g := range going {
		if drops, in := r.drops(g); in && drops == 0 {
			futile = append(futile, g)
		}
	}
	r.futile.Store(&futile)
	for key, at := range r.told {
		if now.Sub(at) >= futileEvery {
			delete(r.told, key)
		}
	}
	for _, g := range futile {
		key := keyOfRule(g.Rule, g.Prefix)
		if _, told := r.told[key]; told {
			continue
		}
		r.told[key] = now
		r.mu.Lock()
		r.useless[g.Rule]++
		r.mu.Unlock()
		r.log.Warn("a ban has no effect: "+futileText, "rule", g.Rule, "source", g.Prefix, "events", g.Events)
	}
}

// futileText is the reason of a ban without effect, and the way out.
const futileText = "the source goes on, and no packet of it was dropped; either its packets do not come in by a " +
	"filtered interface (paraxialctl status), or they come through a proxy: list it under proxies, and have the " +
	"reporter tell the client behind it"

// drops returns the packets that the entry of a source has dropped. in is false if there is no
// such entry any more.
func (r *ruling) drops(g events.Going) (drops uint64, in bool) {
	key := keyOfRule(g.Rule, g.Prefix)
	r.engine.Read(func(b *policy.Book) {
		e, ok := b.Get(key)
		in = ok && e.Action == policy.Drop
		if id := b.HitID(g.Prefix); in && id != 0 {
			drops = r.wire.Drops.Hits(id)
		}
	})
	return drops, in
}

// futileOf returns the number of bans of a rule that have no effect.
func (r *ruling) futileOf(rule string) (n int) {
	if futile := r.futile.Load(); futile != nil {
		for _, g := range *futile {
			if g.Rule == rule {
				n++
			}
		}
	}
	return n
}

// isFutile reports whether the ban of a source by an origin has no effect.
func (r *ruling) isFutile(prefix, origin string) bool {
	futile := r.futile.Load()
	if futile == nil {
		return false
	}
	for _, g := range *futile {
		if g.Prefix.String() == prefix && policy.OriginRule+g.Rule == origin {
			return true
		}
	}
	return false
}
