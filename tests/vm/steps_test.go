package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSince(t *testing.T) {
	for _, c := range []struct {
		release string
		want    bool
	}{
		{"5.10.0-43-cloud-amd64", false}, {"5.17.9", false}, {"5.18.0", true}, {"6.1.0-50-amd64",
			true}, {"7.3.4+deb13-cloud-amd64", true}, {"4.19.0", false},
	} {
		if got, err := since(c.release, 5, 18); err != nil || got != c.want {
			t.Errorf("%s is at least 5.18: got %v, %v", c.release, got, err)
		}
	}
	if _, err := since("cloud", 5, 18); err == nil {
		t.Error("a release without a number was accepted")
	}
}

const testOutput = `=== RUN   TestCorpus
=== RUN   TestCorpus/plain
=== RUN   TestCorpus/frags
    harness_test.go:115: needs Linux 5.18 for xdp.frags
--- PASS: TestCorpus (1.00s)
    --- PASS: TestCorpus/plain (1.00s)
    --- SKIP: TestCorpus/frags (0.00s)
=== RUN   TestHeaders
    split_test.go:51: needs Linux 6.18 for it
--- SKIP: TestHeaders (0.00s)
=== RUN   TestDecide
=== RUN   TestDecide/frags
    harness_test.go:115: needs Linux 5.18 for xdp.frags
--- FAIL: TestDecide (0.10s)
    --- SKIP: TestDecide/frags (0.00s)
    decide_test.go:7: wrong
FAIL
`

func TestSkipsAreCountedByReason(t *testing.T) {
	want := map[string]int{"needs Linux 5.18 for xdp.frags": 2, "needs Linux 6.18 for it": 1}
	got, err := skips(testOutput)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if _, err := skips(testOutput + "    a_test.go:1: no disk\n--- SKIP: TestDisk (0.00s)\n"); err == nil {
		t.Error("a skip for another reason was accepted")
	}
}

func TestFailuresLeaveOutWhatPassed(t *testing.T) {
	got := failures(testOutput)
	if strings.Contains(got, "PASS") || !strings.Contains(got, "decide_test.go:7: wrong") {
		t.Errorf("got\n%s", got)
	}
}

func TestReceiveInterrupts(t *testing.T) {
	got := receiveInterrupts(`           CPU0       CPU1
  4:       2000          0  IO-APIC   4-edge      ttyS0
 25:          3          0  PCI-MSIX-0000:00:02.0   1-edge      virtio0-input.0
 26:          9          9  PCI-MSIX-0000:00:02.0   2-edge      virtio0-output.0
 27:          0         41  PCI-MSI 1048579-edge      virtio0-input.1
 28:          7          0  PCI-MSI 1048579-edge      eth0-rx-0
LOC:          7          8   Local timer interrupts
`)
	want := map[string]uint64{"virtio0-input.0": 3, "virtio0-input.1": 41, "eth0-rx-0": 7}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestNoPorts(t *testing.T) {
	const snmp = "Udp: InDatagrams NoPorts InErrors\nUdp: 5 17 0\nUdpLite: InDatagrams NoPorts\nUdpLite: 0 99\n"
	if got := noPorts(snmp, "Udp:"); got != 17 {
		t.Errorf("IPv4: got %d, want 17", got)
	}
	if got := noPorts("Udp6InDatagrams 3\nUdp6NoPorts                     \t21\n", "Udp6NoPorts"); got != 21 {
		t.Errorf("IPv6: got %d, want 21", got)
	}
}

func TestTroubleIsSeen(t *testing.T) {
	for _, line := range []string{
		"4,1,1,-;WARNING: CPU: 0 PID: 1 at net/core/filter.c:1", "WARNING: net/core/dev.c:1 at f+0x1/0x2, CPU#1: a/1",
		"BUG: unable to handle page fault", "BUG: scheduling while atomic", "Oops: 0000 [#1] SMP",
		"general protection fault, probably",
		"INFO: task paraxiald:7 blocked for more than 120 seconds.",
	} {
		if !trouble.MatchString(line) {
			t.Errorf("not seen: %s", line)
		}
	}
	if line := "Spectre V2 : WARNING"; trouble.MatchString(line) {
		t.Errorf("no trouble: %s", line)
	}
}
