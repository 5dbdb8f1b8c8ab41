package detect

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/paraxial/paraxial/ladder"
	"github.com/paraxial/paraxial/policy"
)

const second = policy.Deadline(time.Second)

// start is the boot time at which these tests begin.
const start = policy.Deadline(10 * time.Hour)

func packets(n uint64) policy.Rate { return policy.Rate{PerSecond: n, Unit: policy.Packets} }

func detector(change ...func(*Detector)) Detector {
	d := Default()
	d.Name, d.Action, d.Limit = "flood", Block, packets(200)
	for _, c := range change {
		c(&d)
	}
	return d
}

// world has an analyzer and the counters that the kernel would have.
type world struct {
	*Analyzer
	t       *testing.T
	now     policy.Deadline
	tick    time.Duration
	jitter  func() time.Duration
	sources []*source
	made    []Decision
	spared  []Spared
}

// source sends rate packets a second that all detectors count, unless it is blocked.
type source struct {
	counts  Counts
	rate    float64
	owed    float64
	blocked bool // its packets are dropped and not counted
	drops   float64
	total   float64
}

func newWorld(t *testing.T, o Options, list ...Detector) *world {
	t.Helper()
	if err := CheckAll(list); err != nil {
		t.Fatal(err)
	}
	if o.Tracked == 0 {
		o.Tracked = 4096
	}
	if o.MaxBans == 0 {
		o.MaxBans = 1000
	}
	w := &world{Analyzer: NewAnalyzer(list, o), t: t, now: start, tick: 250 * time.Millisecond}
	w.jitter = func() time.Duration { return 0 }
	return w
}

func (w *world) add(prefix string, rate float64) *source {
	s := &source{rate: rate, counts: Counts{
		Slot: uint32(len(w.sources)), Source: netip.MustParsePrefix(prefix), Began: w.now,
	}}
	w.sources = append(w.sources, s)
	return s
}

// run advances time, and returns the decisions made meanwhile.
func (w *world) run(d time.Duration) []Decision {
	w.t.Helper()
	before := len(w.made)
	for end := w.now + policy.Deadline(d); w.now < end; {
		w.step(w.tick + w.jitter())
	}
	return w.made[before:]
}

func (w *world) step(d time.Duration) {
	w.now += policy.Deadline(d)
	var counts []Counts
	var drops []Drops
	for _, s := range w.sources {
		s.send(d)
		counts = append(counts, s.counts)
		for n := range w.detectors {
			drops = append(drops, Drops{w.detectors[n].Name, s.counts.Source, uint64(s.drops)})
		}
	}
	w.Observe(w.now, drops)
	for _, made := range w.Tick(w.now, counts) {
		w.made = append(w.made, made)
		w.enforce(made)
	}
	w.spared = append(w.spared, w.Spared()...)
	blocked := map[netip.Prefix]bool{} // sources and widened networks
	for _, e := range w.Entries() {
		blocked[e.Prefix] = e.Action == Block
	}
	for _, s := range w.sources {
		p := s.counts.Source
		s.blocked = blocked[p]
		for _, bits := range []int{24, 48, 56} {
			wide, err := p.Addr().Prefix(bits)
			s.blocked = s.blocked || err == nil && blocked[wide]
		}
	}
}

func (w *world) enforce(d Decision) {
	if d.Until <= w.now && d.Kind != Lifted {
		w.t.Errorf("%s of %s ends at once", d.Kind, d.Prefix)
	}
}

func (s *source) send(d time.Duration) {
	n := s.rate * d.Seconds()
	s.total += n
	if s.blocked {
		s.drops += n
		return
	}
	s.owed += n
	whole := uint32(s.owed)
	s.owed -= float64(whole)
	for v := range s.counts.Values {
		s.counts.Values[v] += whole
	}
}

func kinds(list []Decision) string {
	var s string
	for _, d := range list {
		s += fmt.Sprintf("%s %s %s %s;", d.Kind, d.Action, d.Prefix, policy.FormatTTL(d.For))
	}
	return s
}

func want(t *testing.T, got []Decision, want string) {
	t.Helper()
	if kinds(got) != want {
		t.Errorf("decisions %q, want %q", kinds(got), want)
	}
}

