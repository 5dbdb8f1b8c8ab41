package e2e

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/tests/testenv"
)

// wideList returns n addresses of 11.0.0.0/8, far from each other.
func wideList(n int) string {
	var b strings.Builder
	step := uint32(1<<24) / uint32(n)
	for i := range uint32(n) {
		a := 11<<24 | i*step
		fmt.Fprintf(&b, "%s\n", netip.AddrFrom4([4]byte{byte(a >> 24), byte(a >> 16), byte(a >> 8), byte(a)}))
	}
	return b.String()
}

// during calls f again and again until done is closed, and returns how long each call
// took that began and ended before.
func during(done <-chan struct{}, f func(i int)) (took []time.Duration) {
	for i := 0; ; i++ {
		begin := time.Now()
		f(i)
		select {
		case <-done:
			return took
		default:
			took = append(took, time.Since(begin))
		}
	}
}

// worst sorts and returns the 99th percentile and the maximum.
func worst(took []time.Duration) (p99, longest time.Duration) {
	if len(took) == 0 {
		return 0, 0
	}
	slices.Sort(took)
	return took[len(took)*99/100], took[len(took)-1]
}

// background runs f and closes the channel at its end.
func (h *host) background(f func() error) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := f(); err != nil {
			h.Error(err)
		}
	}()
	return done
}

func (h *host) importWide(origin, list string) error {
	begin := time.Now()
	result, err := h.client().Import(h.Context(), control.ImportRequest{Origin: origin}, strings.NewReader(list),
		func(control.ImportProgress) {})
	h.Logf("import: %d added, %d removed, %d unchanged in %s", result.Added, result.Removed, result.Unchanged,
		time.Since(begin).Round(time.Millisecond))
	return err
}

// While a large list is imported, and imported again with other entries, single
// changes are acknowledged and enforced, and why answers.
func TestChangesDuringImport(t *testing.T) {
	n := timesOf(t, "PARAXIAL_ENTRIES", 200_000)
	h := newHost(t)
	h.configured(fmt.Sprintf("interfaces: [up0]\nmetrics: off\nmax_entries: %d\n", 3*n)) // for both at a time
	h.start()
	if err := h.importWide("list", wideList(n)); err != nil {
		t.Fatal(err)
	}
	quiet := h.quietBlocks(100)
	var blocks, whys []time.Duration
	imported := h.background(func() error { return h.importWide("list", wideList(n-n/10)) })
	blocks = during(imported, func(i int) {
		p := fmt.Sprintf("203.0.%d.%d", i>>8, i&255)
		if _, err := h.client().Block(t.Context(),
			control.BlockRequest{Prefixes: []string{p}, Origin: "cli"}); err != nil {
			t.Errorf("block %s: %v", p, err)
		}
		begin := time.Now()
		why, err := h.client().Why(t.Context(), p)
		if err != nil || why.Verdict != "drop" || why.Disagreement != "" {
			t.Errorf("why %s after its block: %+v, %v", p, why, err)
		}
		whys = append(whys, time.Since(begin))
	})
	if len(blocks) < 5 {
		t.Errorf("%d blocks were acknowledged during the import, want 5 or more", len(blocks))
	}
	p99, longest := worst(blocks)
	whyP99, whyLongest := worst(whys)
	t.Logf("%d entries; during the import %d blocks with a why each: p99 %s, max %s; why p99 %s, max %s; blocks "+
		"before: p99 %s", n, len(blocks), p99, longest, whyP99, whyLongest, quiet)
	testenv.Figure(t, p99 <= 100*time.Millisecond, "block and why during an import: p99 %s", p99)
	for i := range len(blocks) {
		p := fmt.Sprintf("203.0.%d.%d", i>>8, i&255)
		if why, err := h.client().Why(t.Context(), p); err != nil || why.Verdict != "drop" {
			t.Fatalf("why %s after the import: %+v, %v", p, why, err)
		}
	}
	if got := ctlJSON[control.Status](h, "status").Blocks; got < n-n/10+len(blocks) {
		t.Errorf("%d blocks, want %d or more", got, n-n/10+len(blocks))
	}
}

// quietBlocks returns the 99th percentile of n blocks.
func (h *host) quietBlocks(n int) time.Duration {
	h.Helper()
	var took []time.Duration
	for i := range n {
		begin := time.Now()
		p := fmt.Sprintf("198.51.100.%d", i)
		if _, err := h.client().Block(h.Context(),
			control.BlockRequest{Prefixes: []string{p}, Origin: "quiet"}); err != nil {
			h.Fatal(err)
		}
		took = append(took, time.Since(begin))
	}
	p99, _ := worst(took)
	return p99
}

