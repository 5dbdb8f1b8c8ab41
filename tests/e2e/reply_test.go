package e2e

import (
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/paraxial/paraxial/control"
)

// inClients runs f in the network namespace of the clients. Sockets that f opens stay there.
func (s *sshHost) inClients(f func() error) {
	s.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // ends with its goroutine, so no other code runs in the namespace
		ns, err := os.Open("/proc/" + s.client[len(s.client)-1] + "/ns/net")
		if err == nil {
			err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
			ns.Close()
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		s.Fatal(err)
	}
}

// echo serves TCP and UDP at a port of the attacker, which sends back what it gets.
func (s *sshHost) echo() netip.AddrPort {
	s.Helper()
	at := netip.AddrPortFrom(netip.MustParseAddr(attacker), 8053)
	s.inClients(func() error {
		l, err := net.Listen("tcp", at.String())
		if err != nil {
			return err
		}
		s.Cleanup(func() { l.Close() })
		go func() {
			for c, err := l.Accept(); err == nil; c, err = l.Accept() {
				go io.Copy(c, c)
			}
		}()
		u, err := net.ListenPacket("udp", at.String())
		if err != nil {
			return err
		}
		s.Cleanup(func() { u.Close() })
		go func() {
			b := make([]byte, 2048)
			for n, from, err := u.ReadFrom(b); err == nil; n, from, err = u.ReadFrom(b) {
				u.WriteTo(b[:n], from) // the test notices what is missing
			}
		}()
		return nil
	})
	return at
}

// asked reports whether what is sent over a connection comes back.
func asked(c net.Conn, wait time.Duration) bool {
	text := make([]byte, 1000)
	if _, err := c.Write(text); err != nil {
		return false
	}
	c.SetReadDeadline(time.Now().Add(wait))
	_, err := io.ReadFull(c, text)
	return err == nil
}

// A source on a list cannot begin anything, and this host goes on talking to it.
func TestReplies(t *testing.T) {
	s := newSSHHost(newHost(t))
	s.start()
	server := s.echo()
	const short = 500 * time.Millisecond // for what must not come
	dial := func(network string, wait time.Duration) net.Conn {
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		defer cancel()
		c, err := new(net.Dialer).DialContext(ctx, network, server.String())
		if err != nil {
			return nil
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	talks := func(when string, want bool) {
		t.Helper()
		wait := patience
		if !want {
			wait = short
		}
		for _, network := range []string{"tcp", "udp"} {
			c := dial(network, wait)
			if got := c != nil && asked(c, wait); got != want {
				t.Errorf("%s: this host talks to the source by %s: %t, want %t", when, network, got, want)
			}
		}
	}
	intrudes := func(when string, want bool) {
		t.Helper()
		wait := patience
		if !want {
			wait = short
		}
		s.inClients(func() error {
			c, err := net.DialTimeout("tcp", netip.AddrPortFrom(netip.MustParseAddr(sshServer), sshPort).String(), wait)
			if err == nil {
				c.Close()
			}
			if got := err == nil; got != want {
				t.Errorf("%s: the source connects: %t, want %t", when, got, want)
			}
			return nil
		})
	}
	talks("before", true)
	intrudes("before", true)
	before := dial("tcp", patience)

	s.ctl(0, "block", "203.0.113.0/24", "--replies", "pass", "--force")
	talks("blocked", true)
	intrudes("blocked", false)
	if before == nil || !asked(before, patience) {
		t.Error("a connection of this host has ended with the block")
	}
	r := ctlJSON[control.WhyResult](s.host, "why", attacker)
	if r.Verdict != "drop" || r.Replies != "pass" || r.Disagreement != "" || r.Matched[0].Replies != "pass" {
		t.Errorf("why: %+v", r)
	}
	if drops := r.Matched[0].Drops; drops == 0 || drops > 10 {
		t.Errorf("%d drops, want only those of the source's connection", drops)
	}
	s.kill()
	s.start()
	talks("after a crash", true)
	intrudes("after a crash", false)

	s.ctl(0, "block", attacker, "--origin", "strict", "--force")
	talks("also blocked by an origin that drops answers", false)
	s.ctl(0, "unblock", attacker, "--origin", "strict")
	talks("without that", true)
	s.ctl(0, "unblock", "203.0.113.0/24")
	intrudes("unblocked", true)
	if got := s.reasonCount("reply"); got < 10 {
		t.Errorf("%d packets are counted as reply", got)
	}
}

// reasonCount returns the packets of a reason on the interface of the clients.
func (s *sshHost) reasonCount(reason string) uint64 {
	s.Helper()
	for _, i := range ctlJSON[control.Stats](s.host, "stats").Interfaces {
		if i.Name == sshInterface {
			return i.Reasons[reason].Packets
		}
	}
	return 0
}
