package feeds

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// misbehaviour is something that a server does, and what the state then says.
type misbehaviour struct {
	name   string
	answer http.HandlerFunc
	want   string
	change func(*Feed)
}

func quick(f *Feed) { f.Timeout = 200 * time.Millisecond }

// raw answers with these bytes and closes the connection.
func raw(answer string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		c, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer c.Close()
		rw.WriteString(answer)
		rw.Flush()
	}
}

func redirect(to string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/list.txt" || to == "" {
			w.Header().Set("Location", to)
			w.WriteHeader(302)
			return
		}
		fmt.Fprintln(w, "203.0.113.66")
	}
}

func say(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, text) }
}

// drip writes one byte at a time until the client has gone.
func drip(w http.ResponseWriter, r *http.Request) {
	for r.Context().Err() == nil {
		if _, err := io.WriteString(w, "#"); err != nil {
			return
		}
		w.(http.Flusher).Flush()
		select {
		case <-r.Context().Done():
		case <-time.After(time.Millisecond):
		}
	}
}

// bomb is a gzip stream of 300 MiB of comments.
func bomb(w io.Writer) {
	var member bytes.Buffer
	zip := gzip.NewWriter(&member)
	io.WriteString(zip, strings.Repeat("#"+strings.Repeat("a", 1022)+"\n", 1024))
	zip.Close()
	for range 300 {
		if _, err := w.Write(member.Bytes()); err != nil {
			return
		}
	}
}

func misbehaviours() []misbehaviour {
	const html = "<!DOCTYPE html><html><body>Too many requests from 203.0.113.5</body></html>\n"
	return []misbehaviour{
		{"hangs before the answer", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "in time",
			quick},
		{"hangs within the body", func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, "203.0.113.66\n")
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}, "in time", quick},
		{"drips", drip, "in time", quick},
		{"HTML", say(html), "HTML", nil},
		{"HTML without a doctype", say("<html><head><title>login</title></head></html>"), "HTML", nil},
		{"empty", say(""), "empty", nil},
		{"comments only", say("# nothing\n; at all\n\n"), "only comments", nil},
		{"cut, with a length", raw("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n203.0.113.66\n"), "cut off", nil},
		{"cut, in chunks", raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40\r\n203.0.113.66\n"),
			"cut off", nil},
		{"cut within a line, without a length",
			raw("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n203.0.113.66\n203.0.113.1"),
			"may be cut off", nil},
		{"cut between lines, without a length", raw("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n203.0.113.66\n"),
			"", nil}, // held: it has shrunk
		{"cut JSON", raw("HTTP/1.1 200 OK\r\n\r\n" + `{"syncToken":"1","prefixes":[{"ip_prefix":"203.0.113.0/24"}`),
			"not complete", nil},
		{"cut NDJSON", say(`{"cidr":"198.51.100.0/24","sblid":"SBL1","rir":"arin"}` + "\n" +
			`{"type":"metadata","timestamp":1790000000,"size":2,"records":2}` + "\n"), "2", nil},
		{"gzip bomb, as encoding", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			bomb(w)
		}, "longer than 1048576 bytes", nil},
		{"gzip bomb, as file", func(w http.ResponseWriter, _ *http.Request) { bomb(w) }, "longer than", func(f *Feed) {
			f.MaxBytes = 64 << 20
		}},
		{"encoding not asked for", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "br")
			io.WriteString(w, "203.0.113.66\n")
		}, `Content-Encoding "br"`, nil},
		{"too long", say(strings.Repeat("203.0.113.66\n", 100_000)), "longer than 1048576 bytes", nil},
		{"says that it is too long", raw("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n"),
			"longer than 1048576 bytes",
			nil},
		{"too many entries", say(text(hosts(addresses(10_001)))), "more than 10000 prefixes", nil},
		{"too long headers", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X", strings.Repeat("x", 1<<20))
			io.WriteString(w, "203.0.113.66\n")
		}, "header", nil},
		{"redirect to itself", redirect("/list.txt"), "more than 5 redirects", nil},
		{"redirect to http", redirect("http://198.51.100.1/x"), "from https to http", nil},
		{"redirect to the metadata service", redirect("https://169.254.169.254/latest/meta-data"),
			"169.254.169.254 is not",
			nil},
		{"redirect to a mapped address", redirect("https://[::ffff:169.254.169.254]/"),
			"is not an address of the internet", nil},
		{"redirect to NAT64", redirect("https://[64:ff9b::a9fe:a9fe]/"), "is not an address of the internet", nil},
		{"redirect to a unique local address", redirect("https://[fd00:ec2::254]/"),
			"is not an address of the internet", nil},
		{"redirect to a private address", redirect("https://10.0.0.1/"), "10.0.0.1 is not", nil},
		{"redirect to loopback", redirect("https://127.0.0.2/"), "127.0.0.2 is not", nil},
		{"redirect to a file", redirect("file:///etc/passwd"), "neither https nor http", nil},
		{"redirect to nowhere", redirect(""), "302 Found", nil},
		{"304 without a condition", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(304) },
			"304 Not Modified to a request without a condition", func(f *Feed) { f.Format = "plain" }},
		{"500", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, "500 Internal Server Error", nil},
		{"mostly not understood", say(text(addresses(100)) + strings.Repeat("what?\n", 50)), "50 of 150 lines", nil},
		{"nothing understood", say(strings.Repeat("what?\n", 5)), "none of 5 lines", nil},
		{"no HTTP", raw("SSH-2.0-OpenSSH\r\n"), "malformed", nil},
		{"another certificate", say("203.0.113.66\n"), "certificate", func(f *Feed) { f.CA = "" }},
	}
}

