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
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/paraxial/paraxial/detect"
	"github.com/paraxial/paraxial/events"
	"github.com/paraxial/paraxial/policy"
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
	if d, ok := k.value.(*time.Duration); ok {
		return policy.FormatTTL(*d)
	}
	if r, ok := k.value.(*policy.Rate); ok && *r == (policy.Rate{}) {
		return "none"
	}
	if _, ok := k.value.(*[]Set); ok {
		return "{}"
	}
	if s := fmt.Sprint(reflect.ValueOf(k.value).Elem()); s != "" {
		return s
	}
	return `""`
}

func TestEveryFieldHasAKey(t *testing.T) {
	c := Default()
	bound := map[any]bool{}
	for _, k := range c.keys() {
		bound[k.value] = true
	}
	testFieldsAreBound(t, reflect.ValueOf(&c).Elem(), bound)
}

func TestEveryFieldOfAnItemHasAKey(t *testing.T) {
	var d detect.Detector
	var e events.Rule
	var f Feed
	var r Reporter
	var l LogSource
	var p Pattern
	var s Sample
	for item, keys := range map[any][]key{
		&d: detectorKeys(&d), &e: ruleKeys(&e), &f: feedKeys(&f), &r: reporterKeys(&r), &l: logKeys(&l),
		&p: patternKeys(&p), &s: sampleKeys(&s),
	} {
		bound := map[any]bool{}
		for _, k := range keys {
			bound[k.value] = true
		}
		testFieldsAreBound(t, reflect.ValueOf(item).Elem(), bound)
	}
}

func testFieldsAreBound(t *testing.T, v reflect.Value, bound map[any]bool) {
	t.Helper()
	var walk func(path string, v reflect.Value)
	walk = func(path string, v reflect.Value) {
		for i := range v.NumField() {
			f, name := v.Field(i), path+v.Type().Field(i).Name
			switch {
			case name == "File":
			case bound[f.Addr().Interface()]:
			case f.Kind() == reflect.Struct:
				walk(name+".", f)
			default:
				t.Errorf("%s has no key in the file", name)
			}
		}
	}
	walk("", v)
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
	// A commented key follows its # directly or, in a section, after two blanks. Prose
	// follows after one blank.
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
		if section, inner, deeper := strings.Cut(name, "."); deeper {
			line = "#  " + section + ": {" + inner + ": " + shown(k) + "}"
		}
		if !slices.Contains(strings.Split(string(data), "\n"), line) {
			t.Errorf("the example lacks the line %q", line)
		}
	}
}

// TestExampleDetectors removes the # before the detectors and rules of the example.
func TestExampleDetectors(t *testing.T) {
	data, err := os.ReadFile(exampleFile)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(data), "#detectors: []", "detectors:", 1)
	text = strings.Replace(text, "#rules: []", "rules:", 1)
	text = regexp.MustCompile(`(?m)^#(  - name:|    [a-z]+:)`).ReplaceAllString(text, "$1")
	c, err := Parse(exampleFile, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Detectors) < 5 {
		t.Errorf("only %d detectors", len(c.Detectors))
	}
	if len(c.Rules) < 3 {
		t.Errorf("only %d rules", len(c.Rules))
	}
	for _, r := range c.Rules {
		if r.Action != events.Shadow {
			t.Errorf("%s does more than count", r.Name)
		}
	}
	for _, d := range c.Detectors {
		// The packets they count can be forged, so none of them may block.
		if d.Action == detect.Block {
			t.Errorf("%s blocks", d.Name)
		}
	}
	// A low limit needs many samples, which cost CPU time.
	if n := detect.NewPromoter(c.Detectors, c.Detection.Tracked, 0).Recall(); n < 16 {
		t.Errorf("one packet in %d is sampled", n)
	}
}
