package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/tests/lab"
)

const lateName = "late0"

// lateOf returns what status says of the interface that comes late.
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

// TestInterfaceComesLate: what the network manager makes only after the daemon
// has started is protected when it comes, and until then said not to be.
func TestInterfaceComesLate(t *testing.T) {
	h := newHost(t)
	h.daemon.Interfaces = append(h.daemon.Interfaces, lateName)
	h.start()
	if i := h.lateOf(); i.Protected || !strings.Contains(i.Note, "no such interface") {
		t.Errorf("before it is there, status says of it: %+v", i)
	}
	wire, err := lab.NewWire(lateName)
	if err != nil {
		t.Fatal(err)
	}
	defer wire.Close()
	for deadline := time.Now().Add(10 * time.Second); !h.lateOf().Protected; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it is there, and not protected: %+v", h.lateOf())
		}
	}
}

// TestInterfaceComesDuringStart: a daemon that is ready protects what came while
// it started, so that nothing is brought up before.
func TestInterfaceComesDuringStart(t *testing.T) {
	h := newHost(t)
	h.daemon.Interfaces = append(h.daemon.Interfaces, lateName)
	came := make(chan struct{})
	time.AfterFunc(time.Second, func() {
		defer close(came)
		wire, err := lab.NewWire(lateName)
		if err != nil {
			t.Error(err)
			return
		}
		t.Cleanup(func() { wire.Close() })
	})
	h.start()
	<-came
	if i := h.lateOf(); !i.Protected {
		t.Errorf("the daemon is ready, and status says: %+v", i)
	}
	if strings.Contains(h.run.Log(), "INTERFACE MISSING") {
		t.Error("the daemon did not wait")
	}
}
