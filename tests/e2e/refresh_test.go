package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/paraxial/paraxial/control"
)

// While a set is refreshed again and again, with other entries and other ends each time, no packet
// arrives from a source that is always in it.
func TestRefreshLetsNothingThrough(t *testing.T) {
	n, rounds := timesOf(t, "PARAXIAL_ENTRIES", 30_000), timesOf(t, "PARAXIAL_REFRESHES", 4)
	h := newHost(t)
	h.start()
	server := h.serve()
	all := strings.SplitAfter(wideList(n+n/2), "\n")
	lists := [2]string{strings.Join(all[:n], ""), strings.Join(all[n/2:n+n/2], "")} // half is in both
	var both []netip.Addr
	for i := n / 2; i < n; i += max(n/2/100, 1) {
		both = append(both, netip.MustParseAddr(strings.TrimSpace(all[i])))
	}
	refresh := func(round int) error {
		_, err := h.client().Import(t.Context(), control.ImportRequest{
			Origin: "list", For: fmt.Sprintf("%dh", 1+round), Reason: fmt.Sprint("round ", round),
		}, strings.NewReader(lists[round%2]), func(control.ImportProgress) {})
		return err
	}
	if err := refresh(0); err != nil {
		t.Fatal(err)
	}
	done := h.background(func() error {
		for round := range rounds {
			if err := refresh(round + 1); err != nil {
				return err
			}
		}
		return nil
	})
	passes := netip.MustParseAddr("192.0.2.200") // is on no list, so it shows that packets do arrive
	sent := 0
	during(done, func(int) {
		arrived := h.arrivals(server, append(both, passes))
		if arrived[passes] == 0 {
			t.Error("no packet arrives at all")
		}
		if delete(arrived, passes); len(arrived) > 0 {
			t.Errorf("packets of %d sources arrived that are in all lists: %v", len(arrived), arrived)
		}
		sent += len(both)
	})
	t.Logf("%d entries, %d refreshes: none of %d packets arrived", n, rounds, sent)
	if sent < 2*len(both) {
		t.Errorf("only %d packets were sent during the refreshes", sent)
	}
}