// TestLimitIsExact checks sources below and above the limit, with random windows, limits,
// phases of the source and jitter of the ticks.
func TestLimitIsExact(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	rng := rand.New(rand.NewPCG(seed, 0))
	for n := range 300 {
		window := time.Duration(1+rng.IntN(20)) * time.Second
		limit := uint64(20 + rng.IntN(5000))
		for _, tt := range []struct {
			share   float64
			decided bool
		}{{0.7, false}, {0.99, false}, {1.5, true}, {2, true}, {50, true}} {
			w := newWorld(t, Options{}, detector(func(d *Detector) { d.Window, d.Limit = window, packets(limit) }))
			w.jitter = func() time.Duration { return time.Duration(rng.IntN(100)-50) * time.Millisecond }
			w.now += policy.Deadline(rng.Int64N(int64(second)))
			w.run(time.Duration(rng.IntN(500)) * time.Millisecond)
			w.add("192.0.2.1/32", tt.share*float64(limit))
			got := w.run(window + 500*time.Millisecond)
			if !tt.decided {
				got = append(got, w.run(2*window)...)
			}
			if (len(got) > 0) != tt.decided {
				t.Fatalf("seed %d, case %d: window %s, limit %d/s, source at %g of it: %s",
					seed, n, window, limit, tt.share, kinds(got))
			}
		}
	}
}

// TestBurstsKeepWithinTheWindow sends exactly as much as a window allows, in bursts. Fixed
// windows, aligned to the clock, would add two bursts up or let twice as much pass.
func TestBurstsKeepWithinTheWindow(t *testing.T) {
	for phase := range 40 {
		t.Run(fmt.Sprint(phase), func(t *testing.T) {
			for _, extra := range []uint32{0, 1} {
				w := newWorld(t, Options{}, detector())
				w.run(time.Duration(phase) * 250 * time.Millisecond)
				s := w.add("192.0.2.1/32", 0)
				w.run(time.Second)
				for range 3 {
					s.counts.Values[0] += 500 + extra
					w.run(time.Second) // half of the count now, the other half a second later
					s.counts.Values[0] += 500
					w.run(5 * time.Second)
				}
				if got := len(w.made) > 0; got != (extra > 0) {
					t.Errorf("with %d more than the window allows: %s", extra, kinds(w.made))
				}
			}
		})
	}
}

func TestTimeToDecide(t *testing.T) {
	for _, tt := range []struct {
		share float64
		most  time.Duration
	}{{2, 2750 * time.Millisecond}, {10, 750 * time.Millisecond}, {1.2, 4500 * time.Millisecond}} {
		w := newWorld(t, Options{}, detector())
		w.run(time.Second)
		w.add("192.0.2.1/32", tt.share*200)
		began := w.now
		got := w.run(10 * time.Second)
		if len(got) == 0 || got[0].Evidence.Last-began > policy.Deadline(tt.most) {
			t.Errorf("at %g of the limit: decided %+v, want it within %s", tt.share, got, tt.most)
		}
	}
}

func TestEvidence(t *testing.T) {
	about := func(netip.Prefix) About { return About{Ports: []uint16{443, 80}, Length: 60} }
	w := newWorld(t, Options{About: about}, detector())
	w.run(2 * time.Second)
	w.add("192.0.2.1/32", 400)
	began := w.now
	got := w.run(5 * time.Second)
	if len(got) != 1 {
		t.Fatalf("decided %s", kinds(got))
	}
	e := got[0].Evidence
	wanted := Evidence{
		Rate: packets(400), Limit: packets(200), Window: 5 * time.Second, Count: 1100,
		First: began, Last: began + 11*second/4, Ports: []uint16{443, 80}, Offence: 1,
	}
	if !reflect.DeepEqual(e, wanted) {
		t.Errorf("evidence %+v, want %+v", e, wanted)
	}
	if s := e.String(); s != "400/s, limit 200/s over 5s; to port 443, 80" {
		t.Errorf("in words: %s", s)
	}
}

func TestCountersWrap(t *testing.T) {
	for _, share := range []float64{0.7, 1.5} {
		w := newWorld(t, Options{}, detector())
		s := w.add("192.0.2.1/32", share*200)
		for n := range s.counts.Values {
			s.counts.Values[n] = ^uint32(0) - 300
		}
		s.counts.Began -= 100 * second
		if got := w.run(20 * time.Second); (len(got) > 0) != (share > 1) {
			t.Errorf("at %g of the limit, over the wrap: %s", share, kinds(got))
		}
	}
}

// TestBytesBeyond32Bits has a limit whose window has more bytes than fit into a counter.
func TestBytesBeyond32Bits(t *testing.T) {
	rate, err := policy.ParseRate("10Gbit/s")
	if err != nil {
		t.Fatal(err)
	}
	for _, share := range []float64{0.7, 0.99, 1.5} {
		w := newWorld(t, Options{}, detector(func(d *Detector) { d.Limit, d.Window = rate, time.Minute }))
		w.add("192.0.2.1/32", share*1.25e9)
		got := w.run(70 * time.Second)
		if (len(got) > 0) != (share > 1) {
			t.Errorf("at %g of the limit: %s", share, kinds(got))
		}
		if share > 1 && (got[0].Evidence.Count < 75e9 || got[0].Evidence.Rate.PerSecond < 1.8e9) {
			t.Errorf("evidence %+v", got[0].Evidence)
		}
	}
}

