package control

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The reference lists every request that the server accepts, and no other.
func TestDocsNameEveryRoute(t *testing.T) {
	doc, err := os.ReadFile("../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	page, _, _ := strings.Cut(string(doc), "\n## The report socket\n") // report has a test of that
	var want, got []string
	for path, r := range newHandler(NewServer(&fake{}, Options{}), nil, nil).routes {
		want = append(want, r.method+" "+path)
	}
	for _, row := range regexp.MustCompile("(?m)^\\| `([A-Z]+ /[^`]*)` \\|").FindAllStringSubmatch(page, -1) {
		got = append(got, row[1])
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the requests of docs/api.md (-server +documented):\n%s", diff)
	}
}
