package daemon

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/paraxial/paraxial/config"
	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/events"
	"github.com/paraxial/paraxial/policy"
	"github.com/paraxial/paraxial/report"
	"github.com/paraxial/paraxial/tests/testenv"
)

// oneReporter is the backend of a daemon that takes everybody for the reporter shop.
type oneReporter struct{ *reporting }

func (r oneReporter) Reporter(uint32) (report.Rights, bool) {
	who := config.DefaultReporter()
	who.Name, who.Rules = "shop", []string{config.All}
	who.May, who.EventsPerSecond = []config.Right{config.RightEvent, config.RightAsk}, config.MaxEventsPerSecond
	return rightsOf(who), true
}

// openRateStream returns a stream to a daemon with a rule that no source exceeds.
func openRateStream(b *testing.B, d *Daemon) (net.Conn, *bufio.Reader) {
	b.Helper()
	socket := filepath.Join(b.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	server := report.NewServer(oneReporter{newReporting(d)}, &report.Board{},
		report.Options{Log: slog.New(slog.DiscardHandler)})
	go func() { served <- server.Serve(ctx, l) }()
	b.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			b.Error(err)
		}
	})
	nc, err := net.Dial("unix", socket)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { nc.Close() })
	io.WriteString(nc, "GET /v1/stream HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: ndjson\r\n\r\n")
	in := bufio.NewReader(nc)
	for range 4 { // the answer to the upgrade
		in.ReadSlice('\n')
	}
	return nc, in
}

// newRatingDaemon returns a daemon with a real store and a rule that no source exceeds.
func newRatingDaemon(b *testing.B) *Daemon {
	b.Helper()
	k := &fakeKernel{nodes: map[string]policy.Verdict{}}
	d := newDaemonOver(b, k, filepath.Join(b.TempDir(), StoreFile), 1<<21)
	rule := events.Default()
	rule.Name, rule.Limit, rule.Window, rule.Action = "login", 1_000_000, time.Second, events.Block
	cfg := d.settings()
	cfg.Rules, cfg.Detection = []events.Rule{rule}, config.Default().Detection
	d.cfg.Store(&cfg)
	(&bench{Daemon: d}).restartRules()
	d.ruling.readGuard()
	return d
}

func rateLine(n int) string {
	a := netip.AddrFrom4([4]byte{203, 0, 113, byte(n)})
	return fmt.Sprintf(`{"rate":{"address":%q,"rule":"login"}}`+"\n", a)
}

// BenchmarkStream shows what questions cost that count, 64 at a time, and how long one waits at most
// while a million entries load.
func BenchmarkStream(b *testing.B) {
	d := newRatingDaemon(b)
	nc, in := openRateStream(b, d)
	ask := func(n int) {
		io.WriteString(nc, strings.Repeat(rateLine(n), n))
		for range n {
			line, err := in.ReadSlice('\n')
			if err != nil || !strings.Contains(string(line), `"verdict":"pass"`) {
				b.Fatalf("%s, %v", line, err)
			}
		}
	}
	b.Run("throughput", func(b *testing.B) {
		began := testenv.CPUTime(b)
		for left := b.N; left > 0; left -= 64 {
			ask(min(left, 64))
		}
		b.ReportMetric(float64(b.N)/(testenv.CPUTime(b)-began).Seconds(), "questions/cpu-s")
	})
	b.Run("idle", func(b *testing.B) {
		reportWaits(b, ask, func(asked int) bool { return asked == 50_000 })
	})
	b.Run("loading", func(b *testing.B) {
		var list strings.Builder
		for n := range 1_000_000 {
			fmt.Fprintf(&list, "%d.%d.%d.%d\n", 11+n>>18, n>>10&255, n>>2&255, n&3*64)
		}
		loaded := make(chan error, 1)
		go func() {
			_, err := d.Import(context.Background(), control.Caller{}, control.Import{
				Origin: "list", Kind: policy.Block, Action: policy.Shadow, For: policy.TTLForever, Force: true,
				Accept: true,
			}, strings.NewReader(list.String()), func(control.ImportProgress) {})
			loaded <- err
		}()
		reportWaits(b, ask, func(int) bool { return len(loaded) > 0 })
		if err := <-loaded; err != nil {
			b.Fatal(err)
		}
	})
}

// reportWaits asks one question after the other until it is done, and reports how long they wait.
func reportWaits(b *testing.B, ask func(n int), done func(asked int) bool) {
	b.Helper()
	var waits []time.Duration
	for !done(len(waits)) {
		began := time.Now()
		ask(1)
		waits = append(waits, time.Since(began))
	}
	slices.Sort(waits)
	b.ReportMetric(float64(waits[len(waits)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(waits[len(waits)*99/100].Microseconds()), "p99-µs")
	b.ReportMetric(float64(len(waits)), "questions")
}
