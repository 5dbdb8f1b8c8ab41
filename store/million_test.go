package store_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/paraxial/paraxial/policy"
	"github.com/paraxial/paraxial/store"
	"github.com/paraxial/paraxial/tests/testenv"
)

// stage replaces the entries of an origin by n others. It adds 20,000 in a call.
func stage(t testing.TB, s *store.Store, origin string, n int) {
	t.Helper()
	r, err := s.Begin(origin)
	if err != nil {
		t.Fatal(err)
	}
	const chunk = 20_000
	for i := 0; i < n; i += chunk {
		if err := r.Add(numberedFrom(i, origin, min(chunk, n-i), 100*hour)); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Commit(at(1)); err != nil {
		t.Fatal(err)
	}
}

// heapPeak runs fn and returns the most by which the heap grew, including garbage
// that was not collected yet.
func heapPeak(fn func()) uint64 {
	runtime.GC()
	var before, m runtime.MemStats
	runtime.ReadMemStats(&before)
	var peak atomic.Uint64
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			runtime.ReadMemStats(&m)
			peak.Store(max(peak.Load(), m.HeapAlloc))
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	fn()
	close(stop)
	<-done
	return max(peak.Load(), before.HeapAlloc) - before.HeapAlloc
}

func percentile(d []time.Duration, p int) time.Duration {
	slices.Sort(d)
	return d[len(d)*p/100]
}

// timed logs the time and the heap that fn needs, and returns the time.
func timed(t *testing.T, what string, fn func()) time.Duration {
	t.Helper()
	start := time.Now()
	heap := heapPeak(fn)
	took := time.Since(start)
	t.Logf("%-22s %8.3f s, heap +%d MB", what, took.Seconds(), heap>>20)
	return took
}

func TestMillion(t *testing.T) {
	n := 1_000_000
	if testing.Short() {
		n = 100_000
	}
	path := filepath.Join(t.TempDir(), "state.db")
	s := open(t, path, at(1))
	timed(t, "stage", func() { stage(t, s, "blocklist", n) })
	size := fileSize(t, path)
	t.Logf("file: %d MB, %d bytes an entry", size>>20, size/int64(n))
	if perEntry := size / int64(n); perEntry > 100 && n == 1_000_000 {
		t.Errorf("%d bytes an entry on disk", perEntry)
	}

	applyHundred(t, s)
	s.Close()

	var live, expired int
	before := testenv.CPUTime(t)
	took := timed(t, "open, verify and load", func() {
		s = open(t, path, at(2))
		stats, err := s.Load(func(policy.Entry) error { return nil })
		if err != nil {
			t.Fatal(err)
		}
		live, expired = stats.Live, stats.Expired
	})
	if live != n+100 || expired != 0 {
		t.Errorf("%d live and %d expired entries, want %d and 0", live, expired, n+100)
	}
	if used := testenv.CPUTime(t) - before; used > 30*time.Second {
		t.Errorf("opening took %v of processor time", used)
	}
	testenv.Figure(t, took <= 10*time.Second, "opening took %v", took)
	timed(t, "stage again", func() { stage(t, s, "blocklist", n/2) })
	t.Logf("file: %d MB", fileSize(t, path)>>20)
	applyHundred(t, s) // with a long list of free pages
	if _, stats := loadAll(t, s); stats.Live != n/2+100 {
		t.Errorf("after the replacement: %+v", stats)
	}
}

func applyHundred(t *testing.T, s *store.Store) {
	t.Helper()
	var took []time.Duration
	for i := range 100 {
		start := time.Now()
		apply(t, s, at(2), policy.PutOp(block(fmt.Sprintf("192.0.%d.0/24", i), "cli", policy.Forever)))
		took = append(took, time.Since(start))
	}
	t.Logf("apply one: p50 %v, p99 %v", percentile(took, 50), percentile(took, 99))
}

func fileSize(t testing.TB, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

func BenchmarkApplyOneAtMillion(b *testing.B) {
	s := open(b, filepath.Join(b.TempDir(), "state.db"), at(1))
	stage(b, s, "blocklist", 1_000_000)
	var took []time.Duration
	ops := puts(numbered("cli", 50_000, policy.Forever)...)
	for i := 0; b.Loop(); i++ {
		start := time.Now()
		apply(b, s, at(1), ops[i%len(ops)])
		took = append(took, time.Since(start))
	}
	b.ReportMetric(float64(percentile(took, 50).Microseconds()), "p50-µs")
	b.ReportMetric(float64(percentile(took, 99).Microseconds()), "p99-µs")
}

func BenchmarkStageMillion(b *testing.B) {
	for b.Loop() {
		s := open(b, filepath.Join(b.TempDir(), "state.db"), at(1))
		stage(b, s, "blocklist", 1_000_000)
		s.Close()
	}
}