// TestMisbehaviour: whatever a server does, the set stays as it is until its ttl, the state
// says what has happened, and memory is bounded.
func TestMisbehaviour(t *testing.T) {
	for _, m := range misbehaviours() {
		t.Run(m.name, func(t *testing.T) {
			l := newLab(t)
			all := addresses(120)
			l.serve(200, text(all), `ETag: "a"`)
			l.good()
			if m.change != nil {
				l.restart(m.change)
			}
			l.answer = m.answer
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			if m.want == "" {
				l.good()
				if l.state().Held == nil {
					t.Error("nothing is held")
				}
			} else {
				l.bad(m.want)
			}
			runtime.ReadMemStats(&after)
			if got := int64(after.Sys) - int64(before.Sys); got > 64<<20 {
				t.Errorf("it took %d MiB", got>>20)
			}
			l.has(1, hosts(all)...)
			if n := len(l.requests); n > 2+maxRedirects {
				t.Errorf("%d requests", n)
			}
			if st := l.state(); !st.CheckedAt.Equal(start) || st.Ended {
				t.Errorf("state %+v", st)
			}
			l.clock = start.Add(48 * time.Hour)
			if st := l.state(); !st.Ended {
				t.Error("at its ttl the set has not ended")
			}
			l.clock = start
			if files, _ := filepath.Glob(filepath.Join(l.dir, tempPrefix+"*")); len(files) > 0 {
				t.Errorf("files are left: %q", files)
			}
			if m.change != nil {
				return
			}
			l.serve(200, text(all[:119]))
			l.good()
			if st := l.state(); st.Error != "" || st.Entries != 119 {
				t.Errorf("after the server is well again: %+v", st)
			}
		})
	}
}

// slow is a body that ends when the time is up, as if it were complete.
type slow struct{ ctx context.Context }

func (s slow) Read([]byte) (int, error) {
	<-s.ctx.Done()
	return 0, io.EOF
}

type transportFunc func(*http.Request) (*http.Response, error)

