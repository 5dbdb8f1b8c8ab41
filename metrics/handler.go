package metrics

import (
	"fmt"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// maxScrapes bounds the scrapes at a time; one more is answered 503. Two
// Prometheus servers and a curious operator fit.
const maxScrapes = 4

// Handler serves the metrics of c, of the Go runtime and of the process at
// /metrics. Timeouts are those of the http.Server. Errors of a scrape go to
// log, and what could be gathered is served all the same.
func Handler(c *Collector, log promhttp.Logger) (http.Handler, error) {
	reg := prometheus.NewRegistry()
	for _, collector := range []prometheus.Collector{
		c, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	} {
		if err := reg.Register(collector); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{
		ErrorLog:            log,
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: maxScrapes,
	}))
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "paraxiald: the metrics are at /metrics")
	})
	return mux, nil
}
