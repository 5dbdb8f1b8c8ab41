package daemon

import (
	"context"
	"encoding/binary"
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
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"github.com/paraxial/paraxial/config"
	"github.com/paraxial/paraxial/detect"
	"github.com/paraxial/paraxial/loader"
	"github.com/paraxial/paraxial/policy"
	"github.com/paraxial/paraxial/tests/lab"
	"github.com/paraxial/paraxial/tests/lab/frame"
	"github.com/paraxial/paraxial/tests/testenv"
)

func TestMain(m *testing.M) { lab.Main(m) }

const (
	recallLimit   = 150 // packets a second
	recallWindow  = 3 * time.Second
	recallLength  = 6 * time.Second // of a mix; offenders start in the first second
	recallClients = 10_000
	// decidedFrom is the part of the limit from which on an offender must be decided
	// upon, keptTo that up to which nobody is.
	decidedFrom = 1.5
	keptTo      = 0.7
)

// A mix is the traffic of one case: clients, offenders, and forged sources. Unless
// shares are given, those of the offenders are random.
type mix struct {
	name      string
	offenders int
	forged    int // sources, each of which sends a packet a second
	shares    []float64
}

const manyForged = 1_000_000

// TestRecall puts traffic through the program as it ships, and steps the time of
// the detectors, which otherwise are the daemon's: of sources that send steadily
// every one above decidedFrom of a limit is decided upon, and none below keptTo.
// PARAXIAL_CASES is how many packets it takes at least.
func TestRecall(t *testing.T) {
	testenv.Root(t)
	seed := fromEnvironment(t, "PARAXIAL_SEED", rand.Uint64())
	packets := fromEnvironment(t, "PARAXIAL_CASES", 0)
	t.Logf("PARAXIAL_SEED=%d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	road := newRoad(t)
	mixes := []mix{
		{name: "one offender", offenders: 1, shares: []float64{decidedFrom}},
		{name: "known rates", offenders: 90, shares: []float64{1.5, 2, 10}},
		{name: "known rates among forged", offenders: 90, forged: manyForged, shares: []float64{1.5, 2, 10}},
		{name: "many offenders", offenders: 1000},
		{name: "many offenders among forged", offenders: 1000, forged: manyForged},
	}
	for n := 0; n < len(mixes) || road.packets < packets; n++ {
		m := mix{name: "random " + strconv.Itoa(n), offenders: int(math.Exp(rng.Float64() * math.Log(1000))), forged: manyForged * rng.IntN(2)}
		if n < len(mixes) {
			m = mixes[n]
		}
		t.Run(m.name, func(t *testing.T) { newRecall(t, road, m, rng).run() })
	}
}

// fromEnvironment reads a number, without which it is usual.
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

// recall is a mix on its way through the program and the detectors.
type recall struct {
	t         *testing.T
	rng       *rand.Rand
	road      *road
	mix       mix
	detection *detection
	begin     policy.Deadline
	now       policy.Deadline
	sources   []steady
	offenders map[netip.Prefix]*steady
	wrong     []detect.Decision
	batch     []uint32
	most      sampling // with the longest interval
	slowest   time.Duration
	sent      uint64
	before    uint64 // accounted for before this mix
}

// steady is a source that sends at a rate, at moments that are independent.
type steady struct {
	addr    uint32 // as in a packet
	rate    float64
	share   float64 // of the limit
	starts  policy.Deadline
	decided policy.Deadline
}

func newRecall(t *testing.T, road *road, m mix, rng *rand.Rand) *recall {
	const start = policy.Deadline(time.Hour)
	r := &recall{t: t, rng: rng, road: road, mix: m, begin: start, now: start, offenders: map[netip.Prefix]*steady{}}
	r.sources = make([]steady, m.offenders+recallClients)
	for n := range r.sources {
		s := &r.sources[n]
		addr := netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)})
		s.addr, s.starts = inPacket(addr), start
		s.share = keptTo * rng.Float64()
		if n < m.offenders {
			s.starts += policy.Deadline(rng.Int64N(int64(time.Second)))
			s.share = 1.2 * math.Exp(rng.Float64()*math.Log(50/1.2))
			if len(m.shares) > 0 {
				s.share = m.shares[n%len(m.shares)]
			}
			r.offenders[netip.PrefixFrom(addr, 32)] = s
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

func (r *recall) configure() {
	d := detect.Default()
	d.Name, d.Action, d.Window = "flood", detect.Shadow, recallWindow
	d.Match.Proto, d.Limit = detect.UDP, policy.Rate{PerSecond: recallLimit, Unit: policy.Packets}
	cfg := config.Default()
	cfg.Detectors = []detect.Detector{d}
	r.detection = &detection{
		log: slog.New(slog.NewTextHandler(r.t.Output(), nil)), accounts: r.road.loader.Tracker(), rest: r,
		observe: func(d time.Duration) { r.slowest = max(r.slowest, d) },
	}
	if err := r.detection.configure(cfg, r.now, nil, nil); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		if err := r.detection.configure(config.Default(), r.now, nil, nil); err != nil {
			r.t.Error(err)
		}
	})
}

