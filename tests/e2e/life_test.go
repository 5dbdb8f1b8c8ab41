package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/vishvananda/netlink"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/tests/lab"
)

func TestBlockAllowShadow(t *testing.T) {
	h := newHost(t)
	h.start()
	s := h.serve()
	h.ctl(0, "block", "203.0.113.0/24", "--reason", "scans")
	h.ctl(0, "allow", "203.0.113.7")
	h.ctl(0, "block", "198.51.100.1", "--shadow")
	h.ctl(0, "block", "2001:db8:1::/64")
	for src, want := range map[string]bool{
		"203.0.113.1": true, "203.0.113.7": false, "198.51.100.1": false, "203.0.114.1": false,
		"2001:db8:1::5": true, "2001:db8:2::5": false,
	} {
		if got := h.dropped(s, src); got != want {
			t.Errorf("%s: dropped %t, want %t", src, got, want)
		}
	}
	for src, want := range map[string]string{"203.0.113.1": "drop", "203.0.113.7": "pass", "198.51.100.1": "shadow",
		"203.0.114.1": "pass"} {
		why := ctlJSON[control.WhyResult](h, "why", src)
		if why.Verdict != want || why.CheckedBy != "kernel" || why.Disagreement != "" {
			t.Errorf("why %s: %+v, want %s", src, why, want)
		}
	}
	why := ctlJSON[control.WhyResult](h, "why", "203.0.113.1")
	if e := why.Matched[0]; e.Drops != 1 || e.Reason != "scans" || e.Author != "uid:0" || e.Origin != "cli" {
		t.Errorf("the entry that dropped one packet: %+v", e)
	}
	reasons := ctlJSON[control.Stats](h, "stats").Interfaces[0].Reasons
	for reason, want := range map[string]uint64{"blocked": 2, "allowed": 1, "shadow": 1, "not_listed": 2} {
		if got := reasons[reason].Packets; got != want {
			t.Errorf("%s: %d packets counted, want %d", reason, got, want)
		}
	}
	h.kill()
	h.start()
	if why := ctlJSON[control.WhyResult](h, "why", "203.0.113.1"); why.Matched[0].Drops != 1 {
		t.Errorf("drops after a restart: %d, want the 1 from before", why.Matched[0].Drops)
	}
	h.ctl(0, "unblock", "203.0.113.0/24")
	if h.dropped(s, "203.0.113.1") {
		t.Error("still dropped after unblock")
	}
	h.ctl(1, "unblock", "203.0.113.0/24")
}

func TestGuard(t *testing.T) {
	h := newHost(t)
	h.start()
	own := h.wire.Addr4().String()
	for _, p := range []string{own, own + "/24", "127.0.0.1", "0.0.0.0/0", h.wire.Addr6().String(), "169.254.169.254"} {
		if r := h.ctl(1, "block", p); !strings.Contains(r.Stderr, "--force") {
			t.Errorf("block %s: the refusal does not say how to override:\n%s", p, r.Stderr)
		}
	}
	// One refused prefix makes the whole request fail.
	h.ctl(1, "block", "203.0.113.1", own)
	if status := ctlJSON[control.Status](h, "status"); status.Blocks != 0 {
		t.Fatalf("%d blocks in force, want none", status.Blocks)
	}
	h.ctl(0, "block", own, "--force", "--confirm", "60s")
	h.ctl(0, "unblock", own)
	h.ctl(2, "block", "203.0.113.1/33")
	h.ctl(2, "block", "203.0.113.1", "--for", "-1h")
	h.ctl(2, "nonsense")
}

func TestExitCodeWithoutDaemon(t *testing.T) {
	h := newHost(t)
	if r := h.ctl(3, "status"); !strings.Contains(r.Stderr, "systemctl start paraxiald") {
		t.Errorf("the error does not say how to start the daemon:\n%s", r.Stderr)
	}
}

