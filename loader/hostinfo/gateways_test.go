package hostinfo

import (
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/paraxial/paraxial/tests/testenv"
)

// routed makes an interface with so many routes via one gateway.
func routed(t *testing.T, routes int) {
	t.Helper()
	bridge(t, "bgp", "192.0.2.1/24")
	if _, err := exec.LookPath("ip"); err != nil {
		testenv.Missing(t, "needs ip: install iproute2")
	}
	var batch strings.Builder
	for i := range routes {
		fmt.Fprintf(&batch, "route add 10.%d.%d.%d/32 via 192.0.2.254\n", i>>16, i>>8&255, i&255)
	}
	cmd := exec.Command("ip", "-batch", "-")
	cmd.Stdin = strings.NewReader(batch.String())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("add routes: %v\n%s", err, out)
	}
}

func ip(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %v: %v\n%s", args, err, out)
	}
}

func (r *Reader) has(t *testing.T, gateway string) bool {
	t.Helper()
	f, err := r.Read(t.Context(), Options{})
	check(t, err)
	return slices.Contains(f.Gateways, Gateway{netip.MustParseAddr(gateway), "bgp"})
}

// With many routes a reading takes no more messages than with few, and knows a gateway that
// was added just before.
func TestGatewaysOfManyRoutes(t *testing.T) {
	for _, routes := range []int{10, 4 * fewRoutes} {
		t.Run(fmt.Sprint(routes), func(t *testing.T) {
			routed(t, routes)
			r := newReader(t)
			if !r.has(t, "192.0.2.254") || r.network.gateways.messages < routes {
				t.Fatalf("the first reading: %d messages for %d routes", r.network.gateways.messages, routes)
			}
			for i := range 5 {
				before := r.network.gateways.messages
				await(t, func() bool { // the kernel may still announce routes of the new interfaces
					before = r.network.gateways.messages
					return r.has(t, "192.0.2.254") && r.network.gateways.messages == before
				})
				gateway := fmt.Sprintf("192.0.2.%d", 10+i)
				ip(t, "route", "add", "172.16.0.0/24", "via", gateway)
				if !r.has(t, gateway) {
					t.Errorf("%s is missing after its route was added", gateway)
				}
				ip(t, "route", "del", "172.16.0.0/24", "via", gateway)
				const few = 200 // all routes of the small table, twice, with those of the host
				if read := r.network.gateways.messages - before; read > few {
					t.Errorf("with a change: %d messages", read)
				}
				r.has(t, "192.0.2.254") // takes note of the removal
			}
		})
	}
}

// A gateway is forgotten with its last route: at once if there are few routes, otherwise
// after a reading in the background.
func TestGatewaysAreForgotten(t *testing.T) {
	routed(t, 10)
	r := newReader(t)
	ip(t, "route", "add", "172.16.0.0/24", "via", "192.0.2.9")
	if !r.has(t, "192.0.2.9") {
		t.Fatal("the gateway is missing")
	}
	ip(t, "route", "del", "172.16.0.0/24")
	if r.has(t, "192.0.2.9") {
		t.Error("few routes: the gateway of no route is still known")
	}
	ip(t, "route", "add", "172.16.0.0/24", "via", "192.0.2.9")
	r.has(t, "192.0.2.9")
	r.network.gateways.routes = fewRoutes + 1
	ip(t, "route", "del", "172.16.0.0/24")
	if !r.has(t, "192.0.2.9") {
		t.Error("many routes: all were read again within a reading")
	}
	r.network.gateways.mu.Lock()
	r.network.gateways.read = r.network.gateways.read.Add(-2 * forgetEvery)
	r.network.gateways.mu.Unlock()
	await(t, func() bool { return !r.has(t, "192.0.2.9") })
}

// Lost announcements make the next reading a complete one.
func TestGatewaysAfterOverrun(t *testing.T) {
	routed(t, 10)
	r := newReader(t)
	r.has(t, "192.0.2.254")
	check(t, shrink(r.network.gateways.fd))
	for i := range 100 {
		ip(t, "route", "replace", "172.16.0.0/24", "via", fmt.Sprintf("192.0.2.%d", 100+i))
	}
	r.network.gateways.routes = fewRoutes + 1 // so that a change alone does not
	if !r.has(t, "192.0.2.199") {
		t.Error("the gateway is missing whose announcement was lost")
	}
}

// shrink makes the receive buffer of a socket as small as possible.
func shrink(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1) }

func await(t *testing.T, done func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it does not happen")
		}
	}
}
