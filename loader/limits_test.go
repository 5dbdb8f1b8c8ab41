package loader

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/google/go-cmp/cmp"

	"github.com/paraxial/paraxial/policy"
)

func rate(t testing.TB, s string) policy.Rate {
	t.Helper()
	r, err := policy.ParseRate(s)
	check(t, err)
	return r
}

// ownLimit is the limit of a prefix that no other limit covers.
func ownLimit(t testing.TB, id uint32, r string) policy.LimitRecord {
	t.Helper()
	return policy.LimitRecord{
		ID: id, Owner: uint64(id) + 100, Rate: rate(t, r), HitID: id, Fresh: true,
		Steps: [policy.MaxLimitSteps]policy.LimitStep{{Until: policy.TickForever, Bucket: id}},
	}
}

func limitNode(prefix string, id uint32) policy.Node {
	v := policy.Verdict{Limit: policy.TickForever, LimitID: id}
	return policy.Node{Kind: policy.Block, Prefix: netip.MustParsePrefix(prefix), Verdict: v}
}

func applyLimits(t testing.TB, l *Loader, d policy.Delta) {
	t.Helper()
	check(t, l.Apply(t.Context(), d))
}

// fullAt returns the time at which each limit in the kernel will be full.
func fullAt(l *Loader) map[uint32]uint64 {
	all := map[uint32]uint64{}
	for h := range l.Limits() {
		all[h.ID] = h.FullAt
	}
	return all
}

// From the lowest to the highest rate, the rate is exact to a thousandth and the burst to a
// packet.
func TestLimitPrecision(t *testing.T) {
	for _, s := range []string{
		"1/s", "3/s", "1000/s", "1M/s", "3333333/s", "1000M/s",
		"8bit/s", "1Mbit/s", "10Gbit/s", "99999999992bit/s", "100Gbit/s",
	} {
		r := rate(t, s)
		ns := float64(limitCostOf(r)&^uint64(limitPerByte)) / (1 << limitCostShift)
		if got := 1e9 / ns / float64(r.PerSecond); got < 0.999 || got > 1.001 {
			t.Errorf("%s: %f of the rate", s, got)
		}
		if perByte := limitCostOf(r)&limitPerByte != 0; perByte != (r.Unit == policy.Bytes) {
			t.Errorf("%s: by the byte %t", s, perByte)
		}
		// A packet passes while the earlier ones do not exceed the burst.
		burst := float64(limitBurstOf(r))*1e3/ns + 1
		if want := float64(r.PerSecond); burst < want*0.999-0.01 || burst > want*1.001 {
			t.Errorf("%s: %f pass at once, want those of one second", s, burst)
		}
	}
}

// The cost of the largest packet at the lowest rate does not overflow.
func TestLimitCostFits(t *testing.T) {
	const longest = 1 << 17 // LIMIT_LONGEST
	cost := limitCostOf(policy.Rate{PerSecond: 1, Unit: policy.Bytes}) &^ limitPerByte
	if product := cost * longest; product/longest != cost {
		t.Errorf("%d for a byte overflows for a packet of %d", cost, longest)
	}
}

