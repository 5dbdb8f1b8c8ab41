package e2e

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/paraxial/paraxial/control"
)

// forgedDetectors has room for fewer entries than there are forged sources.
const forgedDetectors = `
interfaces: [up0]
detection: {max_bans: 300, breaker: {bans_per_minute: BANS}}
detectors:
  - name: udp-flood
    match: {proto: udp, port: 7777}
    limit: 50/s
    window: 1s
    action: block
    for: 10m
`

// A flood of forged sources does not free a source that goes on, whether the breaker opens
// or is off, and has few lines in the log.
func TestForgedFloodFreesNobody(t *testing.T) {
	const wanted = 1000 // forged sources that exceed the limit
	for name, bans := range map[string]string{"breaker opens": "60", "no breaker": "0"} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t)
			h.configured(strings.Replace(forgedDetectors, "BANS", bans, 1))
			h.start()
			attacker := netip.MustParseAddr("203.0.113.66")
			h.floodUntilBanned(attacker, 400, "udp-flood")
			begin, next := time.Now(), 0
			var status control.DetectorStatus
			decided := func() int {
				s, err := h.client().Detectors(h.Context())
				if err != nil {
					h.Fatal(err)
				}
				status = s.Detectors[0]
				return int(status.Decisions["block"] + status.Decisions["shadow"] + status.NoRoom)
			}
			for end := begin.Add(5 * time.Minute); decided() < wanted; next++ {
				h.forge(next, 200)
				if time.Now().After(end) {
					t.Fatalf("only %d forged sources of %d exceeded the limit", decided(), 200*next)
				}
			}
			h.expectStillBanned(attacker)
			if n := status.Entries; n > 300 {
				t.Errorf("%d entries, want 300 at most", n)
			}
			h.expectFewLines(decided(), time.Since(begin))
		})
	}
}

// forge sends from a group of forged sources, each above the limit for a second.
func (h *host) forge(group, sources int) {
	h.Helper()
	var frames [][]byte
	for n := range sources {
		frames = append(frames, h.datagram(ipv4(10, byte(group), byte(n>>8), byte(n))))
	}
	// If the machine is slow, the rounds catch up, since a source that is late is below the limit.
	const rounds, pause = 100, 12 * time.Millisecond
	begin := time.Now()
	for n := range rounds {
		time.Sleep(time.Until(begin.Add(time.Duration(n) * pause)))
		if err := h.wire.Send(frames...); err != nil {
			h.Fatal(err)
		}
	}
}

func (h *host) expectStillBanned(attacker netip.Addr) {
	h.Helper()
	if why := ctlJSON[control.WhyResult](h, "why", attacker.String()); why.Verdict != "drop" {
		h.Errorf("the attacker: %+v", why)
	}
	for line := range strings.Lines(h.run.Log()) {
		if strings.Contains(line, "detector lifted") && strings.Contains(line, attacker.String()) {
			h.Errorf("the ban of the attacker was lifted: %s", line)
		}
	}
}

// expectFewLines checks that the log did not grow with the decisions.
func (h *host) expectFewLines(decisions int, took time.Duration) {
	h.Helper()
	const perSecond = 11 // ten decisions and a summary
	lines := strings.Count(h.run.Log(), "\n")
	most := perSecond*(int(took.Seconds())+2) + 50
	h.Logf("%d lines in the log for %d decisions in %s", lines, decisions, took.Round(time.Second))
	if lines > most {
		h.Errorf("%d lines in the log after %s, want %d at most", lines, took, most)
	}
}

// The addresses of the network that the host is in are acted upon one by one, also after
// the host took an address in another network, as a forged router advertisement makes it.
func TestNeighboursAreNotExempt(t *testing.T) {
	for name, offender := range map[string]string{
		"in the network of the host": "2001:db8::66",
		"in an advertised network":   "2001:db8:bad::66",
	} {
		t.Run(name, func(t *testing.T) {
			h := newDetecting(t)
			link, err := netlink.LinkByName(interfaceName)
			if err != nil {
				t.Fatal(err)
			}
			advertised, err := netlink.ParseAddr("2001:db8:bad::1234/64")
			if err != nil {
				t.Fatal(err)
			}
			if err := netlink.AddrAdd(link, advertised); err != nil {
				t.Fatal(err)
			}
			h.start()
			h.floodUntilBanned(netip.MustParseAddr(offender), 800, "udp-flood")
			bans := h.blocks("udp-flood")
			if len(bans) != 1 || bans[0].Prefix != offender+"/128" {
				t.Errorf("bans: %+v", bans)
			}
			if why := ctlJSON[control.WhyResult](h, "why", offender); why.Verdict != "drop" {
				t.Errorf("why: %+v", why)
			}
		})
	}
}
