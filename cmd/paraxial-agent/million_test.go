package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/paraxial/paraxial/report"
)

// TestMillion: a list of a million prefixes takes 200 MB at most, also when it changes.
func TestMillion(t *testing.T) {
	size := 1_000_000
	if testing.Short() {
		size = 100_000
	}
	h := newHost(t)
	list := func(from, to int) string {
		var b strings.Builder
		for n := from; n < to; n++ {
			fmt.Fprintf(&b, "%d.%d.%d.%d\n", 11+n>>16%16, n>>8&255, n&255, 1+n%250)
		}
		return b.String()
	}
	h.write("list", list(0, size))
	h.configure("- {name: x, url: " + h.path("list") + ", use: block, max_share: 100%}")
	h.start()
	h.eventually("the set comes", func() bool { _, n := h.set("x"); return n == size })
	h.write("list", list(1000, size)+"203.0.113.7\n")
	h.eventually("the state comes", func() bool { _, _, ok := h.board.State("x"); return ok })
	if a := h.command(report.Refresh, "x"); a.Text != fmt.Sprintf("generation 2, %d entries", size-999) {
		t.Errorf("refresh: %+v", a)
	}
	if a := h.command(report.Diff, "x"); !strings.HasPrefix(a.Text, "generation 1 to 2: 1 added, 1000 removed\n") {
		t.Errorf("diff: %.200s %s", a.Text, a.Error)
	}
	peak := peakMemory(t, h.agent.Process.Pid)
	t.Logf("peak of the resident memory: %d MB", peak/1_000_000)
	if peak > 200_000_000 {
		t.Errorf("%d prefixes take %d MB, want 200 at most", size, peak/1_000_000)
	}
	h.stop()
}

func peakMemory(t *testing.T, pid int) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if kb, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			n, err := strconv.Atoi(strings.Fields(kb)[0])
			if err != nil {
				t.Fatal(err)
			}
			return n << 10
		}
	}
	t.Fatal("no VmHWM")
	return 0
}