// Limits outlive the process that made them. There is no segment before the first limit.
func TestLimitsAreTakenOver(t *testing.T) {
	dir := bpffs(t)
	veth(t, "lim0")
	l := open(t, dir, 100_000)
	attach(t, l, "lim0", ModeNative, 0)
	if n := len(l.limits.all()); n != 0 {
		t.Errorf("%d segments without a limit", n)
	}
	const far = limitSegment + 1
	applyLimits(t, l, policy.Delta{
		Limits: []policy.LimitRecord{ownLimit(t, 1, "1/s"), ownLimit(t, far, "1/s"), ownLimit(t, 2, "1/s")},
		Put:    []policy.Node{limitNode("192.0.2.1/32", 1), limitNode("192.0.2.2/32", far)},
	})
	receive(t, l, "lim0", udp("192.0.2.1", 1, 1), udp("192.0.2.2", 1, 1))
	applyLimits(t, l, policy.Delta{FreeLimits: []uint32{2}})
	before := fullAt(l)
	if len(before) != 2 || before[1] == 0 || before[far] == 0 {
		t.Fatalf("limits full at %v, want those of 1 and %d in use", before, far)
	}
	check(t, l.Close())

	l = open(t, dir, 100_000)
	if !l.Reused() {
		t.Fatal("the maps were not taken over")
	}
	held := slices.Collect(l.Limits())
	want := []policy.HeldLimit{
		{ID: 1, Owner: 101, HitID: 1, FullAt: before[1]},
		{ID: far, Owner: far + 100, HitID: far, FullAt: before[far]},
	}
	if diff := cmp.Diff(want, held); diff != "" {
		t.Errorf("limits after the take-over (-want +got):\n%s", diff)
	}
	// A bucket that is written again keeps its level, unless it is fresh: then it is full.
	again, fresh := ownLimit(t, 1, "2/s"), ownLimit(t, far, "2/s")
	again.Fresh = false
	applyLimits(t, l, policy.Delta{Limits: []policy.LimitRecord{again, fresh}})
	if diff := cmp.Diff(map[uint32]uint64{1: before[1], far: 0}, fullAt(l)); diff != "" {
		t.Errorf("full at, after writing 1 again and %d as fresh (-want +got):\n%s", far, diff)
	}
}

// limitSegment is LIMIT_SEGMENT of bpf/types.h.
const limitSegment = 4096

func TestLimitsBeyondCapacity(t *testing.T) {
	l := open(t, bpffs(t), 10)
	if err := l.Apply(t.Context(), policy.Delta{Limits: []policy.LimitRecord{ownLimit(t, 21, "1/s")}}); err == nil {
		t.Error("a limit above the capacity of 20 was accepted")
	}
	check(t, l.Apply(t.Context(), policy.Delta{Limits: []policy.LimitRecord{ownLimit(t, 20, "1/s")}}))
}

// Ask tells what would happen to the next packet, and takes nothing from the limit.
func TestAskTakesNothingFromLimits(t *testing.T) {
	l := open(t, bpffs(t), 100)
	veth(t, "asl0")
	attach(t, l, "asl0", ModeNative, 0)
	applyLimits(t, l, policy.Delta{
		Limits: []policy.LimitRecord{ownLimit(t, 1, "1/s")}, Put: []policy.Node{limitNode("192.0.2.1/32", 1)},
	})
	l.SetEventCredit(1000)
	ask := func(want Answer) {
		t.Helper()
		for range 3 {
			got, err := l.Ask("asl0", netip.MustParseAddr("192.0.2.1"))
			check(t, err)
			if got != want {
				t.Errorf("Ask = %+v, want %+v", got, want)
			}
		}
	}
	ask(Answer{false, UnderLimit})
	if full := fullAt(l)[1]; full != 0 {
		t.Errorf("the bucket was changed: full at %d", full)
	}
	expectUntouched(t, l)

	w, at, _ := l.limits.at(1)
	later := uint64(bootNow(t)+policy.Deadline(time.Hour)) << 4
	w.store(at+limitTAT, later)
	ask(Answer{true, Limited})
	if full := fullAt(l)[1]; full != later {
		t.Errorf("the bucket was changed: full at %d, was %d", full, later)
	}
	expectUntouched(t, l)
}

// The twin reads the buckets in force, so that a program over other limits is not ours.
func TestLimitsDecide(t *testing.T) {
	l := open(t, bpffs(t), 100)
	own := l.maps[plainMapLimits]
	other, err := ebpf.NewMap(l.specs[plain].Maps[plainMapLimits])
	check(t, err)
	defer other.Close()
	l.maps[plainMapLimits] = other
	p, err := l.loadBuild(plain, 0)
	check(t, err)
	defer p.Close()
	l.maps[plainMapLimits] = own
	if err := l.usesOurMaps(p); err == nil {
		t.Error("a program over other limits was accepted as ours")
	}
}
