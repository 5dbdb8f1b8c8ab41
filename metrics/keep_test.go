package metrics

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A listener that fails while it serves is opened again. Until then there is a problem.
func TestMetricsListenerFails(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	var problem atomic.Pointer[string]
	s := &Server{
		Collector: New(nil, Build{}), Options: Options{
			Log:  slog.New(slog.DiscardHandler),
			Peer: func(net.Conn) string { return "" },
		},
		Open: func() (net.Listener, error) { return net.Listen("tcp", address) },
		Report: func(err error) {
			problem.Store(nil)
			if err != nil {
				text := err.Error()
				problem.Store(&text)
			}
		},
		listener: l,
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Run(ctx)
	}()
	served := func() bool {
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		answer, err := client.Get("http://" + address + "/")
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
	eventually("the problem is reported", func() bool { return problem.Load() != nil })
	eventually("metrics are served again", served)
	eventually("its end is reported", func() bool { return problem.Load() == nil })
	cancel()
	<-done
}
