package e2e

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/tests/lab"
)

const metricsAddress = "127.0.0.1:19798"

// blocked returns a host with one blocked source.
func blocked(t *testing.T, flags ...string) *host {
	t.Helper()
	h := newHost(t, append(flags, "--metrics", metricsAddress)...)
	h.start()
	h.ctl(0, "block", blockedSource)
	return h
}

const blockedSource, freeSource = "203.0.113.1", "203.0.113.2"

// configured returns a blocked host with a configuration file. The returned function writes another
// file and reloads.
func configured(t *testing.T, content string) (h *host, rewrite func(content string)) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "paraxiald.yaml")
	write := func(content string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(content)
	h = newHost(t, "--metrics", metricsAddress, "--config", file)
	h.daemon.Interfaces = nil
	h.start()
	h.ctl(0, "block", blockedSource)
	return h, func(content string) {
		t.Helper()
		write(content)
		h.logs("configuration reloaded", func() { check(t, h.run.Signal(syscall.SIGHUP)) })
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// within waits until a condition is true.
func (h *host) within(what string, limit time.Duration, is func() bool) {
	h.Helper()
	for end := time.Now().Add(limit); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			h.Fatalf("%s: not within %s\n%+v", what, limit, ctlJSON[control.Status](h, "status").Interfaces)
		}
	}
}

// patience is how long to wait for something that takes the daemon a moment, on a busy machine.
// Only a failure takes so long.
const patience = 5 * time.Minute

// logs calls do and waits until the log contains the text.
func (h *host) logs(what string, do func()) {
	h.Helper()
	before := strings.Count(h.run.Log(), what)
	do()
	h.within(fmt.Sprintf("the log says %q", what), patience, func() bool {
		return strings.Count(h.run.Log(),
			what) > before
	})
}

func (h *host) nic(name string) control.InterfaceStatus {
	h.Helper()
	all := ctlJSON[control.Status](h, "status").Interfaces
	i := slices.IndexFunc(all, func(i control.InterfaceStatus) bool { return i.Name == name })
	if i < 0 {
		h.Fatalf("status does not show %s: %+v", name, all)
	}
	return all[i]
}

// protected waits until status and metrics report an interface as protected.
func (h *host) protected(name string) {
	h.Helper()
	h.within(name+" is protected", patience, func() bool { return h.nic(name).Protected })
	h.measured(fmt.Sprintf(`paraxial_interface_protected{interface="%s",mode="native"} 1`, name))
}

// unprotected waits until status, log and metrics report an interface as not protected, with the
// given cause.
func (h *host) unprotected(name, because string) {
	h.Helper()
	h.within(fmt.Sprintf("%s is unprotected because of %q", name, because), patience, func() bool {
		i := h.nic(name)
		return !i.Protected && strings.Contains(i.Note, because)
	})
	h.measured(fmt.Sprintf(`paraxial_interface_protected{interface="%s",mode=""} 0`, name))
	table := h.ctl(0, "status").Stdout
	if !strings.Contains(table, "NO") || !strings.Contains(table, because) {
		h.Errorf("the table of status does not show it:\n%s", table)
	}
	for line := range strings.Lines(h.run.Log()) {
		if strings.Contains(line, "INTERFACE UNPROTECTED") && strings.Contains(line, because) {
			return
		}
	}
	h.Errorf("the log does not say that it is unprotected because of %q", because)
}

// measured waits until the metrics have a line. Scrapes within a quarter of a second get the same values.
func (h *host) measured(line string) {
	h.Helper()
	h.within("the metrics say "+line, patience, func() bool { return strings.Contains(h.scrape(), line) })
}

func (h *host) scrape() string {
	h.Helper()
	r, err := http.Get("http://" + metricsAddress + "/metrics")
	if err != nil {
		h.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		h.Fatal(err)
	}
	return string(b)
}

// counts sends frames of the blocked source and reports whether an interface counts one as blocked.
// It needs no address there. An interface that has just come up may miss the first.
func (h *host) counts(name string) bool {
	h.Helper()
	blocks := func() uint64 {
		for _, i := range ctlJSON[control.Stats](h, "stats").Interfaces {
			if i.Name == name {
				return i.Reasons["blocked"].Packets
			}
		}
		return 0
	}
	before := blocks()
	for range 200 {
		check(h.T, h.wire.Send(h.datagram(netip.MustParseAddr(blockedSource))))
		time.Sleep(50 * time.Millisecond)
		if blocks() > before {
			return true
		}
	}
	return false
}

