package detect

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/paraxial/paraxial/policy"
)

// BenchmarkTick changes two of six counters of every tracked source in each tick.
func BenchmarkTick(b *testing.B) {
	for _, tracked := range []int{32_768, 100_000} {
		b.Run(fmt.Sprint(tracked), func(b *testing.B) { benchmarkTick(b, tracked) })
	}
}

func benchmarkTick(b *testing.B, tracked int) {
	var list []Detector
	for n := range 6 {
		d := Default()
		d.Name, d.Action, d.Limit = fmt.Sprint("d", n), Block, policy.Rate{PerSecond: 1000, Unit: policy.Packets}
		list = append(list, d)
	}
	a := NewAnalyzer(list, Options{Tracked: tracked, MaxBans: 10_000})
	now := policy.Deadline(time.Hour)
	counts := make([]Counts, tracked)
	for n := range counts {
		addr := netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)})
		counts[n] = Counts{Slot: uint32(n), Source: netip.PrefixFrom(addr, 32), Began: now}
	}
	tick := func() {
		now += policy.Deadline(250 * time.Millisecond)
		for n := range counts {
			counts[n].Values[n%6] += 200
			counts[n].Values[(n+3)%6] += 5
		}
		if d := a.Tick(now, counts); len(d) > 0 {
			b.Fatalf("decided %+v", d[0])
		}
	}
	for range 30 {
		tick()
	}
	b.ReportAllocs()
	for b.Loop() {
		tick()
	}
	b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N), "ms/tick")
}
