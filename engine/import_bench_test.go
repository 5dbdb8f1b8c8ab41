package engine

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/paraxial/paraxial/policy"
)

// idleKernel accepts all changes at no cost.
type idleKernel struct{}

func (idleKernel) Apply(context.Context, policy.Delta) error { return nil }
func (idleKernel) GrowHits(uint32) error                     { return nil }
func (idleKernel) ClearHits(uint32)                          {}

// BenchmarkImport imports 500,000 addresses into the book and the store, then again with another
// deadline, and then an empty list.
func BenchmarkImport(b *testing.B) {
	const lines = 500_000
	random := rand.New(rand.NewPCG(1, 2))
	var text strings.Builder
	for range lines {
		text.WriteString(netip.AddrFrom4([4]byte{
			byte(11 + random.IntN(200)), byte(random.Uint32()), byte(random.Uint32()), byte(random.Uint32()),
		}).String() + "\n")
	}
	for b.Loop() {
		e := newEngine(b, idleKernel{}, filepath.Join(b.TempDir(), "state.db"), 2*lines)
		for _, step := range []struct {
			name, text string
			until      policy.Deadline
		}{
			{"add", text.String(), policy.Forever},
			{"change", text.String(), policy.After(e.Now(), time.Hour)},
			{"remove", "", policy.Forever},
		} {
			start := time.Now()
			list, err := ReadList(strings.NewReader(step.text), 2*lines, func(int) {})
			if err != nil {
				b.Fatal(err)
			}
			set := Set{List: list, Entry: entry("0.0.0.0")}
			set.Entry.Origin, set.Entry.Deadline = "feed", step.until
			if _, err := e.Replace(b.Context(), set, func(int, int) {}); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(time.Since(start).Seconds(), "s-"+step.name)
		}
	}
}