func nicByName(t *testing.T, name string) netlink.Link {
	t.Helper()
	lk, err := netlink.LinkByName(name)
	check(t, err)
	return lk
}

func TestInterfaceDownAndUp(t *testing.T) {
	h := blocked(t)
	id := h.linkID()
	nic := nicByName(t, interfaceName)
	for range 3 {
		check(t, netlink.LinkSetDown(nic))
		check(t, netlink.LinkSetUp(nic))
	}
	h.protected(interfaceName)
	if !h.counts(interfaceName) || h.linkID() != id {
		t.Error("the filter was replaced")
	}
	if strings.Contains(h.run.Log(), "UNPROTECTED") {
		t.Error("the daemon reports that it was unprotected")
	}
}

// The MTU of the host end grows beyond a page: the daemon switches to the program that handles
// frames in several buffers, and back.
func TestMTUAcrossFrags(t *testing.T) {
	h := blocked(t)
	id, nic, s := h.linkID(), nicByName(t, interfaceName), h.serve()
	for _, tt := range []struct {
		mtu  int
		says string
	}{{9000, "was_protected=true frags=true"}, {1400, "was_protected=true frags=false"}, {9000,
		"was_protected=true frags=true"}} {
		h.logs(tt.says, func() { check(t, netlink.LinkSetMTU(nic, tt.mtu)) })
		h.protected(interfaceName)
		if !h.dropped(s, blockedSource) || h.dropped(s, freeSource) {
			t.Errorf("with an MTU of %d: want only the blocked source dropped", tt.mtu)
		}
	}
	if h.linkID() != id || strings.Contains(h.run.Log(), "UNPROTECTED") {
		t.Error("the interface was unprotected in between")
	}
}

// With a peer that has a large MTU the driver accepts only the program for several buffers. It
// filters large frames as soon as the host end accepts them.
func TestMTUWithLargeFrames(t *testing.T) {
	h := newHost(t, "--metrics", metricsAddress)
	check(t, h.wire.SetPeerMTU(9000))
	h.start()
	h.ctl(0, "block", blockedSource)
	nic, s := nicByName(t, interfaceName), h.serve()
	for range 2 {
		h.logs("interface has been repaired", func() { check(t, netlink.LinkSetMTU(nic, 9000)) })
		h.protected(interfaceName)
		for src, want := range map[string]int{blockedSource: 0, freeSource: 1} {
			a := netip.MustParseAddr(src)
			before := s.Sources()[a]
			check(t, h.wire.Send(h.wire.From(a).UDP(clientPort, serverPort, make([]byte, 8000))))
			h.settle(s)
			if got := s.Sources()[a] - before; got != want {
				t.Errorf("%d large datagrams from %s arrived, want %d", got, src, want)
			}
		}
		h.logs("interface has been repaired", func() { check(t, netlink.LinkSetMTU(nic, 1500)) })
	}
	if strings.Contains(h.run.Log(), "UNPROTECTED") {
		t.Error("the interface was unprotected in between")
	}
}

func renameNIC(t *testing.T, from, to string) {
	t.Helper()
	nic := nicByName(t, from)
	check(t, netlink.LinkSetDown(nic))
	check(t, netlink.LinkSetName(nic, to))
	check(t, netlink.LinkSetUp(nic))
}

func TestInterfaceRenamed(t *testing.T) {
	h, rewrite := configured(t, "interfaces: [up0]\n")
	id := h.linkID()
	renameNIC(t, interfaceName, "up9")
	h.unprotected(interfaceName, "renamed to up9")
	if !h.counts(interfaceName) {
		t.Error("it is not filtered under its new name")
	}
	renameNIC(t, "up9", interfaceName)
	h.protected(interfaceName)

	renameNIC(t, interfaceName, "up9")
	h.unprotected(interfaceName, "renamed to up9")
	rewrite("interfaces: [up9]\n")
	h.protected("up9")
	if !h.counts("up9") {
		t.Error("packets are not counted under the new name")
	}
	renameNIC(t, "up9", interfaceName)
	rewrite("interfaces: [up0]\n")
	h.protected(interfaceName)
	if got := h.linkID(); got != id {
		t.Errorf("link %d, want the original link %d", got, id)
	}
}

