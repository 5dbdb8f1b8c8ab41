package metrics

import (
	"bytes"
	"compress/gzip"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	// shareFor is how long scrapes get the same exposition, so that frequent scrapes cost
	// little. It is far below a usual scrape interval.
	shareFor = 250 * time.Millisecond
	// scrapeWait is how long a scrape waits for the exposition. Prometheus waits 10 s by
	// default.
	scrapeWait = 10 * time.Second
)

// exposition is the text of all metrics at one moment.
type exposition struct {
	status      int
	contentType string
	plain, zip  []byte
	made        time.Time
}

// expositions makes an exposition at most once per shareFor, and one at a time. No lock is
// held while an answer is written, so a slow reader delays nobody.
type expositions struct {
	render http.Handler
	turn   chan struct{} // holds a value while an exposition is made or looked at
	last   exposition    // under turn
	wait   time.Duration
}

func newExpositions(render http.Handler) *expositions {
	return &expositions{render: render, turn: make(chan struct{}, 1), wait: scrapeWait}
}

// ServeHTTP implements http.Handler.
func (x *expositions) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	timeout := time.NewTimer(x.wait)
	defer timeout.Stop()
	select {
	case x.turn <- struct{}{}:
	case <-r.Context().Done():
		return
	case <-timeout.C:
		http.Error(w, "paraxiald has not finished an earlier scrape; try again later", http.StatusServiceUnavailable)
		return
	}
	if time.Since(x.last.made) >= shareFor {
		x.last = x.make(r)
	}
	now := x.last
	<-x.turn
	w.Header().Set("Content-Type", now.contentType)
	body := now.plain
	if acceptsGzip(r) {
		w.Header().Set("Content-Encoding", "gzip")
		body = now.zip
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(now.status)
	w.Write(body)
}

// make renders the metrics in the text format, which every scraper accepts.
func (x *expositions) make(r *http.Request) exposition {
	plain := recorder{header: http.Header{}, status: http.StatusOK}
	request := r.Clone(r.Context())
	request.Method, request.Header = http.MethodGet, http.Header{"Accept-Encoding": {"identity"}}
	x.render.ServeHTTP(&plain, request)
	var packed bytes.Buffer
	zip := gzip.NewWriter(&packed) // writes to memory, so it cannot fail
	zip.Write(plain.Bytes())
	zip.Close()
	return exposition{plain.status, plain.header.Get("Content-Type"), plain.Bytes(), packed.Bytes(), time.Now()}
}

// acceptsGzip tells whether a client wants a compressed answer.
func acceptsGzip(r *http.Request) bool {
	for encoding := range strings.SplitSeq(r.Header.Get("Accept-Encoding"), ",") {
		if name, quality, _ := strings.Cut(encoding, ";"); strings.TrimSpace(name) == "gzip" {
			return strings.ReplaceAll(quality, " ", "") != "q=0"
		}
	}
	return false
}

// recorder keeps an answer in memory.
type recorder struct {
	bytes.Buffer
	header http.Header
	status int
}

// Header implements http.ResponseWriter.
func (r *recorder) Header() http.Header { return r.header }

// WriteHeader implements http.ResponseWriter.
func (r *recorder) WriteHeader(status int) { r.status = status }