// act implements surroundings. What is decided goes on passing, as in shadow: so
// the detectors have the most to do.
func (r *recall) act(_ context.Context, now policy.Deadline, decisions []detect.Decision) []detect.Decision {
	for _, d := range decisions {
		switch s := r.offenders[d.Prefix]; {
		case s == nil:
			r.wrong = append(r.wrong, d)
		case s.decided == 0:
			s.decided = now
		}
	}
	return nil
}

// drops implements surroundings.
func (r *recall) drops([]detect.Entry) []detect.Drops { return nil }

// exempt implements surroundings.
func (r *recall) exempt(netip.Prefix) (reason string, exempt bool) { return "", false }

// accounted implements surroundings.
func (r *recall) accounted() (packets uint64, err error) {
	return (&verdicts{d: &Daemon{loader: r.road.loader}}).accounted()
}

func (r *recall) run() {
	lost := r.road.loader.Tracker().LostSamples()
	for r.now < r.begin+policy.Deadline(recallLength) {
		r.now += policy.Deadline(tickInterval)
		r.road.run(r.t, r.traffic())
		r.detection.tick(r.t.Context(), r.now)
		if s := r.detection.sampling; s.interval > r.most.interval {
			r.most = s
		}
	}
	r.judge()
	r.t.Logf("%d packets, %.0f a second; at most one in %d sampled, exceeded: %t; %d samples lost; %d tracked; slowest tick %s",
		r.sent, float64(r.sent)/recallLength.Seconds(), r.most.interval, r.most.exceeded,
		r.road.loader.Tracker().LostSamples()-lost, r.detection.promoter.Tracked(), r.slowest.Round(time.Millisecond))
	for _, d := range r.delays() {
		r.t.Log(d)
	}
}

// traffic is what came since the tick before, in random order.
func (r *recall) traffic() []uint32 {
	r.batch = r.batch[:0]
	for n := range r.sources {
		s := &r.sources[n]
		for range poisson(r.rng, s.rate*time.Duration(min(r.now-s.starts, policy.Deadline(tickInterval))).Seconds()) {
			r.batch = append(r.batch, s.addr)
		}
	}
	for range poisson(r.rng, float64(r.mix.forged)*tickInterval.Seconds()) {
		n := r.rng.IntN(r.mix.forged)
		r.batch = append(r.batch, inPacket(netip.AddrFrom4([4]byte{100, byte(64 + n>>16), byte(n >> 8), byte(n)})))
	}
	r.rng.Shuffle(len(r.batch), func(i, j int) { r.batch[i], r.batch[j] = r.batch[j], r.batch[i] })
	r.sent += uint64(len(r.batch))
	return r.batch
}

func (r *recall) judge() {
	if packets, err := r.accounted(); err != nil || packets-r.before != r.sent {
		r.t.Fatalf("%d packets of %d were accounted for, %v", packets-r.before, r.sent, err)
	}
	if r.most.exceeded {
		r.t.Errorf("one packet in %d is sampled, which the daemon holds too few to be sure", r.most.interval)
	}
	for _, d := range r.wrong {
		r.t.Errorf("%s is no offender, and was decided upon: %s", d.Prefix, d.Evidence)
	}
	for p, s := range r.offenders {
		if s.share >= decidedFrom && s.decided == 0 {
			r.t.Errorf("%s at %.2f times the limit was not decided upon in %s", p, s.share, time.Duration(r.now-s.starts))
		}
	}
}

// delays says how long offenders went on, by their rates.
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
			lines = append(lines, fmt.Sprintf("from %g to %g times the limit: %d of %d decided, after %s to %s, half within %s",
				band[0], band[1], len(delays), all, delays[0], delays[len(delays)-1], delays[len(delays)/2]))
		}
	}
	return lines
}

