package detect

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/paraxial/paraxial/policy"
)

func TestBreaker(t *testing.T) {
	escalates := Escalate{Factor: 2, Max: time.Hour, Forget: time.Hour}
	w := newWorld(t, Options{BansPerMinute: 10}, detector(func(d *Detector) { d.Escalate = escalates }))
	for n := range 15 {
		w.add(fmt.Sprintf("192.0.2.%d/32", n), 1000)
	}
	got := w.run(2 * time.Second)
	blocked, tripped := 0, 0
	for _, d := range got {
		if d.Action == Block && !d.Tripped {
			blocked++
		}
		if d.Action == Shadow && d.Tripped {
			tripped++
		}
	}
	if blocked != 10 || tripped != 5 || !w.Stats().Breaker.Open || w.Stats().Breaker.Trips != 1 {
		t.Fatalf("%d blocked, %d tripped, %+v; want 10, 5 and open", blocked, tripped, w.Stats().Breaker)
	}
	if n := len(w.options.Ladder.Offenders(w.now)); n != 10 {
		t.Errorf("%d offenders, want those that were banned", n)
	}
	want(t, w.run(50*time.Second), "")
	// It was calm for a minute: sources that have not stopped are banned now.
	got = w.run(20 * time.Second)
	if len(got) != 5 || got[0].Action != Block || got[0].Tripped || got[0].Evidence.Offence != 1 ||
		w.Stats().Breaker.Open {
		t.Errorf("after the calm: %s %+v", kinds(got), w.Stats().Breaker)
	}
	want(t, w.run(time.Minute), "")
}

func TestBreakerStaysOpenWhileItIsNotCalm(t *testing.T) {
	w := newWorld(t, Options{BansPerMinute: 10}, detector())
	for n := range 120 {
		w.add(fmt.Sprintf("192.0.2.%d/32", n), 1000)
		if n < 30 {
			w.run(2 * time.Second)
		} else {
			w.run(8 * time.Second) // 7.5 a minute: too few to trip it, too many to be calm
		}
		if open := w.Stats().Breaker.Open; n > 25 && !open {
			t.Fatalf("closed after %d sources", n)
		}
	}
	if trips := w.Stats().Breaker.Trips; trips != 1 {
		t.Errorf("tripped %d times", trips)
	}
}

func TestShadowDetectorsTripNothing(t *testing.T) {
	w := newWorld(t, Options{BansPerMinute: 3}, detector(func(d *Detector) { d.Action = Shadow }))
	for n := range 15 {
		w.add(fmt.Sprintf("192.0.2.%d/32", n), 1000)
	}
	if got := w.run(2 * time.Second); len(got) != 15 || got[14].Tripped || w.Stats().Breaker.Open {
		t.Errorf("%s %+v", kinds(got), w.Stats().Breaker)
	}
}

func TestCap(t *testing.T) {
	w := newWorld(t, Options{MaxBans: 3}, detector())
	for n := range 5 {
		w.add(fmt.Sprintf("192.0.2.%d/32", n), 1000)
		w.run(2 * time.Second)
		w.sources[n].rate = 0
		w.run(time.Second)
	}
	want(t, w.made, "new block 192.0.2.0/32 10m;new block 192.0.2.1/32 10m;new block 192.0.2.2/32 10m;"+
		"lifted block 192.0.2.0/32 10m;new block 192.0.2.3/32 10m;"+
		"lifted block 192.0.2.1/32 10m;new block 192.0.2.4/32 10m;")
	if n := len(w.Entries()); n != 3 {
		t.Errorf("%d entries", n)
	}
}

func TestCapSparesWhoWasLastExtended(t *testing.T) {
	w := newWorld(t, Options{MaxBans: 2}, detector(func(d *Detector) { d.For = time.Minute }))
	w.add("192.0.2.1/32", 1000) // continues, so its ban is extended
	w.run(50 * time.Second)
	w.add("192.0.2.2/32", 1000)
	w.run(2 * time.Second)
	w.sources[1].rate = 0
	w.run(20 * time.Second)
	w.add("192.0.2.3/32", 1000)
	got := w.run(2 * time.Second)
	want(t, got, "lifted block 192.0.2.2/32 1m;new block 192.0.2.3/32 1m;")
}

