package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/tests/lab"
	"github.com/paraxial/paraxial/tests/testenv"
)

// detectors is a configuration with one detector that bans and one that limits.
const detectors = `
proxies: [203.0.113.0/24]
detectors:
  - name: udp-flood
    match: {proto: udp, port: 7777}
    limit: 200/s
    window: 2s
    action: block
    for: 10s
    escalate: {factor: 4, max: 1h, forget: 1h}
  - name: icmp-flood
    match: {proto: icmp}
    limit: 100/s
    window: 1s
    action: limit
    for: 1m
`

func newDetecting(t *testing.T) *host {
	t.Helper()
	return newHost(t, "--config", writeConfig(t, filepath.Join(t.TempDir(), "paraxiald.yaml"), detectors))
}

func writeConfig(t *testing.T, path, content string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// A reload adds and removes detectors; their entries stay until they end.
func TestDetectorReload(t *testing.T) {
	path := writeConfig(t, filepath.Join(t.TempDir(), "paraxiald.yaml"), "proxies: []\n")
	h := newHost(t, "--config", path)
	h.start()
	source := netip.MustParseAddr("198.51.100.1")
	h.flood(source, 60, 2000, 3*time.Second)
	if got := h.blocks("udp-flood"); len(got) > 0 {
		t.Fatalf("without detectors: %+v", got)
	}
	h.reload(func(s control.DetectorsStatus) bool { return len(s.Detectors) == 2 }, path, detectors)
	stop := h.floodUntilBanned(source, 2000, "udp-flood")
	h.reload(func(s control.DetectorsStatus) bool { return !s.Enabled }, path, "proxies: []\n")
	if got := h.blocks("udp-flood"); len(got) != 1 {
		t.Errorf("the ban was removed with its detector: %+v", got)
	}
	stop()
	h.flood(netip.MustParseAddr("198.51.100.2"), 60, 2000, 3*time.Second)
	if got := h.blocks("udp-flood"); len(got) > 1 {
		t.Errorf("a removed detector makes decisions: %+v", got)
	}
}

// reload makes the daemon read another configuration, and waits for its effect.
func (h *host) reload(done func(control.DetectorsStatus) bool, path, content string) {
	h.Helper()
	writeConfig(h.T, path, content)
	if err := h.run.Signal(unix.SIGHUP); err != nil {
		h.Fatal(err)
	}
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		s, err := h.client().Detectors(h.Context())
		if err != nil {
			h.Fatal(err)
		}
		if done(s) {
			return
		}
		if time.Now().After(end) {
			h.Fatalf("the reload has no effect: %+v", s)
		}
	}
}

// blocks returns the entries made by a detector.
func (h *host) blocks(detector string) []control.Entry {
	h.Helper()
	all := ctlJSON[[]control.Entry](h, "list", "blocks")
	return slices.DeleteFunc(all, func(e control.Entry) bool { return e.Origin != "detector:"+detector })
}

// A source at twice its limit is banned within a window and half a second. Sources at half the
// limit, allowed sources and proxies are left alone. The ban has its reason, ends, and is longer
// the second time, also after a restart.
func TestDetector(t *testing.T) {
	h := newDetecting(t)
	h.start()
	h.ctl(0, "allow", "198.51.100.77")
	offender, fair := netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("198.51.100.2")
	allowed, proxy := netip.MustParseAddr("198.51.100.77"), netip.MustParseAddr("203.0.113.9")

	s := h.serve()
	h.flood(fair, 60, 100, time.Second)
	h.flood(allowed, 60, 2000, time.Second)
	h.flood(proxy, 60, 2000, time.Second)
	if got := h.blocks("udp-flood"); len(got) > 0 {
		t.Errorf("without an offender: %+v", got)
	}
	s.Keep()
	stop := h.floodUntilBanned(offender, 400, "udp-flood")
	h.expectActedUpon(s, offender)
	bans := h.blocks("udp-flood")
	if len(bans) != 1 || bans[0].Prefix != "198.51.100.1/32" || bans[0].Author != "detector" ||
		!strings.Contains(bans[0].Reason, "limit 200/s over 2s") {
		t.Fatalf("bans: %+v", bans)
	}
	if why := ctlJSON[control.WhyResult](h, "why", "198.51.100.1"); why.Verdict != "drop" || len(why.Matched) != 1 {
		t.Errorf("why: %+v", why)
	}
	status, err := h.client().Detectors(t.Context())
	if err != nil || !status.Enabled || len(status.Detectors) != 2 || status.Detectors[0].Decisions["block"] != 1 ||
		status.Entries != 1 {
		t.Errorf("detectors: %+v, %v", status, err)
	}
	top, err := h.client().Top(t.Context())
	if err != nil {
		t.Error(err)
	}
	if i := slices.IndexFunc(top.Sources,
		func(s control.TopSource) bool { return s.Source == "198.51.100.1/32" }); i < 0 ||
		top.Sources[i].Verdict != "drop" {
		t.Errorf("top: %+v", top)
	}
	if e := bans[0].Evidence; e == nil || e.Detector != "udp-flood" || e.Limit != "200/s" || len(e.Ports) != 1 ||
		e.Ports[0] != serverPort {
		t.Errorf("evidence: %+v", e)
	}
	stop()
	h.waitUnblocked("udp-flood", patience)
	h.kill()
	h.start()
	h.floodUntilBanned(offender, 800, "udp-flood")()
	again := h.blocks("udp-flood")
	if len(again) != 1 || again[0].Expires == nil || again[0].Expires.Sub(again[0].Created) < 15*time.Second {
		t.Errorf("the second ban is no longer than the first: %+v", again)
	}
}

