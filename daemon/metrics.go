package daemon

import (
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/paraxial/paraxial/config"
	"github.com/paraxial/paraxial/conns"
	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/loader/hostinfo"
	"github.com/paraxial/paraxial/metrics"
	"github.com/paraxial/paraxial/policy"
)

// Snapshot implements metrics.Source. It walks no entries, because the book keeps totals.
func (d *Daemon) Snapshot() metrics.Snapshot {
	var s metrics.Snapshot
	counters, err := d.loader.Counters()
	if err != nil {
		d.log.Error("packet counters cannot be read", "error", err)
	}
	for _, n := range d.nics.list() {
		status := n.status()
		i := metrics.Interface{Name: n.name, Mode: status.Mode, Protected: status.Protected}
		for reason, c := range counters[n.slot] {
			i.Counters = append(i.Counters, metrics.Counter{
				Verdict: reason.Verdict(), Reason: reason.String(), Packets: c.Packets, Bytes: c.Bytes,
			})
		}
		s.Interfaces = append(s.Interfaces, i)
	}
	d.engine.Read(func(b *policy.Book) {
		for g, n := range b.Counts() {
			s.Entries = append(s.Entries, metrics.Entries{
				Kind: g.Kind.String(), Family: g.Family.String(), Origin: g.Origin, Count: n,
			})
		}
	})
	s.Maps = d.maps()
	s.Detection = d.detection.snapshot()
	s.Detection.Tripped = d.ladder.Load().Breaker().Open
	s.Feeds, s.Reporters = d.feedMetrics()
	s.Rules, s.RuleEvents = d.ruling.metricsOf()
	s.Logs = d.logMetrics()
	s.Warnings, s.GuardIncomplete = len(d.allWarnings()), d.guard.Problem() != ""
	s.SaveFailures, s.SaveFailing = d.saves.Failed(), d.saves.String() != "" || d.disk.String() != ""
	s.Allowed = make(map[string]float64)
	for f, off := range d.filteringOff() {
		s.Allowed[f.String()] = off.Share
	}
	return s
}

// metricsServer returns the server for the metrics at the address of cfg.
func (d *Daemon) metricsServer(cfg config.Config) *metrics.Server {
	o := metrics.Options{Log: d.log, Peer: metricsPeer}
	if _, ok := cfg.MetricsSocket(); !ok { // no browser connects to a Unix socket
		o.Hosts = func() []string { return metricsHosts(cfg, d.settings()) }
	}
	return &metrics.Server{
		Collector: d.metrics, Options: o, Address: cfg.Metrics, Report: d.reportMetrics,
		Open: func() (net.Listener, error) { return listenMetrics(cfg) },
	}
}

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

// reportMetrics warns that the metrics are not served, or ends the warning if err is nil.
func (d *Daemon) reportMetrics(err error) {
	d.tellProblem("metrics", "metrics are not served, and are tried again: ", err)
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
	if caller, err := conns.CallerOf(c); err == nil {
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