func widening(d *Detector) { d.Widen = Widen{Sources: 3, IPv6: 56, IPv4: 24} }

func TestWidening(t *testing.T) {
	for _, tt := range []struct {
		name    string
		sources string
		change  func(*Detector)
		want    string // the widened prefix
	}{
		{"enough", "2001:db8:0:1::/64 2001:db8:0:2::/64 2001:db8:0:3::/64", widening, "2001:db8::/56"},
		{"too few", "2001:db8:0:1::/64 2001:db8:0:2::/64", widening, ""},
		{"not the same network", "2001:db8:0:1::/64 2001:db8:0:2::/64 2001:db8:0:103::/64", widening, ""},
		{"to /48", "2001:db8:0:1::/64 2001:db8:0:2::/64 2001:db8:0:103::/64",
			func(d *Detector) { d.Widen = Widen{Sources: 3, IPv6: 48} }, "2001:db8::/48"},
		{"IPv4 when asked", "192.0.2.1/32 192.0.2.2/32 192.0.2.3/32", widening, "192.0.2.0/24"},
		{"IPv4 not by default", "192.0.2.1/32 192.0.2.2/32 192.0.2.3/32",
			func(d *Detector) { d.Widen = Widen{Sources: 3, IPv6: 56} }, ""},
		{"IPv6 not by default", "2001:db8:0:1::/64 2001:db8:0:2::/64 2001:db8:0:3::/64", func(*Detector) {}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, Options{}, detector(tt.change))
			n := 0
			for p := range strings.FieldsSeq(tt.sources) {
				w.add(p, 1000)
				n++
				w.run(2 * time.Second)
			}
			var wide string
			for _, d := range w.made {
				if d.Evidence.Sources > 0 {
					wide += d.Prefix.String()
				}
			}
			if wide != tt.want {
				t.Errorf("widened to %q, want %q: %s", wide, tt.want, kinds(w.made))
			}
		})
	}
}

func TestSourcesBelowAWideEntryAreNotDecided(t *testing.T) {
	w := newWorld(t, Options{}, detector(widening, func(d *Detector) { d.Action = Shadow }))
	for n := range 6 { // sources with shadow entries are still counted
		w.add(fmt.Sprintf("192.0.2.%d/32", n), 1000)
		w.run(2 * time.Second)
	}
	want(t, w.made, "new shadow 192.0.2.0/32 10m;new shadow 192.0.2.1/32 10m;"+
		"new shadow 192.0.2.2/32 10m;new shadow 192.0.2.0/24 10m;")
	w.Remove("flood", netip.MustParsePrefix("192.0.2.0/24"))
	got := w.run(2 * time.Second)
	want(t, got[:1], "new shadow 192.0.2.3/32 10m;")
}

func TestOneBusySourceIsNotManyOffenders(t *testing.T) {
	w := newWorld(t, Options{}, detector(widening, func(d *Detector) { d.For = 10 * time.Second }))
	s := w.add("2001:db8:0:1::/64", 0)
	for range 6 {
		s.rate = 1000
		w.run(2 * time.Second)
		s.rate = 0
		w.run(20 * time.Second)
	}
	for _, d := range w.made {
		if d.Prefix.Bits() < 64 {
			t.Errorf("widened: %s", kinds(w.made))
		}
	}
}