// floodUntilBanned sends from a source until a detector has banned it, however long the machine
// takes, and continues until stop is called, so that the ban is extended.
func (h *host) floodUntilBanned(src netip.Addr, perSecond int, detector string) (stop func()) {
	h.Helper()
	var running sync.WaitGroup
	done := make(chan struct{})
	running.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				h.flood(src, 80, perSecond, time.Second/2)
			}
		}
	})
	stop = sync.OnceFunc(func() {
		close(done)
		running.Wait()
	})
	h.Cleanup(stop)
	h.within(fmt.Sprintf("%s bans %s", detector, src), patience, func() bool { return len(h.blocks(detector)) > 0 })
	return stop
}

// expectActedUpon checks that an offender at twice the limit of udp-flood got through at least what
// the limit allows in a window, and nothing after its ban.
func (h *host) expectActedUpon(s *lab.Server, offender netip.Addr) {
	h.Helper()
	const allowed = 2 * 200 // window times limit
	h.settle(s)
	got := s.Kept()
	if len(got) < allowed {
		h.Errorf("banned after %d packets, want %d or more", len(got), allowed)
		return
	}
	until := got[len(got)-1].At.Sub(got[0].At)
	h.Logf("at twice the limit: banned after %v and %d packets", until.Round(time.Millisecond), len(got))
	testenv.Figure(h.T, until <= 2500*time.Millisecond, "banned after %v, want 2.5 s at most", until)
	before := s.Sources()[offender]
	h.flood(offender, 60, 400, time.Second/2)
	h.settle(s)
	if now := s.Sources()[offender]; now > before {
		h.Errorf("%d packets of the offender arrived after the ban", now-before)
	}
}

func (h *host) waitUnblocked(detector string, most time.Duration) {
	h.Helper()
	for end := time.Now().Add(most); len(h.blocks(detector)) > 0; time.Sleep(200 * time.Millisecond) {
		if time.Now().After(end) {
			h.Fatalf("the ban is still there after %v: %+v", most, h.blocks(detector))
		}
	}
}

// A daemon with detectors and nothing to do uses almost no processor time.
func TestIdle(t *testing.T) {
	h := newDetecting(t)
	h.start()
	time.Sleep(2 * time.Second) // let the start finish
	const (
		span = 8 * time.Second
		// idleWork is the processor time that the daemon may use, as a number of map entry updates.
		idleWork = 10 * yardstickEntries
	)
	// On a busy machine the start takes longer than that, and shows in the first of the spans.
	var used, unit time.Duration
	for range 4 {
		y := newYardstick()
		before := h.cpuTime()
		time.Sleep(span)
		used = h.cpuTime() - before
		unit = y.end() / yardstickEntries
		t.Logf("%.2f%% of a core, which equals %d updates of a map entry at %s each",
			100*used.Seconds()/span.Seconds(), used/unit, unit)
		if used <= idleWork*unit {
			break
		}
	}
	if used > idleWork*unit {
		t.Errorf("the daemon used %v, want %d times %s at most", used, idleWork, unit)
	}
	testenv.Figure(t, used <= span/100, "the daemon used %v in %v, want 1%% of a core at most", used, span)
}

// cpuTime returns the processor time that the daemon has used.
func (h *host) cpuTime() time.Duration {
	h.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", h.run.PID()))
	if err != nil {
		h.Fatal(err)
	}
	// The fields after the name; user and system time are the 12th and 13th.
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	var ticks int
	for _, f := range fields[11:13] {
		n, err := strconv.Atoi(f)
		if err != nil {
			h.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond // USER_HZ is 100
}