// poisson draws a number of packets with the given mean.
func poisson(rng *rand.Rand, mean float64) int {
	const large = 100 // from here on the normal distribution is as good
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

// inPacket is an address as the program that sets sources stores it.
func inPacket(a netip.Addr) uint32 {
	b := a.As4()
	return binary.NativeEndian.Uint32(b[:])
}

// road is the filter on an interface, and a program in front of it that gives
// every packet the next source of a list.
type road struct {
	loader   *loader.Loader
	setter   *ebpf.Program
	position *uint64
	list     []uint32
	frame    []byte
	packets  uint64
}

const (
	roadBatch    = 1 << 18
	roadSource   = 14 + 12 // of the address in a frame
	roadPassed   = 2       // XDP_PASS
	roadTailCall = 0       // slot of the filter
)

func newRoad(t *testing.T) *road {
	wire, err := lab.NewWire("recall0")
	must(t, err)
	t.Cleanup(func() { must(t, wire.Close()) })
	r := &road{frame: frame.IP(netip.IPv4Unspecified(), wire.Addr4()).UDP(1000, 53, nil)}
	r.loader, err = loader.Open(loader.Options{BPFFS: "/sys/fs/bpf/recall", MaxEntries: 16})
	must(t, err)
	t.Cleanup(func() { must(t, r.loader.Close()) })
	attached, err := r.loader.Attach(t.Context(), wire.Host, loader.ModeNative, 0)
	must(t, err)
	filter, err := ebpf.NewProgramFromID(ebpf.ProgramID(attached.ProgramID))
	must(t, err)
	t.Cleanup(func() { must(t, filter.Close()) })
	r.load(t, filter)
	return r
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// load loads the program that sets sources. It goes on to the filter by a tail
// call, so that this is the very program that the interface runs.
func (r *road) load(t *testing.T, filter *ebpf.Program) {
	calls := newMap(t, &ebpf.MapSpec{Type: ebpf.ProgramArray, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	// The position, and then the list.
	sources := newMap(t, &ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8 + 4*roadBatch, MaxEntries: 1, Flags: unix.BPF_F_MMAPABLE})
	memory, err := unix.Mmap(sources.FD(), 0, int(sources.ValueSize()), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	must(t, err)
	t.Cleanup(func() { must(t, unix.Munmap(memory)) })
	r.position = (*uint64)(unsafe.Pointer(&memory[0]))
	r.list = unsafe.Slice((*uint32)(unsafe.Pointer(&memory[8])), roadBatch)
	r.setter, err = ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "set_source", Type: ebpf.XDP, AttachType: ebpf.AttachXDP, License: "GPL",
		Instructions: asm.Instructions{
			asm.Mov.Reg(asm.R6, asm.R1),
			asm.LoadMapValue(asm.R7, sources.FD(), 0),
			asm.LoadMem(asm.R8, asm.R7, 0, asm.DWord),
			asm.Mov.Reg(asm.R0, asm.R8),
			asm.Add.Imm(asm.R0, 1),
			asm.StoreMem(asm.R7, 0, asm.R0, asm.DWord),
			asm.And.Imm(asm.R8, roadBatch-1),
			asm.LSh.Imm(asm.R8, 2),
			asm.Add.Reg(asm.R7, asm.R8),
			asm.LoadMem(asm.R7, asm.R7, 8, asm.Word),
			asm.LoadMem(asm.R2, asm.R6, 0, asm.Word), // data
			asm.LoadMem(asm.R3, asm.R6, 4, asm.Word), // data_end
			asm.Mov.Reg(asm.R4, asm.R2),
			asm.Add.Imm(asm.R4, roadSource+4),
			asm.JGT.Reg(asm.R4, asm.R3, "out"),
			asm.StoreMem(asm.R2, roadSource, asm.R7, asm.Word),
			asm.Mov.Reg(asm.R1, asm.R6),
			asm.LoadMapPtr(asm.R2, calls.FD()),
			asm.Mov.Imm(asm.R3, roadTailCall),
			asm.FnTailCall.Call(),
			asm.Mov.Imm(asm.R0, 0).WithSymbol("out"),
			asm.Return(),
		},
	})
	must(t, err)
	t.Cleanup(func() { must(t, r.setter.Close()) })
	must(t, calls.Put(uint32(roadTailCall), filter))
}

func newMap(t *testing.T, spec *ebpf.MapSpec) *ebpf.Map {
	t.Helper()
	m, err := ebpf.NewMap(spec)
	must(t, err)
	t.Cleanup(func() { must(t, m.Close()) })
	return m
}

// run has the filter meet a packet of each source, in their order.
func (r *road) run(t *testing.T, sources []uint32) {
	t.Helper()
	for part := range slices.Chunk(sources, roadBatch) {
		copy(r.list, part)
		*r.position = 0
		verdict, err := r.setter.Run(&ebpf.RunOptions{Data: r.frame, Repeat: uint32(len(part))})
		must(t, err)
		if verdict != roadPassed {
			t.Fatalf("verdict %d, want %d", verdict, roadPassed)
		}
		r.packets += uint64(len(part))
	}
}
