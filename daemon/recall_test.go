package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/paraxial/paraxial/config"
	"github.com/paraxial/paraxial/detect"
	"github.com/paraxial/paraxial/ladder"
	"github.com/paraxial/paraxial/ladder/journal"
	"github.com/paraxial/paraxial/loader"
	"github.com/paraxial/paraxial/policy"
	"github.com/paraxial/paraxial/tests/lab"
	"github.com/paraxial/paraxial/tests/lab/road"
	"github.com/paraxial/paraxial/tests/testenv"
)

func TestMain(m *testing.M) { lab.Main(m) }

const (
	recallLimit  = 150 // packets a second
	recallWindow = 3 * time.Second
	// recallLength is the duration of a mix. Offenders start in the first second. Sampling
	// is random: at the longest interval that is not exceeded, one in 200 offenders at
	// decidedFrom is tracked too late for six seconds, and one in 40,000 too late for nine.
	recallLength  = 9 * time.Second
	recallClients = 10_000
	// decidedFrom is the share of the limit at which a decision about a source must be
	// made; up to the share keptTo, none may be made.
	decidedFrom = 1.5
	keptTo      = 0.7
)

// mix is the traffic of one case: clients, offenders and forged sources. Without shares,
// the rates of the offenders are random.
type mix struct {
	name      string
	offenders int
	forged    int       // sources; each sends a packet a second on average
	shares    []float64 // rates of offenders, as shares of the limit
	// all adds IPv6, and a second detector at another level that counts bytes. Otherwise
	// one detector counts packets of IPv4.
	all bool
}

const manyForged = 1_000_000

// TestRecall sends traffic through the shipped program into the daemon's detection, with
// stepped time. Of the sources that send steadily, detectors must decide about each one
// above decidedFrom of a limit, and about none below keptTo. PARAXIAL_CASES is the least
// number of packets that it sends. Without it, only the first mix has no forged sources.
func TestRecall(t *testing.T) {
	testenv.Root(t)
	seed := fromEnvironment(t, "PARAXIAL_SEED", rand.Uint64())
	packets := fromEnvironment(t, "PARAXIAL_CASES", 0)
	t.Logf("PARAXIAL_SEED=%d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	l, way := newRoad(t)
	mixes := []mix{
		{name: "one offender", offenders: 1, shares: []float64{decidedFrom}},
		{name: "known rates among forged", offenders: 90, forged: manyForged, shares: []float64{1.5, 2, 10}},
		{name: "many offenders among forged", offenders: 1000, forged: manyForged},
		{name: "two levels among forged", offenders: 400, forged: manyForged, all: true},
	}
	if packets > 0 {
		mixes = append(mixes,
			mix{name: "known rates", offenders: 90, shares: []float64{1.5, 2, 10}},
			mix{name: "many offenders", offenders: 1000},
			mix{name: "two levels", offenders: 400, shares: []float64{1.5, 2, 10}, all: true})
	}
	for n := 0; n < len(mixes) || way.Packets() < packets; n++ {
		m := mix{
			name: "random " + strconv.Itoa(n), offenders: int(math.Exp(rng.Float64() * math.Log(1000))),
			forged: manyForged * rng.IntN(2), all: rng.IntN(2) == 1,
		}
		if n < len(mixes) {
			m = mixes[n]
		}
		t.Run(m.name, func(t *testing.T) { newRecall(t, l, way, m, rng).run() })
	}
}

// fromEnvironment reads a number from the environment. The default is usual.
func fromEnvironment(t *testing.T, name string, usual uint64) uint64 {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return usual
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// recall sends a mix through the program and the detectors.
type recall struct {
	t         *testing.T
	rng       *rand.Rand
	loader    *loader.Loader
	road      *road.Road
	kinds     []kind
	mix       mix
	detection *detection
	begin     policy.Deadline
	now       policy.Deadline
	sources   []steady
	offenders map[target]*steady
	wrong     []detect.Decision
	batches   [][]road.Source // by kind
	most      sampling        // the state with the longest interval
	slowest   time.Duration
	sent      uint64
	before    uint64 // packets accounted before this mix
}

// target is the subject of a decision.
type target struct {
	detector string
	prefix   netip.Prefix
}

// steady is a source that sends at a constant mean rate, at independent times, from
// random addresses of its prefix.
type steady struct {
	prefix  netip.Prefix
	kind    int
	rate    float64
	share   float64 // of the limit
	starts  policy.Deadline
	decided policy.Deadline
}

func newRecall(t *testing.T, l *loader.Loader, way *road.Road, m mix, rng *rand.Rand) *recall {
	const start = policy.Deadline(time.Hour)
	r := &recall{
		t: t, rng: rng, loader: l, road: way, kinds: kinds(m.all), mix: m,
		begin: start, now: start, offenders: map[target]*steady{},
	}
	r.batches = make([][]road.Source, len(r.kinds))
	r.sources = make([]steady, m.offenders+recallClients)
	for n := range r.sources {
		s := &r.sources[n]
		s.kind = n % len(r.kinds)
		k := r.kinds[s.kind]
		s.prefix, s.starts = k.prefix(n), start
		s.share = keptTo * rng.Float64()
		if n < m.offenders {
			s.starts += policy.Deadline(rng.Int64N(int64(time.Second)))
			s.share = 1.2 * math.Exp(rng.Float64()*math.Log(50/1.2))
			if len(m.shares) > 0 {
				s.share = m.shares[rng.IntN(len(m.shares))]
			}
			r.offenders[target{k.detector.Name, s.prefix}] = s
		}
		s.rate = recallLimit * s.share
	}
	var err error
	if r.before, err = r.accounted(); err != nil {
		t.Fatal(err)
	}
	r.configure()
	return r
}

// configure puts the detectors of the mix in force until the test ends.
func (r *recall) configure() {
	cfg := config.Default()
	cfg.Detectors = detectorsOf(r.kinds)
	log := slog.New(slog.NewTextHandler(r.t.Output(), nil))
	r.detection = &detection{
		log: log, journal: journal.New(log, "detector"), accounts: r.loader.Tracker(), host: r,
		observe: func(d time.Duration) { r.slowest = max(r.slowest, d) },
	}
	shared := ladder.New(cfg.Detection.MaxBans, cfg.Detection.Breaker.BansPerMinute)
	if err := r.detection.configure(cfg, r.now, nil, shared); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		if err := r.detection.configure(config.Default(), r.now, nil, ladder.New(1, 0)); err != nil {
			r.t.Error(err)
		}
	})
}

