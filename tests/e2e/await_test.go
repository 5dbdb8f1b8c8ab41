package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/paraxial/paraxial/control"
)

const lateName = "late0"

// lateOf returns the status of the interface that appears late.
func (h *host) lateOf() control.InterfaceStatus {
	h.Helper()
	for _, i := range ctlJSON[control.Status](h, "status").Interfaces {
		if i.Name == lateName {
			return i
		}
	}
	h.Fatalf("status does not name %s", lateName)
	return control.InterfaceStatus{}
}

func addLate() error {
	return netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: lateName}, PeerName: "late1"})
}

func removeLate(t *testing.T) {
	link, err := netlink.LinkByName(lateName)
	if err == nil {
		err = netlink.LinkDel(link)
	}
	if err != nil {
		t.Error(err)
	}
}

// TestInterfaceComesLate: an interface that the network manager creates after the daemon has
// started is protected when it appears, and reported as unprotected until then.
func TestInterfaceComesLate(t *testing.T) {
	h := newHost(t)
	h.daemon.Interfaces = append(h.daemon.Interfaces, lateName)
	h.start()
	if up := strings.Index(h.run.Log(), "interface=up0"); up < 0 ||
		up > strings.Index(h.run.Log(), "waiting for interfaces") {
		t.Error("existing interfaces waited for the missing one")
	}
	if !strings.Contains(h.run.Log(), "filter in force, but not on all interfaces") {
		t.Error("the log does not say that an interface is unprotected")
	}
	if i := h.lateOf(); i.Protected || !strings.Contains(i.Note, "no such interface") {
		t.Errorf("status of the missing interface: %+v", i)
	}
	if err := addLate(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removeLate(t) })
	for deadline := time.Now().Add(patience); !h.lateOf().Protected; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the interface exists and is not protected: %+v", h.lateOf())
		}
	}
}

// TestInterfaceComesDuringStart: when the daemon is ready, it protects interfaces that appeared
// while it started, so services that start after it are never exposed.
func TestInterfaceComesDuringStart(t *testing.T) {
	h := newHost(t)
	h.daemon.Interfaces = append(h.daemon.Interfaces, lateName)
	came := make(chan error)
	time.AfterFunc(time.Second, func() { came <- addLate() })
	t.Cleanup(func() { removeLate(t) })
	h.start()
	if err := <-came; err != nil {
		t.Fatal(err)
	}
	if i := h.lateOf(); !i.Protected {
		t.Errorf("the daemon is ready, but the interface is not protected: %+v", i)
	}
	if strings.Contains(h.run.Log(), "INTERFACE MISSING") {
		t.Error("the daemon did not wait")
	}
}
