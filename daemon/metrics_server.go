package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/paraxial/paraxial/config"
	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/loader/hostinfo"
	"github.com/paraxial/paraxial/metrics"
	"github.com/paraxial/paraxial/warnings"
)

const (
	firstRetry = time.Second // before the metrics are tried again; doubled up to lastRetry
	lastRetry  = 30 * time.Second
)

// listenMetrics opens the address for metrics.
func listenMetrics(cfg config.Config) (net.Listener, error) {
	if path, ok := cfg.MetricsSocket(); ok {
		l, err := control.Listen(path, cfg.SocketGroup)
		if err != nil {
			return nil, err // a nil *control.Listener would be a net.Listener that is not nil
		}
		return l, nil
	}
	l, err := net.Listen("tcp", cfg.Metrics)
	if err != nil {
		_, port, _ := net.SplitHostPort(cfg.Metrics)
		return nil, fmt.Errorf("%w; `ss -ltnp sport = :%s` shows who has the port; set metrics: in the configuration "+
			"to a free address, to unix:/run/paraxial/metrics.sock, or to off", err, port)
	}
	return l, nil
}

// openMetrics opens the address for metrics. If that fails, it warns and returns nil: the
// filter is worth more than its metrics, and any local user can take a port.
func (d *Daemon) openMetrics(cfg config.Config) net.Listener {
	l, err := listenMetrics(cfg)
	if err != nil {
		d.metricsFailed(err)
		return nil
	}
	return l
}

func (d *Daemon) metricsFailed(err error) {
	const subject = "metrics"
	if err == nil {
		d.warnings.Set(subject, nil)
		return
	}
	text := "metrics are not served, and are tried again: " + warnings.OneLine(err)
	if len(d.warnings.Set(subject, []string{text})) > 0 {
		d.log.Warn(text)
	}
}

// serveMetrics serves Prometheus on l until ctx is done. If l is nil or fails, it opens the
// address again.
func (d *Daemon) serveMetrics(ctx context.Context, l net.Listener) {
	cfg := d.settings()
	for wait := firstRetry; ; {
		if l != nil {
			d.metricsFailed(nil)
			if err := d.serveMetricsOn(ctx, l, cfg); ctx.Err() == nil {
				d.metricsFailed(err)
			}
			wait = firstRetry
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		wait = min(2*wait, lastRetry)
		if l = d.openMetrics(cfg); l != nil {
			d.log.Info("metrics are served", "metrics", cfg.Metrics)
		}
	}
}

// serveMetricsOn serves Prometheus on l until ctx is done or l fails, and closes l.
func (d *Daemon) serveMetricsOn(ctx context.Context, l net.Listener, cfg config.Config) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	o := metrics.Options{Log: d.log, Peer: metricsPeer, Hosts: func() []string { return metricsHosts(cfg, d.settings()) }}
	if socket, ok := l.(*control.Listener); ok {
		o.Hosts = nil // no browser connects to a Unix socket
		go d.keepMetricsSocket(ctx, socket)
	}
	err := metrics.Serve(ctx, l, d.metrics, o)
	if err == nil {
		err = errors.New("the server has ended")
	}
	return err
}

// keepMetricsSocket creates the socket again if it was removed, until ctx is done.
func (d *Daemon) keepMetricsSocket(ctx context.Context, socket *control.Listener) {
	tick := time.NewTicker(attestInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		_, err := socket.Restore()
		if ctx.Err() == nil {
			d.metricsFailed(err)
		}
	}
}

// metricsHosts returns the names by which the metrics may be requested.
func metricsHosts(started, now config.Config) []string {
	hosts := now.MetricsHosts
	if host, _, err := net.SplitHostPort(started.Metrics); err == nil {
		hosts = append(hosts[:len(hosts):len(hosts)], host)
	}
	if name, err := os.Hostname(); err == nil {
		hosts = append(hosts[:len(hosts):len(hosts)], name)
	}
	return hosts
}

// metricsPeer names the other end of a connection: the user if that is on this host,
// otherwise its address, of IPv6 the network, in which a host can choose its address.
func metricsPeer(c net.Conn) string {
	if caller, err := control.PeerOf(c); err == nil {
		return fmt.Sprintf("uid %d", caller.UID)
	}
	if uid, ok := hostinfo.PeerUID(c); ok {
		return fmt.Sprintf("uid %d", uid)
	}
	there, err := netip.ParseAddrPort(c.RemoteAddr().String())
	if err != nil {
		return ""
	}
	addr := there.Addr().Unmap().WithZone("")
	switch {
	case addr.IsLoopback():
		return "this host" // a user who cannot be told, and who may use any loopback address
	case addr.Is6():
		return netip.PrefixFrom(addr, 64).Masked().String()
	}
	return addr.String()
}