func TestSlotIsUsedAgain(t *testing.T) {
	w := newWorld(t, Options{}, detector())
	s := w.add("192.0.2.1/32", 150)
	w.run(5 * time.Second)
	// Another source gets the slot and its counter begins at 0. Neither source
	// alone is above the limit.
	s.counts.Source, s.counts.Began = netip.MustParsePrefix("192.0.2.2/32"), w.now
	clear(s.counts.Values[:])
	want(t, w.run(5*time.Second), "")
	// The same source again. Its counters began again at 0, which is not an overflow.
	s.counts.Began = w.now
	clear(s.counts.Values[:])
	want(t, w.run(5*time.Second), "")
	// Another source that was put into the slot at the same time.
	s.counts.Source = netip.MustParsePrefix("192.0.2.3/32")
	clear(s.counts.Values[:])
	want(t, w.run(5*time.Second), "")
	s.rate = 400
	want(t, w.run(5*time.Second), "new block 192.0.2.3/32 10m;")
}

func TestRestartKnowsNoFirstDelta(t *testing.T) {
	w := newWorld(t, Options{}, detector())
	s := w.add("192.0.2.1/32", 100)
	s.counts.Began = start - 3600*second
	s.counts.Values[0] = 360_000
	want(t, w.run(20*time.Second), "")
}

// TestMissedTicks leaves out ticks, for up to many windows. Packets in a gap count as if
// they were spread evenly over it.
func TestMissedTicks(t *testing.T) {
	for _, gap := range []time.Duration{time.Second, 4 * time.Second, 6 * time.Second, time.Minute, time.Hour} {
		for _, share := range []float64{0.7, 0.99, 1.5} {
			w := newWorld(t, Options{}, detector())
			w.add("192.0.2.1/32", share*200)
			w.run(3 * time.Second)
			before := len(w.made)
			w.step(gap)
			got := w.made[before:]
			if share < 1 {
				got = append(got, w.run(10*time.Second)...)
			} else if gap < 2*time.Second {
				got = append(got, w.run(2*time.Second)...)
			}
			if (len(got) > 0) != (share > 1) {
				t.Errorf("gap %s, at %g of the limit: %s", gap, share, kinds(got))
			}
		}
	}
}

func TestClockStandsStill(t *testing.T) {
	w := newWorld(t, Options{}, detector())
	w.add("192.0.2.1/32", 400)
	w.run(time.Second)
	for range 3 {
		w.step(0)
	}
	w.now -= second // boot time never goes back; if it does, nothing breaks
	w.step(0)
	w.now += second
	want(t, w.run(4*time.Second), "new block 192.0.2.1/32 10m;")
}

func TestOneDecisionPerEntry(t *testing.T) {
	for _, action := range []Action{Shadow, Limit} {
		// The source is still counted with both.
		w := newWorld(t, Options{}, detector(func(d *Detector) { d.Action = action }))
		w.add("192.0.2.1/32", 1000)
		want(t, w.run(9*time.Minute), "new "+string(action)+" 192.0.2.1/32 10m;")
	}
}

func TestWhoGoesOnStaysBanned(t *testing.T) {
	for _, action := range []Action{Block, Limit, Shadow} {
		w := newWorld(t, Options{}, detector(func(d *Detector) { d.Action, d.For = action, time.Minute }))
		s := w.add("192.0.2.1/32", 1000)
		got := w.run(150 * time.Second)
		one := fmt.Sprintf("%s 192.0.2.1/32 1m;", action)
		want(t, got, "new "+one+"extended "+one+"extended "+one)
		for n := 1; n < len(got); n++ {
			if at := got[n].Evidence.Last; at >= got[n-1].Until {
				t.Errorf("%s: extended at %d, after its end at %d", action, at, got[n-1].Until)
			}
			if rate := got[n].Evidence.Rate.PerSecond; rate < 900 || rate > 1100 {
				t.Errorf("%s: the evidence of the extension says %d/s", action, rate)
			}
		}
		s.rate = 0.8 * 200 // within the limit now
		want(t, w.run(2*time.Minute), "")
		if n := len(w.Entries()); n != 0 {
			t.Errorf("%s: %d entries are left", action, n)
		}
	}
}

