package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/tests/lab/frame"
	"github.com/paraxial/paraxial/tests/vm/wire"
)

// The sources and the destination of packets.
var (
	machine4, machine6 = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	blocked4, blocked6 = netip.MustParseAddr("198.51.100.7"), netip.MustParseAddr("2001:db8:bad::7")
	clean4, clean6     = netip.MustParseAddr("203.0.113.5"), netip.MustParseAddr("2001:db8:900d::5")
)

// filter runs the daemon on the machine's card, and sends it blocked and clean
// frames of both families.
func (c *cell) filter(r *row) (err error) {
	if _, err = c.ask(wire.Request{Do: wire.Network, Arguments: []string{"eth0", "192.0.2.1/24",
		"2001:db8::1/64"}}); err != nil {
		return err
	}
	if _, err := c.ask(wire.Request{Do: wire.Start, Arguments: []string{"/bin/paraxiald", "run", "--interface", "eth0",
		"--metrics", "off"}}); err != nil {
		return err
	}
	status, err := c.ready()
	if err != nil {
		return err
	}
	r.mode = status.Interfaces[0].Mode
	want := "native"
	if c.kernel.card == "e1000e" { // its driver does not support XDP
		want = "generic"
	}
	if r.mode != want {
		return fmt.Errorf("eth0 is in %s mode, not %s", r.mode, want)
	}
	if want == "generic" && !strings.Contains(status.Interfaces[0].Note, "generic") {
		return fmt.Errorf("the status does not say why eth0 is in generic mode: %q", status.Interfaces[0].Note)
	}
	if _, err := c.run("/bin/paraxialctl", "block", blocked4.String(), "2001:db8:bad::/48", "--for", "1h"); err != nil {
		return err
	}
	return errors.Join(c.traffic(r), c.why())
}

// traffic sends blocked and clean frames of both families, and checks the result and that every
// expected queue of the card receives some.
func (c *cell) traffic(r *row) error {
	const each = 200
	before, err := c.counts()
	if err != nil {
		return err
	}
	quiet, err := c.interrupts()
	if err != nil {
		return err
	}
	if err := c.send(each); err != nil {
		return err
	}
	if err := c.settle(before, 2*each); err != nil {
		return err
	}
	busy, err := c.interrupts()
	if err != nil {
		return err
	}
	for queue, n := range busy {
		if n > quiet[queue] {
			r.queues++
		}
	}
	if want := min(c.kernel.queues, 2); r.queues < want {
		return fmt.Errorf("%d queues received frames, want %d: %v before, %v after", r.queues, want, quiet, busy)
	}
	return nil
}

func (c *cell) interrupts() (map[string]uint64, error) {
	text, err := c.ask(wire.Request{Do: wire.Read, Arguments: []string{"/proc/interrupts"}})
	return receiveInterrupts(text), err
}

// receiveInterrupts returns the number of interrupts of each receive queue, by the names that
// virtio_net and e1000e give them.
func receiveInterrupts(text string) map[string]uint64 {
	counts := make(map[string]uint64)
	for _, line := range strings.Split(text, "\n") {
		f := strings.Fields(line)
		if len(f) < 2 || !receiveQueue.MatchString(f[len(f)-1]) {
			continue
		}
		for _, perCPU := range f[1:] {
			n, err := strconv.ParseUint(perCPU, 10, 64)
			if err != nil {
				break
			}
			counts[f[len(f)-1]] += n
		}
	}
	return counts
}

var receiveQueue = regexp.MustCompile(`-input\.\d+$|-rx-\d+$`)

// why asks about both kinds of source. A second instance of the program, which the
// daemon loads for that, answers.
func (c *cell) why() error {
	for source, want := range map[netip.Addr]string{blocked4: "drop", blocked6: "drop", clean4: "pass",
		clean6: "pass"} {
		out, err := c.run("/bin/paraxialctl", "why", source.String(), "-o", "json")
		if err != nil {
			return err
		}
		var answer control.WhyResult
		if err := json.Unmarshal([]byte(out), &answer); err != nil {
			return fmt.Errorf("read why %s: %w", source, err)
		}
		if answer.Verdict != want || answer.CheckedBy != "kernel" || answer.Disagreement != "" {
			return fmt.Errorf("why %s: want %s, by the kernel; got %s", source, want, out)
		}
	}
	return nil
}

