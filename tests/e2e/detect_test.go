package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/paraxial/paraxial/control"
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
    for: 5s
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

// Detectors come and go with a reload; what they have put stays until it ends.
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
	h.flood(source, 60, 2000, 3*time.Second)
	if got := h.blocks("udp-flood"); len(got) != 1 {
		t.Errorf("with detectors: %+v", got)
	}
	h.reload(func(s control.DetectorsStatus) bool { return !s.Enabled }, path, "proxies: []\n")
	if got := h.blocks("udp-flood"); len(got) != 1 {
		t.Errorf("the ban went with its detector: %+v", got)
	}
	h.flood(netip.MustParseAddr("198.51.100.2"), 60, 2000, 3*time.Second)
	if got := h.blocks("udp-flood"); len(got) > 1 {
		t.Errorf("a detector that is no more decides: %+v", got)
	}
}

// reload has the daemon read another configuration, and waits for its effect.
func (h *host) reload(done func(control.DetectorsStatus) bool, path, content string) {
	h.Helper()
	writeConfig(h.T, path, content)
	if err := h.run.Signal(unix.SIGHUP); err != nil {
		h.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
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

// blocks returns the entries that a detector has put.
func (h *host) blocks(detector string) []control.Entry {
	h.Helper()
	all := ctlJSON[[]control.Entry](h, "list", "blocks")
	return slices.DeleteFunc(all, func(e control.Entry) bool { return e.Origin != "detector:"+detector })
}

// A source at twice its limit is acted upon within a window and half a second,
// while others at half of it, allowed ones and proxies are left alone; the ban says
// why, ends, and is longer the second time, also after a restart.
func TestDetector(t *testing.T) {
	h := newDetecting(t)
	h.start()
	h.ctl(0, "allow", "198.51.100.77")
	offender, fair := netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("198.51.100.2")
	allowed, proxy := netip.MustParseAddr("198.51.100.77"), netip.MustParseAddr("203.0.113.9")

	s := h.serve()
	begin := time.Now()
	h.flood(fair, 60, 100, time.Second)
	h.flood(allowed, 60, 2000, time.Second)
	h.flood(proxy, 60, 2000, time.Second)
	if got := h.blocks("udp-flood"); len(got) > 0 {
		t.Errorf("after %v without an offender: %+v", time.Since(begin), got)
	}
	sent, took := h.flood(offender, 60, 400, 4*time.Second)
	s.Settle(1<<30, 200*time.Millisecond)
	passed := s.Sources()[offender]
	// At 400/s what passes tells when the first was dropped.
	if until := time.Duration(float64(passed) / float64(sent) * float64(took)); until > 2500*time.Millisecond {
		t.Errorf("%d of %d packets passed: acted upon after %v, want 2.5 s at most", passed, sent, until)
	} else {
		t.Logf("at twice the limit: acted upon after %v", until.Round(time.Millisecond))
	}
	bans := h.blocks("udp-flood")
	if len(bans) != 1 || bans[0].Prefix != "198.51.100.1/32" || bans[0].Author != "detector" || !strings.Contains(bans[0].Reason, "limit 200/s over 2s") {
		t.Fatalf("bans: %+v", bans)
	}
	if why := ctlJSON[control.WhyResult](h, "why", "198.51.100.1"); why.Verdict != "drop" || len(why.Matched) != 1 {
		t.Errorf("why: %+v", why)
	}
	status, err := h.client().Detectors(t.Context())
	if err != nil || !status.Enabled || len(status.Detectors) != 2 || status.Detectors[0].Decisions["block"] != 1 || status.Entries != 1 {
		t.Errorf("detectors: %+v, %v", status, err)
	}
	top, err := h.client().Top(t.Context())
	if err != nil {
		t.Error(err)
	}
	if i := slices.IndexFunc(top.Sources, func(s control.TopSource) bool { return s.Source == "198.51.100.1/32" }); i < 0 || top.Sources[i].Verdict != "drop" {
		t.Errorf("top: %+v", top)
	}
	if e := bans[0].Evidence; e == nil || e.Detector != "udp-flood" || e.Limit != "200/s" || len(e.Ports) != 1 || e.Ports[0] != serverPort {
		t.Errorf("evidence: %+v", e)
	}
	h.waitUnblocked("udp-flood", 15*time.Second)
	h.kill()
	h.start()
	h.flood(offender, 60, 800, 3*time.Second)
	again := h.blocks("udp-flood")
	if len(again) != 1 || again[0].Expires == nil || time.Until(*again[0].Expires) < 15*time.Second {
		t.Errorf("the second ban is no longer than the first: %+v", again)
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

// A daemon with detectors and nothing to do takes next to no processor time.
func TestIdle(t *testing.T) {
	h := newDetecting(t)
	h.start()
	time.Sleep(2 * time.Second) // past the start
	const span = 8 * time.Second
	before := h.cpuTime()
	time.Sleep(span)
	used := h.cpuTime() - before
	t.Logf("%.2f%% of a core", 100*used.Seconds()/span.Seconds())
	if used > span/100 {
		t.Errorf("the daemon took %v in %v, want 1%% of a core at most", used, span)
	}
}

// cpuTime returns the processor time that the daemon has taken.
func (h *host) cpuTime() time.Duration {
	h.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", h.run.PID()))
	if err != nil {
		h.Fatal(err)
	}
	// The fields after the name, of which user and system time are the 12th and 13th.
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