func TestSecondDaemonIsRefused(t *testing.T) {
	h := newHost(t)
	h.start()
	ctx, cancel := context.WithTimeout(h.Context(), time.Minute)
	defer cancel()
	holder := fmt.Sprintf("another paraxiald, pid %d,", h.run.PID())
	out, err := h.paraxiald(ctx, "run", "--interface", interfaceName, "--metrics", "")
	if err == nil || !strings.Contains(out, holder) || !strings.Contains(out, h.daemon.StateDir) {
		t.Errorf("a second daemon: %v\n%s", err, out)
	}
	// A daemon with another state directory must not use the same pins either.
	other := &host{T: t, daemon: h.daemon}
	other.daemon.StateDir, other.daemon.Socket = t.TempDir(), "/run/other.sock"
	for _, command := range [][]string{{"run", "--interface", interfaceName, "--metrics", ""}, {"detach"}} {
		out, err = other.paraxiald(ctx, command...)
		if err == nil || !strings.Contains(out, holder) || !strings.Contains(out, h.daemon.BPFFS) {
			t.Errorf("%s with the same pins: %v\n%s", command[0], err, out)
		}
	}
	if s := ctlJSON[control.Status](h, "status"); !s.Interfaces[0].Protected {
		t.Errorf("the first daemon: %+v", s)
	}
}

func TestForeignProgramIsNamed(t *testing.T) {
	h := newHost(t)
	other := h.daemon
	other.StateDir, other.BPFFS, other.Socket = t.TempDir(), "/sys/fs/bpf/other", "/run/other.sock"
	foreign, err := other.Start(h.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		foreign.Kill()
		if out, err := (&host{T: t, daemon: other}).paraxiald(ctx, "detach"); err != nil {
			t.Errorf("detach: %v\n%s", err, out)
		}
	})
	_, err = h.daemon.Start(h.Context())
	if err == nil || !strings.Contains(err.Error(), "already runs XDP program") {
		t.Errorf("starting over a foreign program: %v", err)
	}
}

func TestDetachThroughTheDaemon(t *testing.T) {
	h := newHost(t)
	h.start()
	s := h.serve()
	h.ctl(0, "block", "203.0.113.1")
	ctx, cancel := context.WithTimeout(h.Context(), time.Minute)
	defer cancel()
	if out, err := h.paraxiald(ctx, "detach"); err != nil {
		t.Fatalf("detach: %v\n%s", err, out)
	}
	if err := h.run.Wait(ctx); err != nil {
		t.Errorf("the daemon after detach: %v", err)
	}
	h.run = nil
	if h.dropped(s, "203.0.113.1") {
		t.Error("still dropped after detach")
	}
	if left, _ := filepath.Glob(h.daemon.BPFFS + "/*"); len(left) > 0 {
		t.Errorf("pins left behind: %v", left)
	}
	h.start()
	if !h.dropped(s, "203.0.113.1") {
		t.Error("not dropped after the next start")
	}
}

func TestStopLeavesTheFilter(t *testing.T) {
	h := newHost(t)
	h.start()
	s := h.serve()
	h.ctl(0, "block", "203.0.113.1")
	if err := h.run.Stop(h.Context()); err != nil {
		t.Fatal(err)
	}
	h.run = nil
	if !h.dropped(s, "203.0.113.1") {
		t.Error("SIGTERM detached the filter")
	}
}

func TestReload(t *testing.T) {
	h := newHost(t)
	second := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "up1"}, PeerName: "up1-peer"}
	if err := netlink.LinkAdd(second); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { netlink.LinkDel(second) })
	file := filepath.Join(t.TempDir(), "paraxiald.yaml")
	write := func(content string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	reload := func(want string) {
		t.Helper()
		before := strings.Count(h.run.Log(), want)
		if err := h.run.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
			if strings.Count(h.run.Log(), want) > before {
				return
			}
		}
		t.Fatalf("the log does not say %q:\n%s", want, h.run.Log())
	}
	interfaces := func() (names []string) {
		for _, i := range ctlJSON[control.Status](h, "status").Interfaces {
			if i.Protected {
				names = append(names, i.Name)
			}
		}
		return names
	}
	h.daemon.Interfaces = nil
	h.daemon.Flags = []string{"--config", file}
	write("interfaces: [up0]\n")
	h.start()
	h.ctl(0, "block", "198.51.100.1")
	h.ctl(0, "unblock", "198.51.100.1")

	write("interfaces: [up0, up1]\nguard:\n  never_block: [198.51.100.0/24]\nmax_entries: 5000\n")
	reload("configuration reloaded")
	if got := strings.Join(interfaces(), " "); got != "up0 up1" {
		t.Errorf("protected after the reload: %s", got)
	}
	h.ctl(1, "block", "198.51.100.1")
	if !strings.Contains(h.run.Log(), "max_entries") {
		t.Errorf("the log does not say that max_entries needs a restart:\n%s", h.run.Log())
	}

	write("interfaces: [up0]\nguard:\n  never_blok: []\n")
	reload(file + ":3:3")
	if got := strings.Join(interfaces(), " "); got != "up0 up1" {
		t.Errorf("a bad file changed what is protected: %s", got)
	}
	h.ctl(1, "block", "198.51.100.1")

	write("interfaces: [up0, nonesuch]\n")
	reload("reload failed")
	h.ctl(1, "block", "198.51.100.1")

	write("interfaces: [up0]\n")
	reload("configuration reloaded")
	if got := strings.Join(interfaces(), " "); got != "up0" {
		t.Errorf("protected after the last reload: %s", got)
	}
	h.ctl(0, "block", "198.51.100.1")
}