// status is the part of the daemon's status that is used here.
type status struct {
	Interfaces []struct {
		Mode, Note string
		Protected  bool
	}
}

// patience is many times what an emulated machine takes to load the programs, or to count frames.
const patience = 5 * time.Minute

func (c *cell) ready() (s status, err error) {
	var out string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		if out, err = c.run("/bin/paraxialctl", "status", "-o", "json"); err != nil {
			continue
		}
		if err := json.Unmarshal([]byte(out), &s); err != nil {
			return s, fmt.Errorf("read the status: %w", err)
		}
		if len(s.Interfaces) != 1 || !s.Interfaces[0].Protected {
			return s, fmt.Errorf("eth0 is not protected: %s", out)
		}
		return s, nil
	}
	return s, fmt.Errorf("the daemon did not become ready: %w", err)
}

// send sends the given number of frames of each kind and family, of many flows, so that every queue
// gets its share.
func (c *cell) send(each int) error {
	to, err := net.ParseMAC(cardAddress)
	if err != nil {
		return err
	}
	from := frame.MAC{2, 0, 0, 0, 0, 1}
	for i := range each {
		port := uint16(10000 + i)
		for _, pair := range [][2]netip.Addr{{blocked4, machine4}, {blocked6, machine6}, {clean4, machine4},
			{clean6, machine6}} {
			b := frame.IP(pair[0], pair[1]).Ethernet(frame.MAC(to), from).UDP(port, 9, []byte("datagram"))
			if err := c.card.Send(b); err != nil {
				return fmt.Errorf("send a frame: %w", err)
			}
		}
	}
	return nil
}

// counts are packets since the daemon started: dropped as blocked, passed, and datagrams that
// reached the stack.
type counts struct{ blocked, passed, stack uint64 }

func (c *cell) counts() (n counts, err error) {
	out, err := c.run("/bin/paraxialctl", "stats", "-o", "json")
	if err != nil {
		return n, err
	}
	var stats struct {
		Interfaces []struct {
			Reasons map[string]struct{ Packets uint64 }
		}
	}
	if err := json.Unmarshal([]byte(out), &stats); err != nil || len(stats.Interfaces) != 1 {
		return n, fmt.Errorf("read the counters: %s", out)
	}
	n.blocked, n.passed = stats.Interfaces[0].Reasons["blocked"].Packets,
		stats.Interfaces[0].Reasons["not_listed"].Packets
	for file, field := range map[string]string{"/proc/net/snmp": "Udp:", "/proc/net/snmp6": "Udp6NoPorts"} {
		text, err := c.ask(wire.Request{Do: wire.Read, Arguments: []string{file}})
		if err != nil {
			return n, err
		}
		n.stack += noPorts(text, field)
	}
	return n, nil
}

// noPorts returns the number of datagrams for ports without a listener.
func noPorts(text, field string) (n uint64) {
	for _, line := range strings.Split(text, "\n") {
		f := strings.Fields(line)
		switch {
		case len(f) > 2 && f[0] == "Udp:" && field == "Udp:":
			fmt.Sscan(f[2], &n) // the first such line has names, and does not change n
		case len(f) == 2 && f[0] == field:
			fmt.Sscan(f[1], &n)
		}
	}
	return n
}

// settle waits until the given number of blocked and of clean frames has been counted, and checks
// that the stack got exactly the clean ones.
func (c *cell) settle(before counts, each uint64) error {
	want := counts{before.blocked + each, before.passed + each, before.stack + each}
	var got counts
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if got, err = c.counts(); err != nil {
			return err
		}
		if got.blocked >= want.blocked && got.passed >= want.passed && got.stack >= want.stack {
			break
		}
	}
	if got != want {
		return fmt.Errorf("counted %+v, not %+v", got, want)
	}
	return nil
}
