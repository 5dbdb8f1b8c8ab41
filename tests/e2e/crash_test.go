package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/tests/lab"
)

// The daemon is killed repeatedly in the middle of imports and blocks, while a blocked source sends
// continuously. Not one of its packets may get through, and every acknowledged change must be there
// afterwards. PARAXIAL_RESTARTS is the number of kills.
func TestKilledAgainAndAgain(t *testing.T) {
	kills := timesOf(t, "PARAXIAL_RESTARTS", 15)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	h := newHost(t)
	s := h.serve()
	h.start()
	const blocked, free = "203.0.113.99", "198.51.100.99"
	h.ctl(0, "block", blocked)

	stop := h.sendAllAlong(blocked, free)
	acknowledged := &ledger{rand: rand.New(rand.NewPCG(seed, 0)), blocks: map[string]bool{blocked + "/32": true}}
	acknowledged.changeUndisturbed(h)
	for range kills {
		acknowledged.changeUntilKilled(h)
		h.start()
		acknowledged.check(h)
	}
	sent := stop()
	h.settle(s)

	arrived := s.Sources()
	if n := arrived[netip.MustParseAddr(blocked)]; n > 0 {
		t.Errorf("%d of %d packets of the blocked source got through", n, sent)
	}
	if n := arrived[netip.MustParseAddr(free)]; n == 0 {
		t.Error("no packet of the free source arrived, so this test has checked nothing")
	} else {
		t.Logf("%d packets of the blocked source dropped; %d of %d of the free one arrived; "+
			"%d changes and %d imports acknowledged",
			sent, n, sent, acknowledged.changes.Load(), acknowledged.imports)
	}
}

// sendAllAlong sends from the sources until the returned function is called, which returns the
// number of packets sent from each.
func (h *host) sendAllAlong(sources ...string) (stop func() int) {
	var frames [][]byte
	for _, src := range sources {
		frames = append(frames, h.datagram(netip.MustParseAddr(src)))
	}
	end := h.wire.Stream(frames...)
	return func() int {
		sent, err := end()
		if err != nil {
			h.Error(err)
		}
		return sent
	}
}

// ledger is the set of changes that the daemon has acknowledged, as a client sees it.
type ledger struct {
	rand           *rand.Rand
	blocks         map[string]bool // made by hand: false once unblocked
	doubtful       string          // the prefix of a change without an answer
	span           time.Duration   // the daemon is killed within this time
	list, nextList []string        // the list in force, and one whose import was not answered
	changes        atomic.Int64
	imports        int
}

const listOrigin = "feed"

// changeUndisturbed imports a list and makes some changes without a kill, to measure how long this
// machine takes: kills come within that time.
func (l *ledger) changeUndisturbed(h *host) {
	h.Helper()
	const least = 20 // changes
	begin := time.Now()
	ctx, cancel := context.WithCancel(h.Context())
	var running sync.WaitGroup
	running.Go(func() { l.changeOneByOne(ctx, h) })
	list := l.newList()
	request := control.ImportRequest{Origin: listOrigin, Accept: true}
	_, err := h.client().Import(ctx, request, strings.NewReader(strings.Join(list, "\n")),
		func(control.ImportProgress) {})
	check(h.T, err)
	l.imports, l.list = 1, list
	h.within("some changes are acknowledged", patience, func() bool { return l.changes.Load() >= least })
	l.span = max(400*time.Millisecond, time.Since(begin))
	h.kill()
	cancel()
	running.Wait()
	h.start()
	l.check(h)
}

// changeUntilKilled makes changes one after the other, with an import in parallel, until the daemon
// is gone.
func (l *ledger) changeUntilKilled(h *host) {
	h.Helper()
	var running sync.WaitGroup
	ctx, cancel := context.WithCancel(h.Context())
	running.Go(func() { l.changeOneByOne(ctx, h) })
	imported := make(chan bool, 1)
	l.nextList = l.newList()
	running.Go(func() {
		_, err := h.client().Import(ctx, control.ImportRequest{Origin: listOrigin, Accept: true},
			strings.NewReader(strings.Join(l.nextList, "\n")), func(control.ImportProgress) {})
		imported <- err == nil
	})
	time.Sleep(time.Duration(1 + l.rand.Int64N(int64(l.span))))
	h.kill()
	cancel()
	running.Wait()
	if <-imported {
		l.imports++
		l.list, l.nextList = l.nextList, nil
	}
}

func (l *ledger) changeOneByOne(ctx context.Context, h *host) {
	source := rand.New(rand.NewPCG(l.rand.Uint64(), 1))
	for ctx.Err() == nil {
		p := fmt.Sprintf("198.18.0.%d/32", source.IntN(256))
		put := source.IntN(3) > 0
		l.doubtful = p
		var err error
		if put {
			_, err = h.client().Block(ctx, control.BlockRequest{Prefixes: []string{p}, Origin: "cli"})
		} else {
			_, err = h.client().Unblock(ctx, control.UnblockRequest{Prefixes: []string{p}, Origin: "cli"})
		}
		if err != nil {
			return
		}
		l.doubtful = ""
		l.blocks[p] = put
		l.changes.Add(1)
	}
}