func TestBytesGoOnToo(t *testing.T) {
	about := func(netip.Prefix) About { return About{Length: 1000} }
	w := newWorld(t, Options{About: about}, detector(func(d *Detector) {
		d.Limit, d.For = policy.Rate{PerSecond: 200_000, Unit: policy.Bytes}, time.Minute
	}))
	s := w.add("192.0.2.1/32", 1_000_000)
	w.run(5 * time.Second)
	s.rate = 1000 // its drops are counted in packets
	got := w.run(70 * time.Second)
	want(t, got, "extended block 192.0.2.1/32 1m;")
}

func TestEscalation(t *testing.T) {
	d := detector(func(d *Detector) {
		d.For, d.Escalate = time.Minute, Escalate{Factor: 3, Max: 10 * time.Minute, Forget: time.Hour}
	})
	w := newWorld(t, Options{}, d)
	s := w.add("192.0.2.1/32", 0)
	offend := func() []Decision {
		s.rate = 1000
		got := w.run(2 * time.Second)
		s.rate = 0
		return got
	}
	for _, ttl := range []string{"1m", "3m", "9m", "10m", "10m"} {
		want(t, offend(), "new block 192.0.2.1/32 "+ttl+";")
		w.run(30 * time.Minute)
	}
	w.run(25 * time.Minute) // still less than an hour after the last ban
	got := offend()
	want(t, got, "new block 192.0.2.1/32 10m;")
	if got[0].Evidence.Offence != 6 {
		t.Errorf("offence %d, want the 6th", got[0].Evidence.Offence)
	}
	w.run(10*time.Minute + time.Hour + time.Second)
	want(t, offend(), "new block 192.0.2.1/32 1m;")
}

func TestOffendersSurviveRestart(t *testing.T) {
	d := detector(func(d *Detector) {
		d.For, d.Escalate = time.Minute, Escalate{Factor: 2, Max: time.Hour, Forget: time.Hour}
	})
	w := newWorld(t, Options{}, d)
	w.add("192.0.2.1/32", 1000)
	w.add("2001:db8::/64", 1000)
	w.run(2 * time.Second)
	saved, live := w.options.Ladder.Offenders(w.now), w.Entries()
	if len(saved) != 2 || saved[0].Prefix.String() != "192.0.2.1/32" || saved[0].Offences != 1 ||
		saved[0].Forget < time.Hour || saved[0].Forget > time.Hour+time.Minute {
		t.Fatalf("offenders %+v", saved)
	}
	// A new boot: other deadlines with the same time left.
	again := newWorld(t, Options{}, d)
	again.now = 100 * second
	gone := ladder.Offender{Offences: 3, Forget: time.Hour}
	gone.Origin, gone.Prefix = "detector:gone", saved[0].Prefix
	memory := again.options.Ladder
	memory.Restore(again.now, append(saved, gone), map[string]Escalate{"detector:flood": d.Escalate})
	if got := memory.Offenders(again.now); !reflect.DeepEqual(got, saved) {
		t.Errorf("restored %+v, want %+v", got, saved)
	}
	for n := range live {
		live[n].Until = again.now + 30*second
	}
	again.Adopt(again.now, live)
	again.add("192.0.2.1/32", 1000).blocked = true
	want(t, again.run(25*time.Second), "")
	again.sources[0].rate = 0
	again.run(6 * time.Second)
	if n := len(again.Entries()); n != 0 {
		t.Fatalf("%d entries, want the adopted ones gone", n)
	}
	again.sources[0].rate = 1000
	want(t, again.run(2*time.Second), "new block 192.0.2.1/32 2m;")
	again.now += policy.Deadline(2 * time.Hour)
	if got := memory.Offenders(again.now); len(got) != 0 {
		t.Errorf("not forgotten: %+v", got)
	}
}

func TestAdoptedEntriesAreExtended(t *testing.T) {
	w := newWorld(t, Options{}, detector())
	p := netip.MustParsePrefix("192.0.2.1/32")
	w.Adopt(w.now, []Entry{{"flood", p, Block, false, time.Minute, w.now + 20*second}})
	w.add("192.0.2.1/32", 1000).blocked = true
	want(t, w.run(25*time.Second), "extended block 192.0.2.1/32 10m;")
}

func TestRemovedEntryIsDecidedAnew(t *testing.T) {
	w := newWorld(t, Options{}, detector(func(d *Detector) { d.Action = Shadow }))
	w.add("192.0.2.1/32", 1000)
	w.run(5 * time.Second)
	w.Remove("flood", netip.MustParsePrefix("192.0.2.1/32"))
	w.Remove("flood", netip.MustParsePrefix("192.0.2.2/32"))
	w.Remove("other", netip.MustParsePrefix("192.0.2.1/32"))
	want(t, w.run(time.Second), "new shadow 192.0.2.1/32 10m;")
}