// While a large list expires at once, an operator's blocks are acknowledged and enforced, hardly
// later than before.
func TestBlocksDuringMassExpiry(t *testing.T) {
	n := timesOf(t, "PARAXIAL_ENTRIES", 50_000)
	h := newHost(t)
	h.start()
	// The time for the import and the blocks before the end, in whole seconds as --for takes it.
	span := (2*time.Second + time.Duration(n)*50*time.Microsecond).Round(time.Second)
	ends := time.Now().Add(span)
	r := control.ImportRequest{Origin: "list", For: span.String()}
	list, progress := strings.NewReader(wideList(n)), func(control.ImportProgress) {}
	if _, err := h.client().Import(t.Context(), r, list, progress); err != nil {
		t.Fatal(err)
	}
	blocked := 0
	block := func(int) {
		p := fmt.Sprintf("203.0.%d.%d", blocked>>8, blocked&255)
		blocked++
		if _, err := h.client().Block(t.Context(),
			control.BlockRequest{Prefixes: []string{p}, Origin: "cli"}); err != nil {
			t.Errorf("block %s: %v", p, err)
		}
	}
	quiet := during(h.background(func() error { time.Sleep(time.Second); return nil }), block)
	time.Sleep(time.Until(ends) - 100*time.Millisecond)
	busy := during(h.background(func() error {
		for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			if s, err := h.client().Status(h.Context()); err != nil || s.Blocks < n/4 {
				return err
			}
		}
		return fmt.Errorf("the list of %d has not expired", n)
	}), block)
	quietP99, _ := worst(quiet)
	p99, longest := worst(busy)
	t.Logf("%d entries expire; %d blocks before: p99 %s; %d during the expiry: p99 %s, max %s",
		n, len(quiet), quietP99, len(busy), p99, longest)
	testenv.Figure(t, p99-quietP99 <= 50*time.Millisecond,
		"a block waits for the expiry: p99 %s before, %s during it", quietP99, p99)
	h.within("only the operator's blocks are left", patience, func() bool {
		return ctlJSON[control.Status](h, "status").Blocks == blocked
	})
}

// An edit of the set that is being imported waits, and is not lost.
func TestSameSetDuringImport(t *testing.T) {
	n := timesOf(t, "PARAXIAL_ENTRIES", 200_000)
	h := newHost(t)
	h.start()
	imported := h.background(func() error { return h.importWide("list", wideList(n)) })
	extra := control.BlockRequest{Prefixes: []string{"192.0.2.77"}, Origin: "list"}
	if _, err := h.client().Block(t.Context(), extra); err != nil {
		t.Fatal(err)
	}
	<-imported
	// Either it came before the import, which then removed it, or after.
	first := ctlJSON[control.WhyResult](h, "why", "192.0.2.77").Verdict
	h.kill()
	h.start()
	if second := ctlJSON[control.WhyResult](h, "why", "192.0.2.77").Verdict; second != first {
		t.Errorf("192.0.2.77: %s before the daemon was killed, %s afterwards", first, second)
	}
}

// A change of a prefix that covers a great many entries, while the index is built,
// does not keep readers waiting.
func TestWideChange(t *testing.T) {
	n := timesOf(t, "PARAXIAL_ENTRIES", 200_000)
	h := newHost(t)
	h.start()
	if err := h.importWide("list", wideList(n)); err != nil {
		t.Fatal(err)
	}
	block := control.BlockRequest{Prefixes: []string{"11.0.0.0/8"}, Origin: "cli", For: "60d", Confirm: "10m",
		Force: true}
	var statuses []time.Duration
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"block /8 --confirm", func() error { _, err := h.client().Block(t.Context(), block); return err }},
		{"confirm", func() error { _, err := h.client().Confirm(t.Context(), control.ConfirmRequest{}); return err }},
		{"shadow /8", func() error {
			block.Action, block.Confirm = "shadow", ""
			_, err := h.client().Block(t.Context(), block)
			return err
		}},
		{"unblock /8", func() error {
			r := control.UnblockRequest{Prefixes: block.Prefixes, Origin: "cli"}
			_, err := h.client().Unblock(t.Context(), r)
			return err
		}},
	} {
		begin := time.Now()
		done := h.background(step.do)
		answers := during(done, func(int) {
			if _, err := h.client().Status(t.Context()); err != nil {
				t.Error(err)
			}
		})
		took := time.Since(begin)
		statuses = append(statuses, answers...)
		_, longest := worst(answers)
		t.Logf("%d entries; %s: %s; meanwhile %d answers of status, the longest took %s", n, step.name, took,
			len(answers), longest)
		testenv.Figure(t, took <= 3*time.Second, "%s took %s", step.name, took)
	}
	if len(statuses) < 10 {
		t.Errorf("status answered %d times during the changes, want 10 or more", len(statuses))
	}
	_, longest := worst(statuses)
	testenv.Figure(t, longest <= 100*time.Millisecond, "an answer of status took %s", longest)
	if why := ctlJSON[control.WhyResult](h, "why", "11.0.0.0"); why.Verdict != "drop" || why.Disagreement != "" {
		t.Errorf("why 11.0.0.0: %+v", why)
	}
}
