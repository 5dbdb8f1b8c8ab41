package lab

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// TestEachReports: what the process of a test prints appears as in the output of a common process,
// and no process that fails is taken for a success.
func TestEachReports(t *testing.T) {
	for _, tt := range []struct {
		name   string
		output string
		status int
		err    error
		want   string
		failed bool
	}{
		{name: "pass", output: "=== RUN   TestA\n    a_test.go:1: text\n--- PASS: TestA (1.50s)\nPASS\n",
			want: "    a_test.go:1: text\n--- PASS: TestA (1.50s)\n"},
		{name: "subtests", output: "=== RUN   TestA\n=== RUN   TestA/b\n--- PASS: TestA (0.00s)\n" +
			"    --- PASS: TestA/b (0.00s)\nPASS\n",
			want: "=== RUN   TestA/b\n--- PASS: TestA (0.00s)\n    --- PASS: TestA/b (0.00s)\n"},
		{name: "fail", output: "=== RUN   TestA\n--- FAIL: TestA (0.00s)\nFAIL\n", status: 1,
			want: "--- FAIL: TestA (0.00s)\n", failed: true},
		{name: "another test fails", output: "=== RUN   TestA\n--- FAIL: TestAB (0.00s)\nFAIL\n", status: 1,
			want: "--- FAIL: TestAB (0.00s)\n--- FAIL: TestA (0.00s)\n" +
				"    the process of the test has ended with status 1\n", failed: true},
		{name: "killed", output: "=== RUN   TestA\ntext", status: 255,
			want:   "text\n--- FAIL: TestA (0.00s)\n    the process of the test has ended with status 255\n",
			failed: true},
		{name: "no sandbox", status: 1, err: errors.New("no namespaces"),
			want:   "--- FAIL: TestA (0.00s)\n    no namespaces\nthe process of the test has ended with status 1\n",
			failed: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out strings.Builder
			e := &each{verbose: true, out: &out}
			e.begin("TestA")
			e.end("TestA", []byte(tt.output), tt.status, tt.err)
			if want := "=== RUN   TestA\n=== NAME  TestA\n" + tt.want; out.String() != want || e.failed != tt.failed {
				t.Errorf("failed: %t, printed\n%s\nwant\n%s", e.failed, out.String(), want)
			}
		})
	}
}

// TestSkip: a test that -skip names does not run, and no other one is missing.
func TestSkip(t *testing.T) {
	for skip, want := range map[string]string{
		"": "TestA TestB TestAB", "^TestA$": "TestB TestAB", "A|^TestB$": "", "^(TestB|TestAB)$": "TestA",
	} {
		got, err := without(strings.Fields("TestA TestB TestAB"), skip)
		if err != nil || !slices.Equal(got, strings.Fields(want)) {
			t.Errorf("-skip %q leaves %q, %v; want %q", skip, got, err, want)
		}
	}
	if _, err := without(nil, "("); err == nil {
		t.Error("a pattern that is not one is accepted")
	}
}
