package metrics

import (
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

type fixed Snapshot

func (f fixed) Snapshot() Snapshot { return Snapshot(f) }

var testBuild = Build{Version: "1.2.3", Revision: "abcdef", GoVersion: "go1.26"}

func sample() fixed {
	return fixed{
		Interfaces: []Interface{
			{Name: "eth0", Mode: "native", Protected: true, Counters: []Counter{
				{Verdict: "pass", Reason: "not_listed", Packets: 10, Bytes: 1000},
				{Verdict: "drop", Reason: "blocked", Packets: 3, Bytes: 180},
			}},
			{Name: "eth1"},
		},
		Entries: []Entries{
			{Kind: "block", Family: "ipv4", Origin: "cli", Count: 2},
			{Kind: "block", Family: "ipv6", Origin: "cli", Count: 1},
			{Kind: "allow", Family: "ipv4", Origin: "office", Count: 0},
		},
		Maps: []Map{{Name: "block_v4", Entries: 2, Capacity: 1048576}},
		Feeds: []Feed{
			{Name: "drop", Entries: 900, Generation: 4, Up: true, Answered: true, Age: time.Hour},
			{Name: "new", Held: true},
		},
		Reporters: []Reporter{{Name: "feeds", Present: true}, {Name: "other"}},
		Rules:     []Rule{{Name: "login", Sources: 7, Entries: 2, Evicted: 5, Ineffective: 1}},
		RuleEvents: []RuleEvents{
			{Rule: "login", Reporter: "shop", Result: "counted", Count: 40},
			{Reporter: "shop", Result: "unknown_rule", Count: 2},
		},
		Logs: []Log{{Name: "sshd", Up: true, Lines: 7, Matched: 6, Ambiguous: 5, NoAddress: 4, Refused: 3, LostBytes: 2,
			Gaps: 1}, {Name: "web", Lag: 90}},
		Warnings: 3, GuardIncomplete: true,
		SaveFailures: 4, SaveFailing: true, Allowed: map[string]float64{"ipv4": 0.5},
	}
}

func TestExposition(t *testing.T) {
	c := New(sample(), testBuild)
	c.ObserveApply(300 * time.Microsecond)
	c.ObserveApply(20 * time.Second)
	want, err := os.Open("testdata/exposition.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer want.Close()
	if err := testutil.CollectAndCompare(c, want); err != nil {
		t.Error(err)
	}
}

func TestLint(t *testing.T) {
	problems, err := testutil.CollectAndLint(New(sample(), testBuild))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// entriesOf returns the exported number of entries by origin.
func entriesOf(t *testing.T, s fixed) map[string]float64 {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(New(s, testBuild))
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		if f.GetName() != "paraxial_entries" {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "origin" {
					got[l.GetValue()] += m.GetGauge().GetValue()
				}
			}
		}
	}
	return got
}

func TestOriginsAreCapped(t *testing.T) {
	var s fixed
	want := map[string]float64{"other": 9}
	for n := range maxOrigins - 1 {
		name := fmt.Sprintf("feed:%02d", n)
		s.Entries = append(s.Entries, Entries{Kind: "block", Family: "ipv4", Origin: name, Count: 10 + n})
		want[name] = float64(10 + n)
	}
	// One place is left: of three origins with equal sums, the first by name gets it.
	for _, name := range []string{"zb", "za", "zc"} {
		s.Entries = append(s.Entries,
			Entries{Kind: "block", Family: "ipv4", Origin: name, Count: 3},
			Entries{Kind: "allow", Family: "ipv6", Origin: name, Count: 1})
	}
	s.Entries = append(s.Entries, Entries{Kind: "block", Family: "ipv4", Origin: "other", Count: 1})
	want["za"] = 4
	for range 10 {
		if diff := cmp.Diff(want, entriesOf(t, s)); diff != "" {
			t.Fatalf("origins (-want +got):\n%s", diff)
		}
		slices.Reverse(s.Entries)
	}
}

func TestOriginsThatFitStay(t *testing.T) {
	var s fixed
	want := map[string]float64{}
	for n := range maxOrigins {
		name := fmt.Sprintf("o%02d", n)
		s.Entries = append(s.Entries, Entries{Kind: "block", Family: "ipv4", Origin: name, Count: 1})
		want[name] = 1
	}
	if diff := cmp.Diff(want, entriesOf(t, s)); diff != "" {
		t.Errorf("origins (-want +got):\n%s", diff)
	}
}

func TestLabel(t *testing.T) {
	tests := map[string]string{
		"":             "",
		"eth0":         "eth0",
		"é\n\"":        "é\n\"",
		"a\xffb":       `a\xffb`,
		"\xc3":         `\xc3`,
		"\ufffd\xfe":   "\ufffd" + `\xfe`,
		"\xed\xa0\x80": `\xed\xa0\x80`,
	}
	for in, want := range tests {
		if got := label(in); got != want {
			t.Errorf("label(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestBytesThatAreNoUTF8(t *testing.T) {
	bad := "\xff"
	c := New(fixed{
		Interfaces: []Interface{
			{Name: bad, Mode: bad, Counters: []Counter{{Verdict: bad, Reason: bad}}},
			{Name: "\xfe"},
		},
		Entries: []Entries{{Kind: bad, Family: bad, Origin: bad}, {Kind: `\xff`, Family: bad, Origin: bad}},
		Maps:    []Map{{Name: bad}},
	}, Build{bad, bad, bad})
	reg := prometheus.NewRegistry()
	reg.MustRegister(c)
	if _, err := reg.Gather(); err != nil {
		t.Error(err)
	}
}

// newServer serves c. An error of a scrape fails the test.
func newServer(t *testing.T, c *Collector) *httptest.Server {
	t.Helper()
	h, err := Handler(c, failer{t})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

type failer struct{ t *testing.T }

func (f failer) Println(v ...any) { f.t.Error(v...) }

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	// A scrape that is admitted by mistake would wait for ever.
	client := http.Client{Timeout: time.Minute}
	resp, err := client.Get(url)
	if err != nil {
		t.Error(err)
		return 0, ""
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
	}
	return resp.StatusCode, string(body)
}

func TestHandler(t *testing.T) {
	s := newServer(t, New(sample(), testBuild))
	tests := []struct {
		path   string
		status int
		body   string
	}{
		{"/metrics", http.StatusOK, `paraxial_packets_total{interface="eth0",reason="blocked",verdict="drop"} 3`},
		{"/metrics", http.StatusOK, "\ngo_goroutines "},
		{"/metrics", http.StatusOK, "\nprocess_resident_memory_bytes "},
		{"/", http.StatusOK, "/metrics"},
		{"/other", http.StatusNotFound, ""},
	}
	for _, tt := range tests {
		status, body := get(t, s.URL+tt.path)
		if status != tt.status || !strings.Contains(body, tt.body) {
			t.Errorf("GET %s: %d, and %q is not in\n%s", tt.path, status, tt.body, body)
		}
	}
	resp, err := http.Post(s.URL+"/metrics", "text/plain", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST /metrics: %d", resp.StatusCode)
	}
}

// stuck is a source that answers only when it is released.
type stuck struct{ entered, release chan struct{} }

func (s stuck) Snapshot() Snapshot {
	s.entered <- struct{}{}
	<-s.release
	return Snapshot{}
}

// Scrapes that come while one is under way wait for it and get the same values. None waits for ever.
func TestScrapesShareAnExposition(t *testing.T) {
	const others = 20
	src := stuck{make(chan struct{}, others+1), make(chan struct{})}
	reg := prometheus.NewRegistry()
	reg.MustRegister(New(src, testBuild))
	x := newExpositions(promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	s := httptest.NewServer(x)
	defer s.Close()
	var wg sync.WaitGroup
	scrape := func() {
		if status, body := get(t, s.URL); status != http.StatusOK || !strings.Contains(body, "paraxial_build_info") {
			t.Errorf("a scrape: %d\n%s", status, body)
		}
	}
	wg.Go(scrape)
	<-src.entered
	x.wait = 0
	if status, _ := get(t, s.URL); status != http.StatusServiceUnavailable {
		t.Errorf("a scrape beside one that is stuck: %d", status)
	}
	x.wait = time.Minute
	for range others {
		wg.Go(scrape)
	}
	close(src.release)
	wg.Wait()
	// On a slow machine the scrapes may take longer than shareFor.
	if n := len(src.entered); n > others/2 {
		t.Errorf("%d of %d scrapes asked the source", n, others)
	}
}

// A client gets the text as it asks for it, and the same text.
func TestCompression(t *testing.T) {
	s := newServer(t, New(sample(), testBuild))
	for encoding, packed := range map[string]bool{
		"": false, "identity": false, "gzip": true, "deflate, gzip;q=0.5": true, "gzip;q=0": false, "gzip2": false,
	} {
		r, err := http.NewRequest(http.MethodGet, s.URL+"/metrics", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept-Encoding", encoding)
		r.Header.Set("Accept", "application/openmetrics-text")
		resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		var body io.Reader = resp.Body
		if resp.Header.Get("Content-Encoding") == "gzip" {
			if body, err = gzip.NewReader(body); err != nil {
				t.Fatal(err)
			}
		}
		text, err := io.ReadAll(body)
		resp.Body.Close()
		if err != nil || !strings.Contains(string(text), "paraxial_build_info") {
			t.Errorf("%q: %v\n%s", encoding, err, text)
		}
		if got := resp.Header.Get("Content-Encoding") == "gzip"; got != packed {
			t.Errorf("%q: compressed %t, want %t", encoding, got, packed)
		}
		if kind := resp.Header.Get("Content-Type"); !strings.HasPrefix(kind, "text/plain; version=0.0.4") {
			t.Errorf("%q: %s", encoding, kind)
		}
	}
}

func TestConcurrentScrapes(t *testing.T) {
	c := New(sample(), testBuild)
	reg := prometheus.NewRegistry()
	reg.MustRegister(c)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				c.ObserveApply(time.Millisecond)
				if _, err := reg.Gather(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	var want strings.Builder
	for _, le := range []string{"0.0001", "0.00025", "0.0005"} {
		fmt.Fprintf(&want, "paraxial_apply_seconds_bucket{le=%q} 0\n", le)
	}
	status, body := get(t, newServer(t, c).URL+"/metrics")
	if status != http.StatusOK || !strings.Contains(body, want.String()) ||
		!strings.Contains(body, "paraxial_apply_seconds_count 400\n") {
		t.Errorf("%d\n%s", status, body)
	}
}

func TestDocsNameEveryMetric(t *testing.T) {
	doc, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(detecting())
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for _, f := range families {
		var labels []string
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, l.GetName())
		}
		slices.Sort(labels)
		want[f.GetName()] = strings.ToLower(f.GetType().String()) + " " + strings.Join(labels, " ")
	}
	row := regexp.MustCompile("(?m)^\\| `(paraxial_[a-z_]+)` \\| ([a-z]+) \\|([^|]*)\\| .+ \\|$")
	got := map[string]string{}
	for _, m := range row.FindAllStringSubmatch(string(doc), -1) {
		labels := regexp.MustCompile("[a-z_]+").FindAllString(m[3], -1)
		slices.Sort(labels)
		got[m[1]] = m[2] + " " + strings.Join(labels, " ")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the table of docs/metrics.md (-gathered +documented):\n%s", diff)
	}
	for _, name := range regexp.MustCompile(`paraxial_[a-z_]+`).FindAllString(string(doc), -1) {
		base := strings.TrimSuffix(strings.TrimSuffix(name, "_bucket"), "_count")
		if _, ok := want[base]; !ok {
			t.Errorf("docs/metrics.md names %s, which does not exist", name)
		}
	}
}

// detecting returns a collector of a daemon with detectors.
func detecting() *Collector {
	s := sample()
	s.Detection = Detection{Enabled: true, Tracked: 7, Lost: 3, Exceeded: true, NoRoom: 5}
	c := New(s, testBuild)
	c.ObserveTick(time.Millisecond)
	c.CountDecision("flood", "limit")
	c.CountDecision("flood", "limit")
	return c
}

func TestDetection(t *testing.T) {
	const want = `
# HELP paraxial_detector_breaker_open 1 while the circuit breaker turns all decisions into shadows, otherwise 0.
# TYPE paraxial_detector_breaker_open gauge
paraxial_detector_breaker_open 0
# HELP paraxial_detector_decisions_total Sources that a detector acted upon, by action.
# TYPE paraxial_detector_decisions_total counter
paraxial_detector_decisions_total{action="limit",detector="flood"} 2
# HELP paraxial_detector_no_room_total Sources above a limit for which there was no room for an entry.
# TYPE paraxial_detector_no_room_total counter
paraxial_detector_no_room_total 5
# HELP paraxial_detector_samples_lost_total Packet samples lost because the daemon did not read them in time.
# TYPE paraxial_detector_samples_lost_total counter
paraxial_detector_samples_lost_total 3
# HELP paraxial_detector_sampling_exceeded 1 while packets arrive too fast for reliable detection, otherwise 0.
# TYPE paraxial_detector_sampling_exceeded gauge
paraxial_detector_sampling_exceeded 1
# HELP paraxial_detector_tracked_sources Sources with exact counters now.
# TYPE paraxial_detector_tracked_sources gauge
paraxial_detector_tracked_sources 7
`
	err := testutil.CollectAndCompare(detecting(), strings.NewReader(want), "paraxial_detector_breaker_open",
		"paraxial_detector_decisions_total", "paraxial_detector_no_room_total", "paraxial_detector_samples_lost_total",
		"paraxial_detector_sampling_exceeded", "paraxial_detector_tracked_sources")
	if err != nil {
		t.Error(err)
	}
}

// BenchmarkScrape exports the maximum: every interface, every reason, and more origins than are
// shown.
func BenchmarkScrape(b *testing.B) {
	var s fixed
	for i := range 64 {
		iface := Interface{Name: fmt.Sprintf("eth%d", i), Mode: "native", Protected: true}
		for r := range 7 {
			iface.Counters = append(iface.Counters,
				Counter{Verdict: "pass", Reason: fmt.Sprintf("reason_%d", r), Packets: 1e9, Bytes: 1e12})
		}
		s.Interfaces = append(s.Interfaces, iface)
	}
	for o := range 200 {
		s.Entries = append(s.Entries,
			Entries{Kind: "block", Family: "ipv4", Origin: fmt.Sprintf("feed:%d", o), Count: o})
	}
	reg := prometheus.NewRegistry()
	reg.MustRegister(New(s, testBuild))
	for b.Loop() {
		if _, err := reg.Gather(); err != nil {
			b.Fatal(err)
		}
	}
}