func TestMetrics(t *testing.T) {
	h := newHost(t, "--metrics", "127.0.0.1:19798")
	h.start()
	h.ctl(0, "block", "203.0.113.1")
	scrape := func() string {
		t.Helper()
		r, err := http.Get("http://127.0.0.1:19798/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	text := scrape()
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("promlint: %v, %v", problems, err)
	}
	for _, want := range []string{
		`paraxial_interface_protected{interface="up0",mode="native"} 1`,
		`paraxial_entries{family="ipv4",kind="block",origin="cli"} 1`,
		`paraxial_map_entries{map="block_v4"} 1`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("not in the metrics: %s\n%s", want, text)
		}
	}
}

// watch shows changes and samples of what is dropped.
func TestWatch(t *testing.T) {
	h := newHost(t)
	h.start()
	ctx, cancel := context.WithTimeout(h.Context(), 2*time.Minute)
	defer cancel()
	h.ctl(0, "block", "203.0.113.1")
	events, begin := make(chan control.Event, 100), time.Now().Truncate(time.Second)
	go h.client().Watch(ctx, func(e control.Event) error {
		events <- e
		return nil
	})
	await := func(want string) control.Event {
		t.Helper()
		for {
			// Repeat until the watch has started: it does not see earlier events.
			if want == control.EventAdded {
				h.ctl(0, "block", "203.0.113.2")
			} else if err := h.wire.Send(h.datagram(ipv4(203, 0, 113, 1))); err != nil {
				t.Fatal(err)
			}
			select {
			case e := <-events:
				if e.Type == want {
					return e
				}
			case <-time.After(200 * time.Millisecond):
			case <-ctx.Done():
				t.Fatalf("no event %q", want)
			}
		}
	}
	if e := await(control.EventAdded); e.Entry.Prefix != "203.0.113.2/32" {
		t.Errorf("added: %+v", e.Entry)
	}
	e := await(control.EventDrop)
	if p := *e.Packet; p.Source != "203.0.113.1" || p.Interface != interfaceName || p.Protocol != "udp" ||
		p.SourcePort != clientPort || p.DestinationPort != serverPort || p.Reason != "blocked" || p.Length == 0 {
		t.Errorf("drop: %+v", p)
	}
	if now := time.Now(); e.Time.Before(begin) || e.Time.After(now) {
		t.Errorf("the drop was at %s, want between %s and %s", e.Time, begin, now)
	}
}

// The interface disappears and comes back while the daemon runs.
func TestInterfaceComesBack(t *testing.T) {
	h := newHost(t)
	h.start()
	h.ctl(0, "block", "203.0.113.1")
	protected := func(want bool) {
		t.Helper()
		for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
			i := ctlJSON[control.Status](h, "status").Interfaces[0]
			if i.Protected == want {
				if !want && i.Note == "" {
					t.Error("status does not say why the interface is unprotected")
				}
				return
			}
		}
		t.Fatalf("protected is not %t\n%s", want, h.run.Log())
	}
	if err := h.wire.Close(); err != nil {
		t.Fatal(err)
	}
	protected(false)
	wire, err := lab.NewWire(interfaceName)
	if err != nil {
		t.Fatal(err)
	}
	h.wire = wire
	protected(true)
	if !h.dropped(h.serve(), "203.0.113.1") {
		t.Error("the new interface does not drop")
	}
}