func TestExempt(t *testing.T) {
	protected := netip.MustParsePrefix("192.0.2.3/32")
	exempt := func(p netip.Prefix) (string, bool) { return "of the office", p.Overlaps(protected) }
	w := newWorld(t, Options{Exempt: exempt}, detector(widening))
	for n := 1; n <= 4; n++ {
		w.add(fmt.Sprintf("192.0.2.%d/32", n), 1000)
	}
	w.run(time.Minute)
	// Neither the source itself nor the network that contains it is blocked.
	want(t, w.made, "new block 192.0.2.1/32 10m;new block 192.0.2.2/32 10m;new block 192.0.2.4/32 10m;")
	var spared []string
	for _, s := range w.spared {
		spared = append(spared, s.Prefix.String()+" "+s.Reason)
	}
	if want := []string{"192.0.2.3/32 of the office", "192.0.2.0/24 of the office"}; !reflect.DeepEqual(spared, want) {
		t.Errorf("spared %q, want each once, %q", spared, want)
	}
	// The analyzer notices when the source is no longer exempt.
	protected = netip.MustParsePrefix("198.51.100.1/32")
	want(t, w.run(6*time.Second), "new block 192.0.2.3/32 10m;new block 192.0.2.0/24 10m;")
}

func TestExemptEntriesAreNotExtended(t *testing.T) {
	allowed := false
	exempt := func(netip.Prefix) (string, bool) { return "allowed", allowed }
	w := newWorld(t, Options{Exempt: exempt}, detector(func(d *Detector) { d.For = time.Minute }))
	w.add("192.0.2.1/32", 1000)
	w.run(10 * time.Second)
	allowed = true
	if got := w.run(time.Minute); len(got) != 0 {
		t.Errorf("decided %s", kinds(got))
	}
}

func TestPerIsRespected(t *testing.T) {
	w := newWorld(t, Options{},
		detector(func(d *Detector) { d.Name = "host" }),
		detector(func(d *Detector) { d.Name, d.Per.IPv4 = "net", 24 }))
	w.add("192.0.2.1/32", 1000)
	w.add("198.51.100.0/24", 1000)
	got := w.run(2 * time.Second)
	want(t, got, "new block 192.0.2.1/32 10m;new block 198.51.100.0/24 10m;")
	if got[0].Detector != "host" || got[1].Detector != "net" {
		t.Errorf("by %s and %s", got[0].Detector, got[1].Detector)
	}
}

// TestSlotBeyondTheTable passes counters of a slot that is not in the table.
func TestSlotBeyondTheTable(t *testing.T) {
	w := newWorld(t, Options{Tracked: 10}, detector())
	s := w.add("192.0.2.1/32", 1000)
	s.counts.Slot = 10
	want(t, w.run(2*time.Second), "")
	s.counts.Slot = 9
	want(t, w.run(2*time.Second), "new block 192.0.2.1/32 10m;")
}

// TestDeterminism runs a random world twice. The second time the sources are in another
// order and in other slots.
func TestDeterminism(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	history := func(order []int) string {
		rng := rand.New(rand.NewPCG(seed, 1))
		w := newWorld(t, Options{BansPerMinute: 40, MaxBans: 60}, detector(widening, func(d *Detector) {
			d.For, d.Escalate = 20*time.Second, Escalate{Factor: 2, Max: time.Minute, Forget: time.Minute}
		}), detector(func(d *Detector) {
			d.Name, d.Limit, d.Action, d.For = "other", packets(300), Limit, 10*time.Second
		}))
		rates := make([]float64, len(order))
		w.sources = make([]*source, len(order))
		for slot, n := range order {
			p := netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, byte(n / 20), byte(n % 20)}), 32)
			w.sources[slot] = &source{counts: Counts{Slot: uint32(slot), Source: p, Began: start}}
		}
		for range 100 {
			for n := range rates {
				rates[n] = rng.ExpFloat64() * 100
			}
			for slot, n := range order {
				w.sources[slot].rate = rates[n]
			}
			w.run(time.Second)
		}
		if len(w.made) < 100 {
			t.Errorf("only %d decisions", len(w.made))
		}
		return fmt.Sprintf("%+v %+v %+v", w.made, w.Entries(), w.options.Ladder.Offenders(w.now))
	}
	order := make([]int, 200)
	for n := range order {
		order[n] = n
	}
	first := history(order)
	if first != history(order) {
		t.Errorf("seed %d: two runs differ", seed)
	}
	rand.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	if first != history(order) {
		t.Errorf("seed %d: the order of the sources matters", seed)
	}
}

