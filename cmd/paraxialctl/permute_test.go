package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPermute(t *testing.T) {
	tests := []struct {
		args           []string
		want           []string
		output, socket string
	}{
		{split("status"), []string{"status", "--"}, "table", ""},
		{split("block 192.0.2.1 --for 1h -o json"), []string{"block", "--for=1h", "--", "192.0.2.1"}, "json", ""},
		{split("-o json block --for 1h 192.0.2.1"), []string{"block", "--for=1h", "--", "192.0.2.1"}, "json", ""},
		{split("block -o=json --for=1h 192.0.2.1 192.0.2.2"),
			[]string{"block", "--for=1h", "--", "192.0.2.1", "192.0.2.2"}, "json", ""},
		{split("list -ojson"), []string{"list", "--"}, "json", ""},
		{split("list --output json blocks"), []string{"list", "--", "blocks"}, "json", ""},
		{split("-o table list -o json"), []string{"list", "--"}, "json", ""},
		{split("-o json list -o table"), []string{"list", "--"}, "table", ""},
		{split("status --socket /x"), []string{"status", "--"}, "table", "/x"},
		{split("--socket block status"), []string{"status", "--"}, "table", "block"},
		{split("--socket=/x -o json status"), []string{"status", "--"}, "json", "/x"},
		{split("import -"), []string{"import", "--", "-"}, "table", ""},
		{split("import - --origin x"), []string{"import", "--origin=x", "--", "-"}, "table", ""},
		{split("import -- -"), []string{"import", "--", "-"}, "table", ""},
		{split("import -- --for"), []string{"import", "--", "--for"}, "table", ""},
		{split("-- import -"), []string{"import", "--", "-"}, "table", ""},
		{split("block 192.0.2.1 --for -1h"), []string{"block", "--for=-1h", "--", "192.0.2.1"}, "table", ""},
		{[]string{"block", "192.0.2.1", "--reason", "--shadow"},
			[]string{"block", "--reason=--shadow", "--", "192.0.2.1"}, "table", ""},
		{[]string{"block", "192.0.2.1", "--reason", ""}, []string{"block", "--reason=", "--", "192.0.2.1"}, "table",
			""},
		{[]string{"block", "192.0.2.1", "--reason=a=b,c"}, []string{"block", "--reason=a=b,c", "--", "192.0.2.1"},
			"table", ""},
		{split("unblock --all 192.0.2.1"), []string{"unblock", "--all", "--", "192.0.2.1"}, "table", ""},
		{split("unblock 192.0.2.1 --all=false"), []string{"unblock", "--all=false", "--", "192.0.2.1"}, "table", ""},
		{split("block 192.0.2.1 -h"), []string{"block", "--help"}, "table", ""},
		{split("-h"), []string{"--help"}, "table", ""},
		{split("blokc x"), []string{"blokc", "x"}, "table", ""},
		{nil, nil, "table", ""},
	}
	app := realProgram().app
	for _, tt := range tests {
		got, err := permute(app, tt.args)
		if err != nil {
			t.Errorf("%q: %v", tt.args, err)
			continue
		}
		if diff := cmp.Diff(tt.want, got.args); diff != "" || got.output != tt.output || got.socket != tt.socket {
			t.Errorf("%q: output %s, socket %s, args -want +got:\n%s", tt.args, got.output, got.socket, diff)
		}
	}
}

func TestNearest(t *testing.T) {
	names := commandNames(realProgram().app.Commands)
	for word, want := range map[string]string{
		"blokc": "block", "blocks": "block", "unblok": "unblock", "lst": "list", "statsu": "status", "impotr": "import",
		"frobnicate": "", "x": "", "": "",
	} {
		if got := nearest(word, names); got != want {
			t.Errorf("nearest(%q) = %q, want %q", word, got, want)
		}
	}
}
