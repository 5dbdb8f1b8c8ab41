package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/tests/testenv"
)

// A client that goes away half-way through the replacement of a large set costs about the time
// and the memory of what was applied. The set is as before then, and blocks did not wait.
func TestClientGoesAway(t *testing.T) {
	n := timesOf(t, "PARAXIAL_ENTRIES", 100_000)
	h := newHost(t)
	h.start()
	if err := h.importWide("list", wideList(n)); err != nil {
		t.Fatal(err)
	}
	before := h.memory()
	// Half of the list has other addresses, and the other half another end.
	lines := strings.SplitAfter(wideList(n), "\n")
	for i := 0; i < len(lines); i += 2 {
		lines[i] = strings.Replace(lines[i], "11.", "12.", 1)
	}
	other := strings.Join(lines, "")
	ctx, leave := context.WithCancel(t.Context())
	var began, left time.Time
	_, err := h.client().Import(ctx, control.ImportRequest{Origin: "list", For: "1h"}, strings.NewReader(other),
		func(p control.ImportProgress) {
			switch {
			case p.Applied > 0 && began.IsZero():
				began = time.Now()
			case p.Applied >= n/2 && left.IsZero():
				left = time.Now()
				leave()
			}
		})
	if err == nil || left.IsZero() {
		t.Fatalf("the import has ended: %v", err)
	}
	// A change of the set waits until it is as before.
	ended := h.background(func() error {
		_, err := h.client().Block(t.Context(),
			control.BlockRequest{Prefixes: []string{"198.51.100.1"}, Origin: "list"})
		return err
	})
	blocks := during(ended, func(i int) {
		p := fmt.Sprintf("203.0.%d.%d", i>>8, i&255)
		_, err := h.client().Block(t.Context(), control.BlockRequest{Prefixes: []string{p}, Origin: "cli"})
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("block %s: %v", p, err)
		}
	})
	undone, applied := time.Since(left), left.Sub(began)
	_, longest := worst(blocks)
	t.Logf("%d entries: half was applied in %s and undone in %s (%.1f times); the longest of %d blocks took %s",
		n, applied, undone, undone.Seconds()/applied.Seconds(), len(blocks), longest)
	t.Logf("memory before: %s, after: %s", before, h.memory())
	testenv.Figure(t, undone <= 2*applied, "half was applied in %s and undone in %s", applied, undone)
	testenv.Figure(t, longest <= 100*time.Millisecond, "a block took %s", longest)

	got := map[string]bool{}
	err = h.client().Entries(t.Context(), "block", "list", func(e control.Entry) error {
		got[e.Prefix] = e.Expires == nil
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	delete(got, "198.51.100.1/32")
	for line := range strings.Lines(wideList(n)) {
		p := strings.TrimSpace(line) + "/32"
		if forever, ok := got[p]; !ok || !forever {
			t.Fatalf("%s: in the set %t, with its old end %t", p, ok, forever)
		}
		delete(got, p)
	}
	if len(got) > 0 {
		t.Errorf("%d entries of the list that was given up are left", len(got))
	}
	for address, want := range map[string]string{"11.0.0.0": "drop", "12.0.0.0": "pass"} {
		why, err := h.client().Why(t.Context(), address)
		if err != nil || why.Verdict != want || why.Disagreement != "" {
			t.Errorf("why %s: %+v, %v", address, why, err)
		}
	}
}