func TestInterfaceMovedToAnotherNamespace(t *testing.T) {
	h := blocked(t)
	id := h.linkID()
	here, elsewhere, there := twoNamespaces(t)
	check(t, netlink.LinkSetNsFd(nicByName(t, interfaceName), int(elsewhere)))
	h.unprotected(interfaceName, "moved to another network namespace")
	away, err := there.LinkByName(interfaceName)
	check(t, err)
	check(t, there.LinkSetUp(away))
	if !h.counts(interfaceName) {
		t.Error("it is not filtered in the other namespace")
	}
	check(t, there.LinkSetNsFd(away, int(here)))
	h.protected(interfaceName)
	check(t, netlink.LinkSetUp(nicByName(t, interfaceName)))
	if !h.counts(interfaceName) || h.linkID() != id {
		t.Error("after the return, the filter was replaced")
	}
}

func twoNamespaces(t *testing.T) (here, elsewhere netns.NsHandle, there *netlink.Handle) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	here, err := netns.Get()
	check(t, err)
	elsewhere, err = netns.New()
	check(t, err)
	check(t, netns.Set(here))
	there, err = netlink.NewHandleAt(elsewhere)
	check(t, err)
	t.Cleanup(func() {
		there.Close()
		check(t, errors.Join(here.Close(), elsewhere.Close()))
	})
	return here, elsewhere, there
}

// An interface that is missing at the start does not keep the daemon from filtering the others,
// whether it existed before or not.
func TestInterfaceMissingAtStart(t *testing.T) {
	h := newHost(t, "--metrics", metricsAddress)
	second := func() *netlink.Veth {
		return &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "up1"}, PeerName: "up1-peer"}
	}
	check(t, netlink.LinkAdd(second()))
	h.daemon.Interfaces = []string{interfaceName, "up1"}
	h.start()
	h.protected("up1")
	h.kill()
	check(t, netlink.LinkDel(second()))
	h.start()
	h.protected(interfaceName)
	h.unprotected("up1", "no such interface")
	check(t, netlink.LinkAdd(second()))
	h.protected("up1")
	h.kill()
	check(t, netlink.LinkDel(second()))

	h.daemon.Interfaces = []string{interfaceName, "pu1"}
	h.start()
	h.protected(interfaceName)
	h.unprotected("pu1", "no such interface")
}

// While the daemon cannot listen, so much changes that the kernel's announcements are lost. The
// daemon checks everything once it listens again.
func TestLostAnnouncements(t *testing.T) {
	h := blocked(t)
	check(t, h.run.Signal(syscall.SIGSTOP))
	stopped := true
	defer func() {
		if stopped {
			h.run.Signal(syscall.SIGCONT)
		}
	}()
	check(t, h.wire.Close())
	wire, err := lab.NewWire(interfaceName)
	check(t, err)
	h.wire = wire
	nic := nicByName(t, interfaceName)
	for i := 0; lostAnnouncements(t) == 0; i++ {
		if i == 20_000 {
			t.Fatal("the kernel lost no announcements")
		}
		check(t, netlink.LinkSetMTU(nic, 1400+i%2))
	}
	check(t, h.run.Signal(syscall.SIGCONT))
	stopped = false
	h.within("the recreated interface is filtered", patience, func() bool { return h.counts(interfaceName) })
	h.protected(interfaceName)
	// The daemon still receives the kernel's announcements.
	check(t, h.wire.Close())
	h.unprotected(interfaceName, "no such interface")
	h.wire, err = lab.NewWire(interfaceName)
	check(t, err)
	h.protected(interfaceName)
}

// lostAnnouncements returns how many messages about interfaces did not fit the socket's buffer.
func lostAnnouncements(t *testing.T) (lost int) {
	t.Helper()
	b, err := os.ReadFile("/proc/self/net/netlink")
	check(t, err)
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 10 && f[1] == "0" { // NETLINK_ROUTE
			n, err := strconv.Atoi(f[8])
			check(t, err)
			lost += n
		}
	}
	return lost
}
