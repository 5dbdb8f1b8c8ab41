package config

import (
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	docFile     = "../docs/config.md"
	exampleFile = "../packaging/paraxiald.yaml"
)

// shown returns a key's value as the documents write it.
func shown(k key) string {
	if level, ok := k.value.(*slog.Level); ok {
		return formatLevel(*level)
	}
	return fmt.Sprint(reflect.ValueOf(k.value).Elem())
}

func TestEveryFieldHasAKey(t *testing.T) {
	c := Default()
	bound := map[any]bool{}
	for _, k := range c.keys() {
		bound[k.value] = true
	}
	var walk func(path string, v reflect.Value)
	walk = func(path string, v reflect.Value) {
		for i := range v.NumField() {
			f, name := v.Field(i), path+v.Type().Field(i).Name
			switch {
			case name == "File":
			case f.Kind() == reflect.Struct:
				walk(name+".", f)
			case !bound[f.Addr().Interface()]:
				t.Errorf("%s has no key in the file", name)
			}
		}
	}
	walk("", reflect.ValueOf(&c).Elem())
}

func TestDocsNameEveryKey(t *testing.T) {
	doc, err := os.ReadFile(docFile)
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile("(?m)^\\| `([a-z_.]+)` \\| `([^`]*)` \\| (yes|no) \\| .+ \\|$")
	var got [][]string
	for _, m := range row.FindAllStringSubmatch(string(doc), -1) {
		got = append(got, m[1:])
	}
	c := Default()
	var want [][]string
	for _, k := range c.keys() {
		reload := "no"
		if k.live {
			reload = "yes"
		}
		want = append(want, []string{k.name, shown(k), reload})
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the table of %s (-want +got):\n%s", docFile, diff)
	}
	for _, k := range new(Interface).keys() {
		if !strings.Contains(string(doc), "`"+k.name+"`") {
			t.Errorf("%s does not name %s", docFile, k.name)
		}
	}
}

func TestDocsExamplesAreValid(t *testing.T) {
	doc, err := os.ReadFile(docFile)
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(doc), -1)
	if len(blocks) == 0 {
		t.Fatalf("no examples in %s", docFile)
	}
	for _, b := range blocks {
		if _, err := Parse("example", []byte(b[1])); err != nil {
			t.Errorf("%s\n%v", b[1], err)
		}
	}
}

func TestExampleFile(t *testing.T) {
	data, err := os.ReadFile(exampleFile)
	if err != nil {
		t.Fatal(err)
	}
	// A commented key follows its # at once or, in a section, after two blanks;
	// prose follows after one.
	commented := regexp.MustCompile(`(?m)^#((?:|  )[a-z_]+:.*)$`)
	if !commented.Match(data) {
		t.Fatal("no commented keys in the example")
	}
	want := Default()
	want.File = exampleFile
	want.Interfaces = []Interface{{Name: "eth0"}}
	for _, text := range [][]byte{data, commented.ReplaceAll(data, []byte("$1"))} {
		got, err := Parse(exampleFile, text)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, comparePrefixes); diff != "" {
			t.Errorf("the example (-want +got):\n%s", diff)
		}
	}
	for _, k := range want.keys() {
		if k.name == "interfaces" {
			continue
		}
		section, name, nested := strings.Cut(k.name, ".")
		line := "#" + section + ": " + shown(k)
		if nested {
			line = "#  " + name + ": " + shown(k)
		}
		if !slices.Contains(strings.Split(string(data), "\n"), line) {
			t.Errorf("the example lacks the line %q", line)
		}
	}
}
