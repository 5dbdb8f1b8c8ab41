package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/policy"
	"github.com/paraxial/paraxial/tests/lab"
)

const (
	configFile = "/run/paraxiald.yaml" // inside the sandbox
	origin     = policy.OriginDetector + "udp-flood"

	// The ban has to outlast the flood and the output about it.
	floodTime  = 3 * time.Second
	banTime    = 6 * time.Second // as configured in detectors
	floodRate  = 2000            // datagrams a second
	clientRate = 50
	clients    = 20
	probes     = 10 // datagrams that the flooder sends after its ban has ended
)

const detectors = `detectors:
  - name: udp-flood
    match: {proto: udp, port: 5353}
    limit: 200/s
    window: 1s
    action: block
    for: 6s
`

// sender is one address of the flood.
type sender struct {
	addr          netip.Addr
	perSecond     int
	sent, arrived int
}

// crowd is the flooder (first) and the clients, which have the next addresses.
type crowd []sender

func newCrowd() crowd {
	addr := netip.MustParseAddr("198.51.100.77")
	c := crowd{{addr: addr, perSecond: floodRate}}
	for range clients {
		addr = addr.Next()
		c = append(c, sender{addr: addr, perSecond: clientRate})
	}
	return c
}

// showFlood shows a flood from its first packet to the end of the ban.
func showFlood(ctx context.Context, d lab.Daemon, w *lab.Wire) (crowd, error) {
	service, err := lab.Serve(port)
	if err != nil {
		return nil, err
	}
	defer service.Close()
	c := newCrowd()
	heading("A flood from an address that is on no list")
	fmt.Printf("$ cat %s\n", configFile)
	printIndented(detectors)
	fmt.Printf("For %v, %s sends %d datagrams a second, and each of its %d neighbours %d.\n",
		floodTime, c[0].addr, floodRate, clients, clientRate)
	if err := c.send(w, floodTime); err != nil {
		return nil, err
	}
	c.count(service)
	c.print()
	if err := c.check(); err != nil {
		return nil, err
	}
	if err := showBan(ctx, d, c[0].addr); err != nil {
		return nil, err
	}
	return c, probe(w, service, c[0])
}

// send keeps every sender at its rate. After the machine has stalled, overdue packets are sent at
// once; a client sends fewer packets in total than one window allows.
func (c crowd) send(w *lab.Wire, d time.Duration) error {
	frames := make([][]byte, len(c))
	for i := range c {
		frames[i] = w.From(c[i].addr).UDP(4000, port, []byte("hello"))
	}
	begin := time.Now()
	for elapsed := time.Duration(0); elapsed < d; elapsed = time.Since(begin) {
		for i := range c {
			for due := int(elapsed.Seconds() * float64(c[i].perSecond)); c[i].sent < due; c[i].sent++ {
				if err := w.Send(frames[i]); err != nil {
					return err
				}
			}
		}
		time.Sleep(time.Millisecond)
	}
	return nil
}

func (c crowd) count(service *lab.Server) {
	sent := 0
	for i := range c {
		sent += c[i].sent
	}
	service.Settle(sent, quiet)
	arrived := service.Sources()
	for i := range c {
		c[i].arrived = arrived[c[i].addr]
	}
}

// neighbours returns the sum over the clients.
func (c crowd) neighbours() (sum sender) {
	for _, s := range c[1:] {
		sum.sent += s.sent
		sum.arrived += s.arrived
	}
	return sum
}

func (c crowd) print() {
	fmt.Printf("                 sent  arrived     lost\n")
	fmt.Printf("  flooder    %8d %8d %8d\n", c[0].sent, c[0].arrived, c[0].sent-c[0].arrived)
	n := c.neighbours()
	fmt.Printf("  neighbours %8d %8d %8d\n", n.sent, n.arrived, n.sent-n.arrived)
}

// check allows the flooder half of its packets: a detector may take its window plus half a second,
// and takes much less at ten times the limit.
func (c crowd) check() error {
	if f := c[0]; 2*f.arrived > f.sent {
		return fmt.Errorf("the flood was not caught: %d of %d packets of %s got through", f.arrived, f.sent, f.addr)
	}
	for _, s := range c[1:] {
		if s.arrived != s.sent {
			return fmt.Errorf("%d packets of %s, which did not flood, were lost", s.sent-s.arrived, s.addr)
		}
	}
	return nil
}

var listBans = []string{"list", "--origin", origin}

// showBan shows the flooder's ban and waits until it ends.
func showBan(ctx context.Context, d lab.Daemon, flooder netip.Addr) error {
	for _, args := range [][]string{{"detectors"}, {"why", flooder.String()}} {
		if err := show(ctx, d, args...); err != nil {
			return err
		}
	}
	why, err := ask(ctx, d, flooder)
	if err != nil {
		return err
	}
	if len(why.Matched) != 1 || why.Matched[0].Origin != origin || why.Matched[0].Expires == nil {
		return fmt.Errorf("want one entry of %s that expires for %s, got %+v", origin, flooder, why.Matched)
	}
	return showEnd(ctx, d, flooder, time.Until(*why.Matched[0].Expires))
}

func showEnd(ctx context.Context, d lab.Daemon, flooder netip.Addr, left time.Duration) error {
	if left > banTime {
		return fmt.Errorf("the ban of %s has %v left, more than the %v it is for", flooder, left, banTime)
	}
	fmt.Printf("Nobody lifts the ban. It has %.1f s left ...\n", left.Seconds())
	var over bool
	err := eventually(left+settle, func() (bool, error) {
		why, err := ask(ctx, d, flooder)
		over = why.Verdict == "pass" && len(why.Matched) == 0
		return over, err
	})
	if err != nil {
		return err
	}
	if !over {
		return fmt.Errorf("the ban of %s is still there %v after its end", flooder, settle)
	}
	return show(ctx, d, listBans...)
}

// ask runs why and parses its output.
func ask(ctx context.Context, d lab.Daemon, addr netip.Addr) (why control.WhyResult, err error) {
	r, err := d.Run(ctx, "-o", "json", "why", addr.String())
	if err != nil {
		return why, err
	}
	if r.Code != 0 {
		return why, fmt.Errorf("paraxialctl why %s exited with %d: %s", addr, r.Code, r.Stderr)
	}
	if err := json.Unmarshal([]byte(r.Stdout), &why); err != nil {
		return why, fmt.Errorf("parse the output of paraxialctl why %s: %w", addr, err)
	}
	return why, nil
}

// probe sends packets to check that the flooder's ban has ended.
func probe(w *lab.Wire, service *lab.Server, f sender) error {
	before := service.Settle(0, 0)
	for range probes {
		if err := w.Send(w.From(f.addr).UDP(4000, port, []byte("hello"))); err != nil {
			return err
		}
	}
	service.Settle(before+probes, quiet)
	got := service.Sources()[f.addr] - f.arrived
	fmt.Printf("%s sends %d more datagrams; %d arrive.\n", f.addr, probes, got)
	if got != probes {
		return errors.New("the ban has ended, but not its effect")
	}
	return nil
}
