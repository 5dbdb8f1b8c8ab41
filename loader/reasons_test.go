package loader

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
	"github.com/google/go-cmp/cmp"
)

// String knows the numbers and names of enum reason of the program.
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

// The predicates of reasons in Go mirror those of the program. The test reads their source,
// because the compiler inlines them, so that the object does not have them.
func TestReasonPredicatesInStep(t *testing.T) {
	source, err := os.ReadFile("../bpf/reasons.h")
	check(t, err)
	for predicate, holds := range map[string]func(Reason) bool{
		"reason_drops":     func(r Reason) bool { return r.Verdict() == "drop" },
		"reason_accounted": Reason.Accounted,
	} {
		want, got := reasonsOf(t, string(source), predicate), map[string]bool{}
		for r := range Reasons() {
			if holds(r) {
				got["REASON_"+strings.ToUpper(r.String())] = true
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("reasons of %s (-C +Go):\n%s", predicate, diff)
		}
	}
}

// reasonsOf returns the reasons for which a predicate of the program is true. It fails unless
// the predicate is a list of comparisons.
func reasonsOf(t *testing.T, source, predicate string) map[string]bool {
	t.Helper()
	function := regexp.MustCompile(`bool ` + predicate + `\(enum reason reason\)\n\{\n\treturn ([^;]*);\n\}`)
	body := function.FindStringSubmatch(source)
	if body == nil {
		t.Fatalf("%s is missing, or is no single return", predicate)
	}
	reasons := map[string]bool{}
	for term := range strings.SplitSeq(body[1], "||") {
		name, ok := strings.CutPrefix(strings.TrimSpace(term), "reason == ")
		if !ok {
			t.Fatalf("%s: term %q is no comparison with a reason", predicate, term)
		}
		reasons[name] = true
	}
	return reasons
}

// docs/metrics.md lists every reason with its verdict, and no others.
func TestDocsNameEveryReason(t *testing.T) {
	doc, err := os.ReadFile("../docs/metrics.md")
	check(t, err)
	want, got := map[string]string{}, map[string]string{}
	for r := range Reasons() {
		want[r.String()] = r.Verdict()
	}
	rows := regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| (pass|drop) \\|")
	for _, row := range rows.FindAllStringSubmatch(string(doc), -1) {
		got[row[1]] = row[2]
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the reasons of docs/metrics.md (-program +documented):\n%s", diff)
	}
}

// Data sections that nothing refers to are not loaded.
func TestSpecs(t *testing.T) {
	specs, err := loadSpecs(10, 10, Tunnels{})
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
