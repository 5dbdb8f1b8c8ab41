package loader

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
	"github.com/google/go-cmp/cmp"
)

// The program's enum, its numbers and names, is what String knows.
func TestReasonsInStep(t *testing.T) {
	for name, load := range specLoaders() {
		spec, err := load()
		check(t, err)
		var enum *btf.Enum
		check(t, spec.Types.TypeByName("reason", &enum))
		want := map[Reason]string{}
		for _, v := range enum.Values {
			if v.Name != "REASON_COUNT" {
				want[Reason(v.Value)] = strings.ToLower(strings.TrimPrefix(v.Name, "REASON_"))
			}
		}
		got := map[Reason]string{}
		for r := range Reasons() {
			got[r] = r.String()
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: reasons (-C +Go):\n%s", name, diff)
		}
	}
}

func TestReasonVerdict(t *testing.T) {
	for r := range Reasons() {
		if want := map[bool]string{true: "drop", false: "pass"}[r == Blocked || r == Limited]; r.Verdict() != want {
			t.Errorf("verdict of %s is %s, want %s", r, r.Verdict(), want)
		}
	}
}

// The reference lists every reason with its verdict, and no other.
func TestDocsNameEveryReason(t *testing.T) {
	doc, err := os.ReadFile("../docs/metrics.md")
	check(t, err)
	want, got := map[string]string{}, map[string]string{}
	for r := range Reasons() {
		want[r.String()] = r.Verdict()
	}
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| (pass|drop) \\|").FindAllStringSubmatch(string(doc), -1) {
		got[row[1]] = row[2]
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the reasons of docs/metrics.md (-program +documented):\n%s", diff)
	}
}

// Data sections that nothing refers to are not loaded.
func TestSpecs(t *testing.T) {
	specs, err := loadSpecs(10, 10)
	check(t, err)
	for b, spec := range specs {
		if spec.Maps[".bss"] != nil || spec.Maps[".rodata"] == nil {
			t.Errorf("%s: maps %v", b, spec.Maps)
		}
		if got := spec.Maps[plainMapCounters].MaxEntries; got != MaxSlots<<reasonBits {
			t.Errorf("%s: %d counters, want %d", b, got, MaxSlots<<reasonBits)
		}
	}
}
