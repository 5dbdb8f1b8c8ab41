package metrics

import (
	"fmt"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Handler serves the metrics of c, of the Go runtime and of the process at
// /metrics. Scrapes within a quarter of a second get the same values. The http.Server
// sets the timeouts. Errors of a scrape go to log; the metrics that were gathered are
// served anyway.
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
	mux.Handle("GET /metrics", newExpositions(promhttp.HandlerFor(reg, promhttp.HandlerOpts{
		ErrorLog:      log,
		ErrorHandling: promhttp.ContinueOnError,
	})))
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "paraxiald: the metrics are at /metrics")
	})
	return mux, nil
}