func (f transportFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestEndsInTime: a body that ends when the time is up is not complete. The client tells the
// server that it gives up, and the server may then end the body.
func TestEndsInTime(t *testing.T) {
	l := newLab(t)
	file, err := os.Create(filepath.Join(t.TempDir(), "body"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	client := &http.Client{Transport: transportFunc(func(r *http.Request) (*http.Response, error) {
		text := io.MultiReader(strings.NewReader("203.0.113.66\n"), slow{r.Context()})
		return &http.Response{StatusCode: 200, Body: io.NopCloser(text), Request: r, ProtoMajor: 2}, nil
	})}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := l.env.fetcher.list(ctx, client, l.feed, condition{}, file); err == nil ||
		!strings.Contains(err.Error(), "no complete answer in time") {
		t.Errorf("error %v", err)
	}
}

// TestAlways304: a server that says 304 for ever is asked for the whole list once a week.
func TestAlways304(t *testing.T) {
	l := newLab(t)
	l.serve(200, "198.51.100.9\n", `ETag: "a"`)
	l.good()
	l.serve(304, "")
	l.clock = start.Add(rereadAfter)
	l.good()
	l.clock = l.clock.Add(time.Hour)
	l.bad("304 Not Modified to a request without a condition")
	if st := l.state(); !st.EndsAt.Equal(start.Add(rereadAfter + 48*time.Hour)) {
		t.Errorf("the set ends at %s", st.EndsAt)
	}
}

// TestClocks: neither the server's clock nor a change of our own disturbs the schedule.
func TestClocks(t *testing.T) {
	l := newLab(t)
	date := func(at time.Time) string { return at.Format(http.TimeFormat) }
	for _, wrong := range []time.Duration{-20 * 365 * 24 * time.Hour, 0, 20 * 365 * 24 * time.Hour} {
		server := start.Add(wrong)
		modified := date(server.Add(24 * time.Hour))
		l.serve(200, "198.51.100.9\n", "Date: "+date(server), "Last-Modified: "+modified)
		l.good()
		l.serve(304, "", "Date: "+date(server))
		l.good()
		if h := l.requests[len(l.requests)-1].Header.Get("If-Modified-Since"); h != modified {
			t.Errorf("If-Modified-Since is %q, want what the server said, %q", h, modified)
		}
		l.serve(429, "", "Date: "+date(server), "Retry-After: "+date(server.Add(3*time.Hour)))
		l.bad("retry after 3h0m0s")
		if st := l.state(); !st.NextAt.Equal(l.clock.Add(3 * time.Hour)) {
			t.Errorf("the next request is at %s", st.NextAt)
		}
	}
	for header, want := range map[string]time.Duration{
		"999999999": maxRetryAfter, "9223372036854775807": maxRetryAfter, "-5": firstRetry, "soon": firstRetry,
		date(start.Add(-time.Hour)): firstRetry, date(start.Add(1000 * time.Hour)): maxRetryAfter,
	} {
		l.serve(200, "198.51.100.9\n")
		l.good()
		l.serve(503, "", "Retry-After: "+header, "Date: "+date(start))
		l.bad("503")
		if st := l.state(); !st.NextAt.Equal(l.clock.Add(want)) {
			t.Errorf("Retry-After: %s: the next request is after %s, want %s", header, st.NextAt.Sub(l.clock), want)
		}
	}
	l.clock = start.Add(-10_000 * time.Hour)
	l.clamp()
	if st := l.state(); st.NextAt.After(l.clock.Add(maxRetryAfter)) || st.EndsAt.After(l.clock.Add(48*time.Hour)) {
		t.Errorf("after the clock went back: %+v", st)
	}
}

func TestBackOff(t *testing.T) {
	for _, tt := range []struct {
		every    time.Duration
		failures int
		want     time.Duration
	}{
		{6 * time.Hour, 1, 5 * time.Minute},
		{6 * time.Hour, 2, 10 * time.Minute},
		{6 * time.Hour, 7, 320 * time.Minute},
		{6 * time.Hour, 8, 6 * time.Hour},
		{6 * time.Hour, 1_000_000, 6 * time.Hour},
		{time.Minute, 1, time.Minute},
		{time.Minute, 100, time.Hour},
	} {
		if got := nextRetry(tt.every, tt.failures, 0, 0); got != tt.want {
			t.Errorf("every %s, %d failures: %s, want %s", tt.every, tt.failures, got, tt.want)
		}
		if got := nextRetry(tt.every, tt.failures, 0, 1); got <= tt.want || got > tt.want*11/10 {
			t.Errorf("every %s, %d failures: %s with jitter", tt.every, tt.failures, got)
		}
	}
	if got := nextGood(6*time.Hour, 1); got != 6*time.Hour+36*time.Minute {
		t.Errorf("jitter: %s", got)
	}
	if got := nextGood(6*time.Hour, 0); got != 6*time.Hour {
		t.Errorf("a server is asked more often than every %s", got)
	}
}

// TestInterrupted: a stop of the agent is no failure of the server.
func TestInterrupted(t *testing.T) {
	l := newLab(t)
	ctx, cancel := context.WithCancel(t.Context())
	l.answer = func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	}
	if err := l.refresh(ctx); err == nil {
		t.Fatal("it succeeds")
	}
	if st := l.state(); st.Failures != 0 || st.Error != "" || st.NextAt.After(l.clock) {
		t.Errorf("state %+v", st)
	}
}
