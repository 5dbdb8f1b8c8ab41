package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/paraxial/paraxial/tests/lab/frame"
	"github.com/paraxial/paraxial/tests/vm/qemu"
)

// The machine, blocked sources, and sources that are not blocked. Nothing listens on the port: the
// stack only counts that a datagram arrived.
var (
	machine4 = netip.MustParseAddr("192.0.2.1")
	machine6 = netip.MustParseAddr("2001:db8::1")
	blocked4 = netip.MustParseAddr("198.51.100.7")
	blocked6 = netip.MustParseAddr("2001:db8:bad::7")
	clean4   = netip.MustParseAddr("203.0.113.5")
	clean6   = netip.MustParseAddr("2001:db8:900d::5")
)

// datagrams returns frames to the machine, one of each family.
func datagrams(src4, src6 netip.Addr) ([][]byte, error) {
	to, err := net.ParseMAC(guestMAC)
	if err != nil {
		return nil, err
	}
	from := frame.MAC{2, 0, 0, 0, 0, 1}
	return [][]byte{
		frame.IP(src4, machine4).Ethernet(frame.MAC(to), from).UDP(40000, 9, []byte("datagram")),
		frame.IP(src6, machine6).Ethernet(frame.MAC(to), from).UDP(40000, 9, []byte("datagram")),
	}, nil
}

// A flood is sent by blocked sources while the machine runs, including the time when it has no
// network yet.
type flood struct {
	sent int
	err  chan error
}

// floodPause is short compared with any possible gap, and long enough for an emulated machine to
// keep up.
const floodPause = 2 * time.Millisecond

func startFlood(ctx context.Context, m *machine) (stop func() (sent int, err error), err error) {
	frames, err := datagrams(blocked4, blocked6)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	f := flood{err: make(chan error, 1)}
	go func() { f.err <- f.run(ctx, m, frames) }()
	return func() (int, error) {
		cancel()
		return f.sent, <-f.err
	}, nil
}

func (f *flood) run(ctx context.Context, m *machine, frames [][]byte) error {
	for ctx.Err() == nil {
		for _, b := range frames {
			err := m.card.Send(b)
			if errors.Is(err, qemu.ErrOff) {
				continue // between the end of one run and the next boot
			}
			if err != nil {
				return fmt.Errorf("send a blocked datagram: %w", err)
			}
			f.sent++
		}
		time.Sleep(floodPause)
	}
	return nil
}

// sendClean sends n datagrams of each family that must arrive.
func sendClean(m *machine, n int) error {
	frames, err := datagrams(clean4, clean6)
	if err != nil {
		return err
	}
	for range n {
		for _, b := range frames {
			if err := m.card.Send(b); err != nil {
				return fmt.Errorf("send a clean datagram: %w", err)
			}
		}
		time.Sleep(floodPause)
	}
	return nil
}

// stack counts the packets that reached the machine's network stack since it booted: IPv4 packets
// on all interfaces (nothing there sends to itself), and IPv6 packets on its network card.
type stack struct{ ipv4, ipv6 int }

func (m *machine) received(ctx context.Context) (s stack, err error) {
	out, err := m.run(ctx, `awk '$1 == "Ip:" { n = $4 } END { print n }' /proc/net/snmp
awk '$1 == "Ip6InReceives" { print $2 }' /proc/net/dev_snmp6/eth0`)
	if err != nil {
		return s, err
	}
	f := strings.Fields(out)
	if len(f) != 2 {
		return s, fmt.Errorf("read the counters of the stack: %q", out)
	}
	if s.ipv4, err = strconv.Atoi(f[0]); err != nil {
		return s, fmt.Errorf("read the counters of the stack: %w", err)
	}
	s.ipv6, err = strconv.Atoi(f[1])
	return s, err
}

// arrive waits until n more packets of each family have arrived than before, and fails if the
// number is not exactly that.
func (m *machine) arrive(ctx context.Context, before stack, n int) error {
	want := stack{before.ipv4 + n, before.ipv6 + n}
	var got stack
	for deadline := time.Now().Add(commandTime); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		var err error
		if got, err = m.received(ctx); err != nil {
			return err
		}
		if got.ipv4 >= want.ipv4 && got.ipv6 >= want.ipv6 {
			break
		}
	}
	if got != want {
		return fmt.Errorf("the stack saw %+v packets, not %+v", got, want)
	}
	return nil
}
