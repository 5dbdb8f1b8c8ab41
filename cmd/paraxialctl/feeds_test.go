package main

import (
	"strings"
	"testing"
)

// TestCatalog: the catalogue needs no daemon.
func TestCatalog(t *testing.T) {
	for args, want := range map[string]struct {
		code int
		text string
	}{
		"feeds catalog":               {0, "  - name: googlebot\n"},
		"feeds catalog spamhaus-drop": {0, "    url: https://www.spamhaus.org/drop/drop_v4.json\n"},
		"feeds catalog none":          {1, "the catalogue has no list none"},
		"feeds catalog aws gcp":       {2, "takes one list"},
	} {
		o := invokeWith(t.Context(), (*program).commands, "/nonexistent", "", strings.Fields(args)...)
		if o.Code != want.code || !strings.Contains(o.Stdout+o.Stderr, want.text) {
			t.Errorf("%s: %+v", args, o)
		}
	}
}
