package tests

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestLongerTestsExistOnce: make test LONGER=elsewhere leaves out the tests of LONGER_ in the
// Makefile in every package. So each name must be that of one test only, which another target runs.
func TestLongerTestsExistOnce(t *testing.T) {
	makefile, err := os.ReadFile("../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	lists := regexp.MustCompile(`(?m)^LONGER_[A-Z]+ *:= (Test.*)$`).FindAllSubmatch(makefile, -1)
	if len(lists) == 0 {
		t.Fatal("the Makefile has no LONGER_ with tests")
	}
	found := map[string]int{}
	for _, list := range lists {
		for name := range strings.SplitSeq(string(list[1]), "|") {
			found[name] = 0
		}
	}
	test := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	err = filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		content, err := os.ReadFile(path)
		for _, m := range test.FindAllSubmatch(content, -1) {
			if n, listed := found[string(m[1])]; listed {
				found[string(m[1])] = n + 1
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, n := range found {
		if n != 1 {
			t.Errorf("%d tests have the name %s, want one", n, name)
		}
	}
}
