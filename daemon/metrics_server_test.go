package daemon

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/paraxial/paraxial/config"
	"github.com/paraxial/paraxial/metrics"
)

// A listener that fails while it serves is opened again. Until then there is a warning.
func TestMetricsListenerFails(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &Daemon{log: slog.New(slog.DiscardHandler)}
	d.cfg.Store(&config.Config{Metrics: l.Addr().String()})
	d.metrics = metrics.New(d, metrics.Build{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.serveMetrics(ctx, l)
	}()
	served := func() bool {
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		answer, err := client.Get("http://" + d.settings().Metrics + "/")
		if err != nil {
			return false
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		return err == nil && strings.Contains(string(text), "paraxiald")
	}
	eventually := func(what string, is func() bool) {
		t.Helper()
		for end := time.Now().Add(time.Minute); !is(); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("not within a minute: %s", what)
			}
		}
	}
	eventually("metrics are served", served)
	l.Close()
	eventually("there is a warning", func() bool {
		return strings.Contains(strings.Join(d.warnings.List(), ""), "metrics are not served")
	})
	eventually("metrics are served again", served)
	eventually("the warning has gone", func() bool { return len(d.warnings.List()) == 0 })
	cancel()
	<-done
}

// Callers who can choose their address cannot pose as many.
func TestMetricsPeer(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1", "127.0.0.9": "this host",
		"2001:db8:0:1:2::3": "2001:db8:0:1::/64", "::1": "this host",
	} {
		// No such connection exists, so the kernel names no user.
		c := remote{addr: &net.TCPAddr{IP: net.ParseIP(addr), Port: 1}}
		if got := metricsPeer(c); got != want {
			t.Errorf("%s: %q, want %q", addr, got, want)
		}
	}
}

// remote is a connection from an address.
type remote struct {
	net.Conn
	addr net.Addr
}

func (r remote) RemoteAddr() net.Addr { return r.addr }
func (r remote) LocalAddr() net.Addr  { return &net.TCPAddr{IP: net.IPv4zero, Port: 2} }
