package detect

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/paraxial/paraxial/ladder"
)

const attackerPrefix = "203.0.113.66/32"

// forge has count forged sources exceed the limit of the world's detectors, perTick new
// ones in every tick. Each stops after its decision could be made.
func (w *world) forge(count, perTick int) {
	w.t.Helper()
	slots := len(w.sources)
	const ticks = 2 // that a forged source sends
	for range ticks * perTick {
		w.add("192.0.2.1/32", 0)
	}
	for n := 0; n < count; {
		for i := range perTick {
			s := w.sources[slots+(n/perTick%ticks)*perTick+i]
			s.counts.Source, s.counts.Began, s.rate, s.blocked = forged(n), w.now, 10_000, false
			n++
		}
		w.step(w.tick)
	}
	w.sources = w.sources[:slots]
}

func forged(n int) netip.Prefix {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], 10<<24|uint32(n))
	return netip.PrefixFrom(netip.AddrFrom4(b), 32)
}

// entry returns the live entry of a prefix.
func (w *world) entry(prefix string) (Entry, bool) {
	for _, e := range w.Entries() {
		if e.Prefix.String() == prefix {
			return e, true
		}
	}
	return Entry{}, false
}

func lifted(made []Decision, prefix string) bool {
	for _, d := range made {
		if d.Kind == Lifted && d.Prefix.String() == prefix {
			return true
		}
	}
	return false
}

// Forged sources do not lift the ban of a source that goes on, however many there are,
// with and without the breaker.
func TestForgedSourcesFreeNobody(t *testing.T) {
	for _, tt := range []struct {
		name    string
		options Options
		forged  int
		perTick int
		action  Action
		before  time.Duration // how long the attacker sends before the flood
	}{
		{"breaker opens", Options{BansPerMinute: 600, MaxBans: 10_000, Tracked: 32_768}, 20_000, 100, Block,
			30 * time.Second},
		{"no breaker", Options{MaxBans: 10_000, Tracked: 32_768}, 20_000, 100, Block, 30 * time.Second},
		{"no breaker, limit", Options{MaxBans: 1000, Tracked: 32_768}, 3000, 100, Limit, 30 * time.Second},
		{"below the breaker", Options{BansPerMinute: 600, MaxBans: 1000}, 3000, 2, Block, 30 * time.Second},
		{"all at once", Options{BansPerMinute: 600, MaxBans: 1000, Tracked: 32_768}, 6000, 3000, Block,
			30 * time.Second},
		{"just banned", Options{MaxBans: 1000, Tracked: 32_768}, 6000, 3000, Block, 5250 * time.Millisecond},
		{"a shadow detector", Options{BansPerMinute: 600, MaxBans: 1000}, 3000, 100, Shadow, 30 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, tt.options,
				detector(func(d *Detector) { d.Name, d.For = "attacker", time.Hour }),
				detector(func(d *Detector) {
					d.Action, d.For, d.Limit = tt.action, time.Hour, packets(400)
				}))
			attacker := w.add(attackerPrefix, 230) // above the first detector's limit only
			w.run(tt.before)
			if e, _ := w.entry(attackerPrefix); e.Action != Block {
				t.Fatalf("before the flood: %+v", e)
			}
			w.forge(tt.forged, tt.perTick)
			if e, _ := w.entry(attackerPrefix); e.Action != Block || !attacker.blocked {
				t.Errorf("after the flood: %+v", e)
			}
			if lifted(w.made, attackerPrefix) {
				t.Error("the ban was lifted, if only for a moment")
			}
			if n := len(w.Entries()); n > tt.options.MaxBans {
				t.Errorf("%d entries, more than %d", n, tt.options.MaxBans)
			}
		})
	}
}

// The breaker makes a few shadow entries, counts the sources it made none for, and bans
// those that go on once it is calm.
func TestTrippedEntriesAreFew(t *testing.T) {
	const sources = 3 * ladder.MaxTripped
	w := newWorld(t, Options{BansPerMinute: 10, MaxBans: 1000}, detector(func(d *Detector) { d.For = time.Hour }))
	for n := range sources {
		w.add(forged(n).String(), 1000)
	}
	w.run(50 * time.Second) // several times as long as retryAfter
	tripped := 0
	for _, e := range w.Entries() {
		if e.Tripped {
			tripped++
		}
	}
	if tripped != ladder.MaxTripped {
		t.Errorf("%d shadow entries of the breaker, want %d", tripped, ladder.MaxTripped)
	}
	if got, want := w.Stats().Detectors[0].NoRoom, uint64(sources-10-ladder.MaxTripped); got != want {
		t.Errorf("no room for %d sources, want each counted once, %d", got, want)
	}
	if trips := w.Stats().Breaker.Trips; trips != 1 {
		t.Errorf("the breaker opened %d times", trips)
	}
	w.sources = w.sources[sources-3:] // for these there was no room, or only a shadow entry
	w.run(2 * time.Minute)
	for _, s := range w.sources {
		if e, _ := w.entry(s.counts.Source.String()); e.Action != Block {
			t.Errorf("%s goes on after the calm: %+v", s.counts.Source, e)
		}
	}
}

// A new ban takes the place of a shadow entry first, then of a source that has stopped. If
// all go on, it is not made until there is room.
func TestRoomForABan(t *testing.T) {
	w := newWorld(t, Options{MaxBans: 3}, detector(),
		detector(func(d *Detector) { d.Name, d.Action, d.Per.IPv4 = "trial", Shadow, 24 }))
	stops := w.add("192.0.2.1/32", 1000)
	stopsToo := w.add("192.0.2.2/32", 1000)
	w.add("198.51.100.0/24", 1000)
	w.run(10 * time.Second)
	w.add("192.0.2.3/32", 1000)
	w.run(10 * time.Second)
	want(t, w.made, "new block 192.0.2.1/32 10m;new block 192.0.2.2/32 10m;new shadow 198.51.100.0/24 10m;"+
		"lifted shadow 198.51.100.0/24 10m;new block 192.0.2.3/32 10m;")
	w.add("192.0.2.4/32", 1000)
	want(t, w.run(20*time.Second), "")
	if trial, ban := w.Stats().Detectors[1].NoRoom, w.Stats().Detectors[0].NoRoom; trial != 1 || ban != 1 {
		t.Errorf("no room for %d bans and %d shadow entries, want 1 and 1", ban, trial)
	}
	stops.rate = 0
	want(t, w.run(20*time.Second), "lifted block 192.0.2.1/32 10m;new block 192.0.2.4/32 10m;")
	stopsToo.rate = 0
	want(t, w.run(20*time.Second), "") // the shadow entry does not take the place of a ban
}
