package main

import (
	"strings"
	"testing"

	"github.com/paraxial/paraxial/control"
)

// The names of sets are shown, and what a terminal would act on is not.
func TestTagsAreShown(t *testing.T) {
	tags := []string{"aws", "NL\x1b[2J"}
	const want = `aws, NL\x1b[2J`
	top := floods()
	top.Sources[1].Tags = tags[:1]
	if got := strings.Join(view(top).table(top.Sources, 0), "\n"); !strings.Contains(got, "TAGS  OTHER RATES") ||
		!strings.Contains(got, "-         aws   -") {
		t.Errorf("top:\n%s", got)
	}
	for got, want := range map[string]string{
		reasonText(control.Entry{Reason: "ssh", Tags: tags}): "ssh [" + want + "]",
		reasonText(control.Entry{Tags: tags}):                "[" + want + "]",
		reasonText(control.Entry{Reason: "ssh"}):             "ssh",
		tagsText(tags):                                       want,
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
