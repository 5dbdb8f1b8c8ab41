package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/paraxial/paraxial/control"
)

const metricsAddr = "127.0.0.1:19799"

// asStranger runs f on a thread of its own that has the uid of nobody and no privileges. Sockets that f opens
// belong to nobody.
func asStranger(t *testing.T, f func()) {
	t.Helper()
	done := make(chan syscall.Errno)
	go func() {
		runtime.LockOSThread() // never unlocked, so that the thread ends with the goroutine
		_, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, nobody, nobody, nobody)
		if errno == 0 {
			f()
		}
		done <- errno
	}()
	if errno := <-done; errno != 0 {
		t.Fatalf("become nobody: %v", errno)
	}
}

// strangers opens n connections to the metrics as nobody. They are closed at the end of the test.
func (h *host) strangers(n int) []net.Conn {
	h.Helper()
	var conns []net.Conn
	asStranger(h.T, func() {
		for range n {
			// The daemon may close connections while others are opened.
			if c, err := net.DialTimeout("tcp", metricsAddr, patience); err == nil {
				conns = append(conns, c)
			}
		}
	})
	h.Cleanup(func() { closeAll(conns) })
	if len(conns) < n/2 {
		h.Fatalf("only %d of %d connections could be opened", len(conns), n)
	}
	return conns
}

func closeAll(conns []net.Conn) {
	for _, c := range conns {
		c.Close()
	}
}

// scrape reads the metrics as root over a connection of its own.
func scrape(ctx context.Context, hostHeader string) (status int, body string, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+metricsAddr+"/metrics", nil)
	if err != nil {
		return 0, "", err
	}
	r.Host = hostHeader
	transport := &http.Transport{DisableKeepAlives: true}
	answer, err := transport.RoundTrip(r)
	if err != nil {
		return 0, "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	return answer.StatusCode, string(text), err
}

func (h *host) scraped(when string) {
	h.Helper()
	ctx, cancel := context.WithTimeout(h.Context(), patience)
	defer cancel()
	status, body, err := scrape(ctx, "")
	if err != nil || status != http.StatusOK || !strings.Contains(body, `paraxial_interface_protected{`) {
		h.Errorf("a scrape by root, %s: status %d, %v\n%.300s", when, status, err, body)
	}
}

func newMeteredHost(t *testing.T) *host {
	t.Helper()
	h := newHost(t)
	h.daemon.Flags = append(h.daemon.Flags, "--metrics", metricsAddr)
	return h
}

// Headers without end take no memory worth mentioning, whoever sends them.
func TestMetricsUnfinishedHeaders(t *testing.T) {
	const (
		most   = 16 << 10  // KiB of anonymous memory above what it was
		header = 976 << 10 // bytes; net/http accepts 1 MiB by default
	)
	h := newMeteredHost(t)
	h.start()
	h.scraped("before")
	before, files := h.anonymous(), h.files()
	var sending sync.WaitGroup
	var left atomic.Int64
	for _, c := range h.strangers(1000) {
		left.Add(1)
		sending.Go(func() {
			defer left.Add(-1)
			io.WriteString(c, "GET /metrics HTTP/1.1\r\nHost: x\r\n")
			line := "X: " + strings.Repeat("y", 32<<10) + "\r\n"
			for sent := 0; sent < header; sent += len(line) {
				if _, err := io.WriteString(c, line); err != nil {
					return
				}
			}
		})
	}
	peak := before
	for left.Load() > 0 {
		peak = max(peak, h.anonymous())
		time.Sleep(10 * time.Millisecond)
	}
	sending.Wait()
	peak = max(peak, h.anonymous())
	t.Logf("1000 unfinished headers of 976 KiB: RssAnon %d KiB before, %d KiB at most", before, peak)
	if peak > before+most {
		t.Errorf("memory went from %d KiB to %d KiB", before, peak)
	}
	h.scraped("under attack")
	h.calm(files + 1) // the connection of this scrape may still be open
}

// Idle connections leave the daemon the descriptors that it needs, also where it may have few.
func TestMetricsIdleConnections(t *testing.T) {
	const most = 80 // further descriptors
	h := newMeteredHost(t)
	wrapper := filepath.Join(t.TempDir(), "paraxiald")
	script := fmt.Sprintf("#!/bin/sh\nulimit -n 1024\nexec %s \"$@\"\n", h.daemon.Daemon)
	check(t, os.WriteFile(wrapper, []byte(script), 0o755))
	h.daemon.Daemon = wrapper
	h.start()
	before := h.files()
	h.strangers(3000)
	peak := 0
	for range 20 {
		peak = max(peak, h.files())
		h.scraped("among idle connections")
		h.ctl(0, "status")
	}
	t.Logf("3000 idle connections: %d descriptors before, %d at most", before, peak)
	if peak > before+most {
		t.Errorf("open files went from %d to %d", before, peak)
	}
	if log := h.run.Log(); strings.Contains(log, "UNPROTECTED") || strings.Contains(log, "too many open files") {
		t.Error("the daemon ran out of descriptors")
	}
}