// act implements host. Packets of the sources still pass, as with shadow entries. So the
// detectors have the most work.
func (r *recall) act(_ context.Context, now policy.Deadline, decisions []detect.Decision) []detect.Decision {
	for _, d := range decisions {
		switch s := r.offenders[target{d.Detector, d.Prefix}]; {
		case s == nil:
			r.wrong = append(r.wrong, d)
		case s.decided == 0:
			s.decided = now
		}
	}
	return nil
}

// drops implements host.
func (r *recall) drops([]detect.Entry) []detect.Drops { return nil }

// exempt implements host.
func (r *recall) exempt(netip.Prefix) (reason string, exempt bool) { return "", false }

// partlyExempt implements host.
func (r *recall) partlyExempt(netip.Prefix) bool { return false }

// accounted implements host.
func (r *recall) accounted() (packets uint64, err error) {
	return (&enforcer{d: &Daemon{loader: r.loader}}).accounted()
}

func (r *recall) run() {
	lost := r.loader.Tracker().LostSamples()
	for r.now < r.begin+policy.Deadline(recallLength) {
		r.now += policy.Deadline(tickInterval)
		r.send()
		r.detection.tick(r.t.Context(), r.now)
		if s := r.detection.sampling; s.interval > r.most.interval {
			r.most = s
		}
	}
	r.judge()
	r.t.Logf("%d packets, %.0f a second; at most one in %d sampled, exceeded: %t; %d samples lost; "+
		"%d tracked; slowest tick %s",
		r.sent, float64(r.sent)/recallLength.Seconds(), r.most.interval, r.most.exceeded,
		r.loader.Tracker().LostSamples()-lost, r.detection.promoter.Tracked(), r.slowest.Round(time.Millisecond))
	for _, d := range r.delays() {
		r.t.Log(d)
	}
}

