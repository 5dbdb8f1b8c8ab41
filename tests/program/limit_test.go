package program_test

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/paraxial/paraxial/policy"
)

// The words of struct limit, and their fields.
const (
	limitWords = 8
	perByte    = 1 << 63
	nanosecond = 1 << 16 // of cost
	// neverFull is a bucket that accepts nothing for as long as the test runs.
	neverFull = math.MaxUint64 / 2
)

// Limits of listSources.
const (
	bucketEmpty = 1 // drops everything
	bucketFree  = 2 // passes everything
)

type step struct{ until, bucket uint32 }

// bucket is struct limit.
type bucket struct {
	TAT, Cost  uint64
	Burst, Hit uint32
	Steps      [4]step
}

func (b bucket) with(steps ...step) bucket {
	copy(b.Steps[:], steps)
	return b
}

func (f *filter) putLimit(id uint32, b bucket) {
	words := f.limits[id*limitWords:][:limitWords]
	words[0], words[1], words[3] = b.TAT, b.Cost, uint64(b.Burst)|uint64(b.Hit)<<32
	for i, s := range b.Steps {
		words[4+i] = uint64(s.until) | uint64(s.bucket)<<32
	}
}

func (f *filter) tat(id uint32) uint64 { return f.limits[id*limitWords] }

// The strictest live step decides, and only its bucket is charged.
func TestLimitSteps(t *testing.T) {
	const limitedHit = 3
	cases := []struct {
		name  string
		v     verdict
		steps []step // bucket 1 drops, bucket 2 passes, bucket 5000 has no memory
		want  reason
		hits  map[uint32]uint64
	}{
		{"the first drops", verdict{Limit: forever, LimitID: 9}, []step{{forever, 1}, {forever, 2}}, limited,
			map[uint32]uint64{limitedHit: 1}},
		{"the first passes", verdict{Limit: forever, LimitID: 9}, []step{{forever, 2}, {forever, 1}}, underLimit, nil},
		{"the first has ended", verdict{Limit: forever, LimitID: 9}, []step{{expired, 1}, {live, 2}}, underLimit, nil},
		{"only the last is live", verdict{Limit: live, LimitID: 9},
			[]step{{expired, 2}, {expired, 2}, {expired, 2}, {live, 1}}, limited, map[uint32]uint64{limitedHit: 1}},
		{"none is live", verdict{Limit: live, LimitID: 9}, []step{{expired, 1}, {expired, 1}}, notListed, nil},
		{"none is live, in shadow", verdict{Limit: live, Shadow: live, LimitID: 9, Hit: 4}, []step{{expired, 1}},
			shadowed, map[uint32]uint64{4: 1}},
		{"the verdict has ended", verdict{Limit: expired, LimitID: 9}, []step{{forever, 1}}, notListed, nil},
		{"a drop is stronger", verdict{Drop: forever, Limit: forever, LimitID: 9, Hit: 4}, []step{{forever, 2}},
			blocked, map[uint32]uint64{4: 1}},
		{"a drop that has ended", verdict{Drop: expired, Limit: forever, LimitID: 9, Hit: 4}, []step{{forever, 1}},
			limited, map[uint32]uint64{limitedHit: 1}},
		{"under the limit, in shadow", verdict{Limit: forever, Shadow: live, LimitID: 9, Hit: 4}, []step{{forever, 2}},
			underLimit, map[uint32]uint64{4: 1}},
		{"over the limit, in shadow", verdict{Limit: forever, Shadow: live, LimitID: 9, Hit: 4}, []step{{forever, 1}},
			limited, map[uint32]uint64{limitedHit: 1}},
		{"no limit 0", verdict{Limit: forever}, nil, notListed, nil},
		{"no memory for the limit", verdict{Limit: forever, LimitID: 1 << 20}, nil, notListed, nil},
		{"no memory for the bucket", verdict{Limit: forever, LimitID: 9}, []step{{forever, 5000}}, notListed, nil},
	}
	eachBuild(t, func(t *testing.T, f *filter) {
		for _, c := range cases {
			f.putLimit(1, bucket{TAT: neverFull, Cost: nanosecond, Hit: limitedHit})
			f.putLimit(2, bucket{Cost: nanosecond})
			f.putLimit(9, bucket{TAT: 77, Cost: 99}.with(c.steps...))
			f.block("192.0.2.0/24", c.v)
			b := start("192.0.2.1").UDP(1, 2, nil)
			want := wantOne(c.want, len(b))
			want.Hits = map[uint32]uint64{}
			for id, n := range c.hits {
				want.Hits[id] = n
			}
			check(t, c.name, want, f.observe(b), b)
			if used := f.tat(2) != 0; used != (c.want == underLimit) || f.tat(1) != neverFull || f.tat(9) != 77 {
				t.Errorf("%s: the buckets are full at %d, %d and %d", c.name, f.tat(1), f.tat(2), f.tat(9))
			}
		}
	})
}