func TestActivities(t *testing.T) {
	w := newWorld(t, Options{}, detector())
	w.add("192.0.2.1/32", 100)
	w.add("192.0.2.2/32", 0)
	gone := w.add("192.0.2.3/32", 100)
	w.run(2 * time.Second)
	w.sources = w.sources[:2]
	w.run(10 * time.Second)
	got := w.Activities(nil)
	if len(got) != 2 || got[0].Source != w.sources[0].counts.Source || got[1].Source != w.sources[1].counts.Source {
		t.Fatalf("activities %+v; %s is gone", got, gone.counts.Source)
	}
	if got[0].Share < 0.45 || got[0].Share > 0.55 || got[0].Seen != w.now ||
		got[1].Share != 0 || got[1].Seen > start+second {
		t.Errorf("activities %+v", got)
	}
	if n := w.Stats().Tracked; n != 2 {
		t.Errorf("%d tracked", n)
	}
}

func TestCheckAll(t *testing.T) {
	many := make([]Detector, 13)
	for n := range many {
		many[n] = detector(func(d *Detector) { d.Name = fmt.Sprint("d", n) })
	}
	with := func(change func(*Detector)) []Detector { return []Detector{detector(change)} }
	for _, tt := range []struct {
		list []Detector
		want string
	}{
		{many[:12], "<nil>"},
		{many, "13 detectors; at most 12"},
		{[]Detector{many[0], many[0]}, `detector "d0" is listed twice; give one of them another name`},
		{with(func(d *Detector) { d.Name = "a b" }),
			`detector "a b": name "a b": want letters, digits, '.', '_' and '-', at most 63`},
		{with(func(d *Detector) { d.Limit = policy.Rate{} }),
			`detector "flood": limit: unit(0): want packets or bytes`},
		{with(func(d *Detector) { d.Window = time.Millisecond }),
			`detector "flood": window: got 0s; want a duration from 1s to 1h`},
		{with(func(d *Detector) { d.Match.Ports = []uint16{53} }),
			`detector "flood": match.port: protocol any has no ports; add proto: tcp or proto: udp`},
		{with(func(d *Detector) { d.Match.Flags = SYN }),
			`detector "flood": match.flags: only TCP has the flag syn; add proto: tcp`},
		{with(func(d *Detector) { d.Match = Match{Proto: UDP, Ports: []uint16{53}, Fragment: true} }),
			`detector "flood": match.fragment: later fragments have no flags or ports; leave out flags and port`},
		{with(func(d *Detector) { d.Per.IPv4 = 4 }), `detector "flood": per.ipv4: got 4; want a length from 8 to 32`},
		{with(func(d *Detector) { d.Action = "ban" }),
			`detector "flood": action: got "ban"; want block, limit or shadow`},
		{with(func(d *Detector) { d.For = time.Second }), `detector "flood": for: 1s is shorter than the window, 5s`},
		{with(func(d *Detector) { d.Escalate = Escalate{Factor: 2, Max: time.Minute} }),
			`detector "flood": escalate.max: 1m is shorter than for, 10m`},
		{with(func(d *Detector) { d.Widen = Widen{Sources: 1, IPv6: 56} }),
			`detector "flood": widen.sources: got 1; want a number from 2 to 1000`},
		{with(func(d *Detector) { d.Widen = Widen{Sources: 8, IPv6: 64} }),
			`detector "flood": widen.ipv6: got 64; want a length from 16 to 63, shorter than per.ipv6, or 0 for never`},
		{
			[]Detector{
				many[0], detector(func(d *Detector) { d.Per.IPv4 = 24 }),
				detector(func(d *Detector) { d.Name, d.Per.IPv4 = "x", 16 }),
			},
			"per: detectors have more than two different values; " +
				"use one or two, since each costs a look-up for every packet",
		},
	} {
		if got := fmt.Sprint(CheckAll(tt.list)); got != tt.want {
			t.Errorf("CheckAll: %s\nwant: %s", got, tt.want)
		}
	}
}