// send runs the filter on the packets since the last tick: one kind after the other, each
// from its sources in random order.
func (r *recall) send() {
	for n := range r.batches {
		r.batches[n] = r.batches[n][:0]
	}
	for n := range r.sources {
		s := &r.sources[n]
		sending := time.Duration(min(r.now-s.starts, policy.Deadline(tickInterval)))
		for range poisson(r.rng, s.rate*sending.Seconds()) {
			r.batches[s.kind] = append(r.batches[s.kind], inside(r.rng, s.prefix))
		}
	}
	for range poisson(r.rng, float64(r.mix.forged)*tickInterval.Seconds()) {
		n := r.rng.IntN(r.mix.forged)
		kind := n % len(r.kinds)
		r.batches[kind] = append(r.batches[kind], inside(r.rng, r.kinds[kind].forged(n)))
	}
	for n, batch := range r.batches {
		r.rng.Shuffle(len(batch), func(i, j int) { batch[i], batch[j] = batch[j], batch[i] })
		must(r.t, r.road.Run(r.kinds[n].frame, batch))
		r.sent += uint64(len(batch))
	}
}

// judge checks the decisions.
func (r *recall) judge() {
	// The kernel may have sent a few packets itself on the interface.
	const strays = 16
	if packets, err := r.accounted(); err != nil || packets-r.before < r.sent || packets-r.before > r.sent+strays {
		r.t.Fatalf("%d packets were accounted, want %d: %v", packets-r.before, r.sent, err)
	}
	if r.most.exceeded {
		r.t.Errorf("one packet in %d was sampled, and the daemon reports that offenders may be missed", r.most.interval)
	}
	for _, d := range r.wrong {
		r.t.Errorf("%s is not an offender, but a decision was made: %s", d.Prefix, d.Evidence)
	}
	for to, s := range r.offenders {
		if s.share >= decidedFrom && s.decided == 0 {
			r.t.Errorf("%s at %.2f times the limit: no decision by %s in %s",
				to.prefix, s.share, to.detector, time.Duration(r.now-s.starts))
		}
	}
}

// delays describes the time until a decision, by rates of offenders.
func (r *recall) delays() (lines []string) {
	for _, band := range [][2]float64{{1, 1.5}, {1.5, 2}, {2, 5}, {5, 10}, {10, 51}} {
		var delays []time.Duration
		all := 0
		for _, s := range r.offenders {
			if s.share < band[0] || s.share >= band[1] {
				continue
			}
			all++
			if s.decided != 0 {
				delays = append(delays, time.Duration(s.decided-s.starts).Round(time.Millisecond))
			}
		}
		if len(delays) > 0 {
			slices.Sort(delays)
			lines = append(lines, fmt.Sprintf(
				"from %g to %g times the limit: %d of %d decided, after %s to %s, half within %s",
				band[0], band[1], len(delays), all, delays[0], delays[len(delays)-1], delays[len(delays)/2]))
		}
	}
	return lines
}

// poisson draws a number of packets with the given mean.
func poisson(rng *rand.Rand, mean float64) int {
	const large = 100 // above this mean, the normal distribution is close enough
	if mean <= 0 {
		return 0
	}
	if mean > large {
		return max(0, int(math.Round(mean+rng.NormFloat64()*math.Sqrt(mean))))
	}
	n := 0
	for product, end := rng.Float64(), math.Exp(-mean); product > end; n++ {
		product *= rng.Float64()
	}
	return n
}

// newRoad attaches the filter to an interface and returns a way to run it on packets.
func newRoad(t *testing.T) (*loader.Loader, *road.Road) {
	wire, err := lab.NewWire("recall0")
	must(t, err)
	t.Cleanup(func() { must(t, wire.Close()) })
	l, err := loader.Open(loader.Options{BPFFS: "/sys/fs/bpf/recall", MaxEntries: 16})
	must(t, err)
	t.Cleanup(func() { must(t, l.Close()) })
	attached, err := l.Attach(t.Context(), wire.Host, loader.ModeNative, 0)
	must(t, err)
	filter, err := ebpf.NewProgramFromID(ebpf.ProgramID(attached.ProgramID))
	must(t, err)
	t.Cleanup(func() { must(t, filter.Close()) })
	r, err := road.New(filter)
	must(t, err)
	t.Cleanup(func() { must(t, r.Close()) })
	return l, r
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