// A bucket that is never refilled passes its burst exactly to the packet, or up to the packet that
// exceeds the bytes.
func TestLimitBurst(t *testing.T) {
	hour := uint64(time.Hour) * nanosecond
	cases := []struct {
		name string
		b    bucket
		size int // of the packets
		want int // packets of 20 that pass
	}{
		{"a packet", bucket{Cost: hour}, 100, 1},
		{"seven packets", bucket{Cost: 10 * uint64(time.Minute) * nanosecond, Burst: 60 * 60 * 1e6}, 100, 7},
		{"a byte", bucket{Cost: hour | perByte}, 100, 1},
		{"1050 bytes", bucket{Cost: uint64(time.Second)*nanosecond | perByte, Burst: 1050 * 1e6}, 100, 11},
		{"1050 bytes in large packets", bucket{Cost: uint64(time.Second)*nanosecond | perByte, Burst: 1050 * 1e6},
			500, 3},
		{"everything", bucket{}, 100, 20},
	}
	eachBuild(t, func(t *testing.T, f *filter) {
		for _, c := range cases {
			c.b.Hit = 3
			f.putLimit(1, c.b.with(step{forever, 1}))
			f.block("192.0.2.0/24", verdict{Limit: forever, LimitID: 1})
			packet := start("192.0.2.1").UDP(1, 2, nil)
			packet = start("192.0.2.1").UDP(1, 2, make([]byte, c.size-len(packet)))
			got := f.change(func() uint32 {
				for range 19 {
					f.run(packet)
				}
				return f.run(packet)
			})
			want := outcome{Action: pass,
				Counters: map[reason]counter{underLimit: {uint64(c.want), uint64(c.want * c.size)}},
				Hits:     map[uint32]uint64{}}
			if over := 20 - c.want; over > 0 {
				want.Action = drop
				want.Counters[limited] = counter{uint64(over), uint64(over * c.size)}
				want.Hits[3] = uint64(over)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.name, diff)
			}
		}
	})
}

// The charge of a packet is exact to a fraction of a nanosecond, if the clock has run long enough.
func TestLimitCharge(t *testing.T) {
	cases := []struct {
		cost uint64
		size int
		want uint64 // in 2^-4 ns
	}{
		{1000 * nanosecond, 100, 1000 << 4},
		{52429 | perByte, 1250, 1000 << 4},                      // 10 Gbit/s
		{5243 | perByte, 1250, 1600},                            // 100 Gbit/s
		{nanosecond / 16, 100, 1},                               // 16 a nanosecond
		{1_000_000_000 * nanosecond, 100, 1e9 << 4},             // 1/s
		{1_000_000_000*nanosecond | perByte, 1500, 1500e9 << 4}, // 8bit/s
	}
	eachBuild(t, func(t *testing.T, f *filter) {
		for _, c := range cases {
			f.putLimit(1, bucket{Cost: c.cost}.with(step{forever, 1}))
			f.block("192.0.2.0/24", verdict{Limit: forever, LimitID: 1})
			packet := start("192.0.2.1").UDP(1, 2, nil)
			packet = start("192.0.2.1").UDP(1, 2, make([]byte, c.size-len(packet)))
			before := uint64(now(t))
			if got := f.run(packet); got != pass {
				t.Fatalf("action %d", got)
			}
			after := uint64(now(t))
			name := fmt.Sprintf("cost %#x, %d bytes", c.cost, c.size)
			if least, most := before<<4+c.want, after<<4+c.want; f.tat(1) < least || f.tat(1) > most {
				t.Errorf("%s: full at %d, want from %d to %d", name, f.tat(1), least, most)
			}
			// Repeat with a bucket that is not full: the added amount is exact.
			was := uint64(now(t))<<4 + 1<<40
			f.putLimit(1, bucket{TAT: was, Cost: c.cost, Burst: math.MaxUint32}.with(step{forever, 1}))
			f.run(packet)
			if got := f.tat(1) - was; got != c.want {
				t.Errorf("%s: charged %d, want %d", name, got, c.want)
			}
		}
	})
}

// An allow overrides a limit, and charges nothing to it.
func TestAllowBeatsLimit(t *testing.T) {
	eachBuild(t, func(t *testing.T, f *filter) {
		f.putLimit(1, bucket{Cost: nanosecond}.with(step{forever, 1}))
		f.block("192.0.2.1/32", verdict{Limit: forever, LimitID: 1})
		f.allow("192.0.2.0/24", policy.TickForever)
		b := start("192.0.2.1").UDP(1, 2, nil)
		check(t, "allowed and limited", wantOne(allowed, len(b)), f.observe(b), b)
		if f.tat(1) != 0 {
			t.Error("an allowed packet counts against the limit")
		}
	})
}