// A user who reads no answers does not keep another user from scraping.
func TestMetricsScrapesAreFair(t *testing.T) {
	h := newMeteredHost(t)
	h.start()
	requests := strings.Repeat("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", 500)
	for _, c := range h.strangers(64) {
		go io.WriteString(c, requests)
	}
	for range 50 {
		h.scraped("beside slow readers")
		time.Sleep(10 * time.Millisecond)
	}
}

// A port that somebody else has is no reason not to filter. The metrics are served as soon as the port is free.
func TestMetricsPortTaken(t *testing.T) {
	h := newMeteredHost(t)
	var squatter net.Listener
	asStranger(t, func() {
		var err error
		squatter, err = net.Listen("tcp", metricsAddr)
		if err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { squatter.Close() })
	h.start()
	h.ctl(0, "block", blockedSource)
	s := ctlJSON[control.Status](h, "status")
	if len(s.Warnings) != 1 || !strings.Contains(s.Warnings[0], "metrics are not served") ||
		!strings.Contains(s.Warnings[0], "address already in use") || !strings.Contains(s.Warnings[0], "ss -ltnp") {
		t.Errorf("status warns of %q", s.Warnings)
	}
	check(t, squatter.Close())
	h.within("the metrics are served", patience, func() bool {
		return len(ctlJSON[control.Status](h, "status").Warnings) == 0
	})
	h.scraped("with the port free")
}

// A page of another site cannot read the metrics through a browser on this host, by a name that leads here.
func TestMetricsHost(t *testing.T) {
	h := newMeteredHost(t)
	h.daemon.Flags = append(h.daemon.Flags, "--config", writeConfig(t, filepath.Join(t.TempDir(), "paraxiald.yaml"),
		"metrics_hosts: [monitored.example]\n"))
	h.start()
	name, err := os.Hostname()
	check(t, err)
	for _, tt := range []struct {
		host string
		want int
	}{
		{"127.0.0.1:19799", 200}, {"localhost:19799", 200}, {"LOCALHOST", 200}, {"[::1]:19799", 200},
		{"192.0.2.1", 200},
		{name + ":19799", 200}, {"monitored.example:19799", 200}, {"monitored.example.", 200},
		{"evil.example:19799", 403}, {"evil.example", 403}, {"localhost.evil.example", 403},
		{"127.0.0.1.evil.example", 403},
	} {
		status, body, err := scrape(t.Context(), tt.host)
		if err != nil || status != tt.want || status == 403 && !strings.Contains(body, "metrics_hosts") {
			t.Errorf("Host: %s: status %d, want %d, %v\n%.200s", tt.host, status, tt.want, err, body)
		}
	}
}

// On a Unix socket the metrics are for root and the group alone.
func TestMetricsOnUnixSocket(t *testing.T) {
	const path = "/run/paraxial/metrics.sock"
	h := newHost(t)
	h.configured("interfaces: [up0]\nsocket_group: \"7007\"\nmetrics: unix:" + path + "\n")
	h.daemon.Flags = append(h.daemon.Flags, "--metrics", "unix:"+path)
	h.start()
	info, err := os.Stat(path)
	check(t, err)
	if mode := info.Mode().Perm(); mode != 0o660 || info.Sys().(*syscall.Stat_t).Gid != socketGroup {
		t.Errorf("mode %o, %+v", mode, info.Sys())
	}
	asStranger(t, func() {
		if _, err := net.Dial("unix", path); err == nil {
			t.Error("a stranger can connect")
		}
	})
	get := func() (string, error) {
		client := http.Client{Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(context.Context, string, string) (net.Conn, error) {
				return net.Dial("unix", path)
			},
		}}
		answer, err := client.Get("http://any.example/metrics")
		if err != nil {
			return "", err
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		return string(text), err
	}
	if text, err := get(); err != nil || !strings.Contains(text, "paraxial_build_info") {
		t.Errorf("%v\n%.300s", err, text)
	}
	check(t, os.Remove(path))
	h.within("the socket is there again", patience, func() bool { _, err := get(); return err == nil })
}
