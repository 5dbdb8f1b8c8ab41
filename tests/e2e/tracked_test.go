package e2e

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/tests/lab/road"
	"github.com/paraxial/paraxial/tests/testenv"
)

const (
	busyTracked = 100_000
	busySources = busyTracked + busyTracked/10 // some are not seen often enough
	busyRate    = 100_000                      // packets a second of all sources together
	busySpan    = 6 * time.Second
	busyTick    = 250 * time.Millisecond // interval between two reads of all tracked sources
	// busyWork is the processor time that the daemon may use to read one source, as a number of map
	// entry updates.
	busyWork = 6
	// busyShare is the largest part of a core that the daemon uses on the reference machine of the
	// documentation.
	busyShare = 0.15
)

// busyDetectors makes the daemon track every source that sends a packet a second for some seconds,
// because that is half of a limit and the limits are low. This is the maximum of work: two counters
// of each source change between ticks, no source is quiet, and sampling runs at the highest rate
// that the daemon requests.
const busyDetectors = `
detection: {tracked: 131072}
detectors:
  - name: packets
    match: {proto: udp}
    limit: 2/s
    window: 1m
    action: block
  - name: volume
    match: {proto: udp, port: 7777}
    limit: 1MB/s
    window: 10s
    action: block
`

// A daemon that counts 100,000 busy sources exactly leaves most of the machine to others.
func TestBusy(t *testing.T) {
	h := newHost(t)
	h.configured("interfaces: [up0]\n" + busyDetectors)
	h.start()
	traffic := h.newTraffic(busySources)
	for end := time.Now().Add(5 * time.Minute); h.tracked() < busyTracked; time.Sleep(250 * time.Millisecond) {
		// All packets of a source in a row, so that it is seen again before it is forgotten, and no
		// more at once than fit the sample buffer.
		traffic.send(busySources/50, 12)
		if time.Now().After(end) {
			t.Fatalf("%d of %d sources are tracked", h.tracked(), busyTracked)
		}
	}
	traffic.pace(2 * time.Second)
	y := newYardstick()
	used, took := traffic.pace(busySpan)
	unit := y.end() / yardstickEntries
	share := used.Seconds() / took.Seconds()
	look := used / time.Duration(busyTracked*int(took/busyTick))
	t.Logf("%.1f%% of a core, with %d sources tracked; %s to read one source, "+
		"which is %.1f updates of a map entry, %s each",
		100*share, h.tracked(), look, float64(look)/float64(unit), unit)
	if n := h.tracked(); n < busyTracked {
		t.Errorf("only %d sources were tracked to the end", n)
	}
	if look > busyWork*unit {
		t.Errorf("reading a source takes %s, want %d times %s at most", look, busyWork, unit)
	}
	testenv.Figure(t, share <= busyShare, "the daemon used %v in %v, want %g%% of a core at most", used, took,
		100*busyShare)
}

func (h *host) tracked() int {
	h.Helper()
	s, err := h.client().Detectors(h.Context())
	if err != nil {
		h.Fatal(err)
	}
	return s.Tracked
}

// traffic sends from sources in turn.
type traffic struct {
	h       *host
	road    *road.Road
	frame   []byte
	sources []road.Source
	next    int
}

// filter returns the attached program.
func (h *host) filter() *ebpf.Program {
	h.Helper()
	id := ctlJSON[control.Status](h, "status").Interfaces[0].ProgramID
	filter, err := ebpf.NewProgramFromID(ebpf.ProgramID(id))
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { filter.Close() })
	return filter
}

func (h *host) newTraffic(sources int) *traffic {
	h.Helper()
	r, err := road.New(h.filter())
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { r.Close() })
	t := &traffic{h: h, road: r, frame: h.datagram(ipv4(10, 0, 0, 0)), sources: make([]road.Source, sources)}
	for n := range t.sources {
		binary.BigEndian.PutUint32(t.sources[n][:], 10<<24|uint32(n))
	}
	rand.Shuffle(sources, func(i, j int) { t.sources[i], t.sources[j] = t.sources[j], t.sources[i] })
	return t
}

// send sends a number of packets from each of the next sources.
func (t *traffic) send(sources, each int) {
	t.h.Helper()
	var list []road.Source
	for range sources {
		for range each {
			list = append(list, t.sources[t.next])
		}
		t.next = (t.next + 1) % len(t.sources)
	}
	if err := t.road.Run(t.frame, list); err != nil {
		t.h.Fatal(err)
	}
}

// pace sends busyRate packets a second, and returns the processor time that the daemon uses
// meanwhile.
func (t *traffic) pace(span time.Duration) (used, took time.Duration) {
	t.h.Helper()
	begin, before := time.Now(), t.h.cpuTime()
	sent := 0
	for ; took < span; took = time.Since(begin) {
		due := int(took.Seconds() * busyRate)
		t.send(due-sent, 1)
		sent = due
		time.Sleep(10 * time.Millisecond)
	}
	return t.h.cpuTime() - before, took
}