// newList returns a list. Every second one is large enough to be staged.
func (l *ledger) newList() []string {
	size := 1000 + l.rand.IntN(40_000)
	start := l.rand.IntN(1 << 16)
	list := make([]string, 0, size)
	for i := range size {
		n := start + i
		list = append(list, fmt.Sprintf("100.%d.%d.%d/32", 64+n>>16&63, n>>8&255, n&255))
	}
	slices.Sort(list)
	return list
}

// check compares the daemon's entries after a restart with the acknowledged ones. A request without
// an answer may have either outcome, but only as a whole.
func (l *ledger) check(h *host) {
	h.Helper()
	byHand, imported := make(map[string]bool), []string{}
	err := h.client().Entries(h.Context(), "block", "", func(e control.Entry) error {
		if e.Origin == listOrigin {
			imported = append(imported, e.Prefix)
		} else {
			byHand[e.Prefix] = true
		}
		return nil
	})
	if err != nil {
		h.Fatal(err)
	}
	for p, want := range l.blocks {
		if byHand[p] != want && p != l.doubtful {
			h.Errorf("%s: blocked %t, acknowledged %t", p, byHand[p], want)
		}
	}
	for p := range byHand {
		if p == l.doubtful {
			l.blocks[p] = true
		} else if _, known := l.blocks[p]; !known {
			h.Errorf("%s is blocked without a request", p)
		}
	}
	if l.doubtful != "" && !byHand[l.doubtful] {
		l.blocks[l.doubtful] = false
	}
	slices.Sort(imported)
	switch {
	case slices.Equal(imported, l.list):
	case l.nextList != nil && slices.Equal(imported, l.nextList):
		l.list = l.nextList
	default:
		h.Errorf("the list has %d entries, want the %d of the list in force or the %d of the list without an answer",
			len(imported), len(l.list), len(l.nextList))
	}
	l.checkKernel(h, imported)
}

// checkKernel asks the program in force about some entries.
func (l *ledger) checkKernel(h *host, imported []string) {
	h.Helper()
	for range 10 {
		if len(imported) == 0 {
			return
		}
		p := netip.MustParsePrefix(imported[l.rand.IntN(len(imported))])
		why, err := h.client().Why(h.Context(), p.Addr().String())
		if err != nil {
			h.Fatal(err)
		}
		got := []string{why.Verdict, why.CheckedBy, why.Disagreement}
		if diff := cmp.Diff([]string{"drop", "kernel", ""}, got); diff != "" {
			h.Errorf("why %s (-want +got):\n%s", p, diff)
		}
	}
}

// A ban ends on the wire at its deadline though the daemon is dead, and a block that was never
// confirmed is reverted.
func TestBansEndWithTheDaemonDead(t *testing.T) {
	h := newHost(t)
	h.start()
	s := h.serve()
	// A machine that is too slow to check the bans before they end gets more time.
	for seconds, net := 4, 0; !h.bansEndWithTheDaemonDead(s, seconds, net); seconds, net = 2*seconds, net+1 {
		h.start()
	}
}

// bansEndWithTheDaemonDead returns false if the bans ended before all the checks were done. When it
// returns, the daemon is dead.
func (h *host) bansEndWithTheDaemonDead(s *lab.Server, seconds, net int) (inTime bool) {
	h.Helper()
	all := make([]string, 4)
	for i := range all {
		all[i] = fmt.Sprintf("203.0.%d.%d", net, 1+i)
	}
	begin, span, ttl := time.Now(), time.Duration(seconds)*time.Second, fmt.Sprintf("%ds", seconds)
	h.ctl(0, "block", all[0], "--for", ttl)
	h.ctl(0, "block", all[1], "--for", "1h", "--confirm", ttl)
	h.ctl(0, "block", all[2], "--for", "1h")
	confirmed := ctlJSON[control.ChangeResult](h, "block", all[3], "--for", "1h", "--confirm", ttl)
	asked := time.Now()
	if asked.Sub(begin) > span/2 {
		h.kill()
		return false
	}
	h.ctl(0, "confirm", confirmed.ConfirmID)
	h.kill()
	dropped := make([]bool, len(all))
	for i, src := range all {
		dropped[i] = h.dropped(s, src)
	}
	if time.Since(begin) > span {
		return false
	}
	for i, src := range all {
		if !dropped[i] {
			h.Errorf("%s is not dropped after the daemon was killed", src)
		}
	}
	// Ends are rounded up by less than half a second.
	time.Sleep(time.Until(asked.Add(span + time.Second/2)))
	h.expectEnded(s, all, "after the deadline, daemon dead")
	h.start()
	h.expectEnded(s, all, "after a restart")
	e := ctlJSON[[]control.Entry](h, "list", "blocks")
	e = slices.DeleteFunc(e, func(e control.Entry) bool {
		return !slices.Contains(all,
			strings.TrimSuffix(e.Prefix, "/32"))
	})
	if len(e) != 2 {
		h.Errorf("%d entries left, want the two in force: %+v", len(e), e)
	}
	h.kill()
	return true
}

// expectEnded checks that the first two sources pass, and that others are dropped.
func (h *host) expectEnded(s *lab.Server, all []string, when string) {
	h.Helper()
	for i, src := range all {
		if got, want := h.dropped(s, src), i >= 2; got != want {
			h.Errorf("%s: %s dropped %t, want %t", when, src, got, want)
		}
	}
}
