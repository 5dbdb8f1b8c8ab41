package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/paraxial/paraxial/control"
)

// A reload with one part that fails changes nothing: neither the interfaces, nor the guard, nor the
// detectors. Here the detectors fail, because the kernel refuses every write to one of their maps.
func TestReloadIsAllOrNothing(t *testing.T) {
	h := newHost(t)
	h.addLink("up1")
	h.addLink("up2")
	file := h.configured("interfaces: [up0, up1]\n")
	h.start()
	h.freezeMap("samples")
	writeConfig(t, file, "interfaces: [up0, up2]\nguard: {never_block: [198.51.100.0/24]}\n"+detectors)
	if h.reloads() {
		t.Fatal("detectors whose map cannot be written were accepted")
	}
	for _, want := range []string{"put 2 detectors in force", `"interface protected" interface=up2`} {
		if !strings.Contains(h.run.Log(), want) {
			t.Errorf("the log lacks %q:\n%s", want, h.run.Log())
		}
	}
	h.expectSettings("up0 up1", 0, false)
}

// Detectors in force stay when another part of a reload fails.
func TestReloadKeepsDetectors(t *testing.T) {
	h := newHost(t)
	file := h.configured("interfaces: [up0]\n" + detectors)
	h.start()
	writeConfig(t, file, "interfaces: [nonesuch]\nguard: {never_block: [198.51.100.0/24]}\n")
	if h.reloads() {
		t.Fatal("an interface that does not exist was accepted")
	}
	h.expectSettings("up0", 2, false)
}

// A reload applies the keys that it can and reports the others, at every reload until the restart.
// An interface that it adds gets the mode in force.
func TestReloadAppliesLiveKeysOnly(t *testing.T) {
	h := newHost(t)
	h.addLink("up1")
	file := h.configured("interfaces: [up0]\nxdp_mode: native\n" + detectors)
	h.start()
	writeConfig(t, file, "interfaces: [{name: up0, mode: generic}, up1]\nxdp_mode: generic\n"+
		"detection: {tracked: 7, max_bans: 8}\nlog: {level: debug}\nguard: {never_block: "+
		"[198.51.100.0/24]}\n"+detectors)
	for _, want := range []string{
		`applied="interfaces, log.level, guard.never_block, detection.max_bans"`,
		`applied=""`,
	} {
		if !h.reloads() {
			t.Fatalf("the reload failed:\n%s", h.run.Log())
		}
		if !strings.Contains(h.run.Log(), want) {
			t.Errorf("the log lacks %s:\n%s", want, h.run.Log())
		}
		h.expectSettings("up0 up1", 2, true)
		for _, i := range ctlJSON[control.Status](h, "status").Interfaces {
			if i.Mode != "native" {
				t.Errorf("%s: mode %s, want native until the restart", i.Name, i.Mode)
			}
		}
		if s, err := h.client().Detectors(t.Context()); err != nil || s.MaxEntries != 8 || s.Capacity == 7 {
			t.Errorf("detectors have %d entries at most and track %d sources, want 8 and as before: %v",
				s.MaxEntries, s.Capacity, err)
		}
	}
	// This is logged only at the level debug.
	h.logs("entries expired", func() { h.ctl(0, "block", "203.0.113.200", "--for", "1s") })
	const restart = `settings="interfaces.mode, xdp_mode, detection.tracked"`
	if n := strings.Count(h.run.Log(), restart); n != 2 {
		t.Errorf("the log has %s %d times, want it at both reloads:\n%s", restart, n, h.run.Log())
	}
}

// configured makes the daemon read all its settings from a file, and returns the path.
func (h *host) configured(content string) (file string) {
	h.Helper()
	file = writeConfig(h.T, filepath.Join(h.TempDir(), "paraxiald.yaml"), content)
	h.daemon.Interfaces, h.daemon.Flags = nil, []string{"--config", file}
	return file
}

func (h *host) addLink(name string) {
	h.Helper()
	link := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: name + "-peer"}
	if err := netlink.LinkAdd(link); err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { netlink.LinkDel(link) })
}

// reloads makes the daemon read its configuration, and reports whether it accepted it.
func (h *host) reloads() bool {
	h.Helper()
	outcomes := func() (good, bad int) {
		log := h.run.Log()
		return strings.Count(log, "configuration reloaded"), strings.Count(log, "reload failed")
	}
	goodBefore, badBefore := outcomes()
	if err := h.run.Signal(unix.SIGHUP); err != nil {
		h.Fatal(err)
	}
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if good, bad := outcomes(); good+bad > goodBefore+badBefore {
			return good > goodBefore
		}
	}
	h.Fatalf("the log does not report the reload:\n%s", h.run.Log())
	return false
}

// freezeMap makes the kernel refuse further writes to a map of the daemon.
func (h *host) freezeMap(name string) {
	h.Helper()
	infos, err := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", h.run.PID()))
	if err != nil {
		h.Fatal(err)
	}
	for _, info := range infos {
		b, _ := os.ReadFile(info) // the file may have been closed by now
		_, rest, found := strings.Cut(string(b), "map_id:")
		if !found {
			continue
		}
		var id uint32
		if _, err := fmt.Sscan(rest, &id); err != nil {
			h.Fatal(err)
		}
		if h.freezeIfNamed(ebpf.MapID(id), name) {
			return
		}
	}
	h.Fatalf("the daemon has no map %s", name)
}

func (h *host) freezeIfNamed(id ebpf.MapID, name string) bool {
	h.Helper()
	m, err := ebpf.NewMapFromID(id)
	if err != nil {
		h.Fatal(err)
	}
	defer m.Close()
	info, err := m.Info()
	if err != nil {
		h.Fatal(err)
	}
	if info.Name != name {
		return false
	}
	if err := m.Freeze(); err != nil {
		h.Fatal(err)
	}
	return true
}

// expectSettings checks which interfaces are protected, how many detectors are in
// force, and whether the guard protects 198.51.100.0/24.
func (h *host) expectSettings(interfaces string, detectors int, guarded bool) {
	h.Helper()
	var names []string
	for _, i := range ctlJSON[control.Status](h, "status").Interfaces {
		if i.Protected {
			names = append(names, i.Name)
		}
	}
	if got := strings.Join(names, " "); got != interfaces {
		h.Errorf("protected: %s, want %s", got, interfaces)
	}
	s, err := h.client().Detectors(h.Context())
	if err != nil {
		h.Fatal(err)
	}
	if len(s.Detectors) != detectors {
		h.Errorf("%d detectors in force, want %d", len(s.Detectors), detectors)
	}
	if guarded {
		h.ctl(1, "block", "198.51.100.1")
		return
	}
	h.ctl(0, "block", "198.51.100.1")
	h.ctl(0, "unblock", "198.51.100.1")
}
