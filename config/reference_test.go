package config

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/paraxial/paraxial/detect"
	"github.com/paraxial/paraxial/events"
	"github.com/paraxial/paraxial/policy"
)

// update has TestReference write the reference: go test ./config -run Reference -update.
var update = flag.Bool("update", false, "write the tables of "+docFile)

// TestReference compares the tables in the reference with the keys, the defaults and the
// comments in the code. With -update it writes the tables.
func TestReference(t *testing.T) {
	comments := fieldComments(t, ".", "../detect", "../events", "../ladder")
	c := Default()
	var i Interface
	d := detect.Default()
	d.Widen.IPv6 = defaultWiden
	e := events.Default()
	e.Widen.IPv6 = defaultWiden
	f := DefaultFeed()
	r := DefaultReporter()
	l := DefaultLog()
	var lines struct {
		Pattern
		Sample
	}
	pattern, sample := &lines.Pattern, &lines.Sample
	doc, err := os.ReadFile(docFile)
	if err != nil {
		t.Fatal(err)
	}
	want := string(doc)
	for _, table := range []struct {
		name string
		keys []key
		of   any
	}{
		{"keys", c.keys(), &c},
		{"interfaces", i.keys(), &i},
		{"detectors", detectorKeys(&d), &d},
		{"rules", ruleKeys(&e), &e},
		{"feeds", feedKeys(&f), &f},
		{"logs", logKeys(&l), &l},
		{"patterns", append(patternKeys(pattern), sampleKeys(sample)...), &lines},
		{"reporters", reporterKeys(&r), &r},
	} {
		want = replaced(t, want, table.name, rows(t, table.keys, reflect.ValueOf(table.of).Elem(), comments))
	}
	if *update {
		if err := os.WriteFile(docFile, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, string(doc)); diff != "" {
		t.Errorf("%s differs from the types; run: go test ./config -run Reference -update\n(-want +got):\n%s",
			docFile, diff)
	}
}

// replaced returns doc with a table between its two marks.
func replaced(t *testing.T, doc, name, table string) string {
	t.Helper()
	begin, end := "<!-- generated: "+name+" -->\n", "<!-- end -->"
	before, rest, found := strings.Cut(doc, begin)
	_, after, ended := strings.Cut(rest, end)
	if !found || !ended {
		t.Fatalf("%s has no place for the table %q", docFile, name)
	}
	return before + begin + table + end + after
}

func rows(t *testing.T, keys []key, of reflect.Value, comments map[string]string) string {
	t.Helper()
	names := map[any]string{}
	fieldNames(of, names)
	var b strings.Builder
	b.WriteString("| key | value | default | reload | meaning |\n|---|---|---|---|---|\n")
	for _, k := range keys {
		comment := comments[names[k.value]]
		if comment == "" {
			t.Errorf("%s, the field of %s, has no comment", names[k.value], k.name)
		}
		reload := "no"
		if k.live {
			reload = "yes"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", k.name, takes(k), usual(k), reload, comment)
	}
	return b.String()
}

// usual returns the default of a key, or "needed" if it has none.
func usual(k key) string {
	if k.name == "interfaces.name" {
		return "needed"
	}
	for list, least := range map[string][]string{
		"detectors": {"name: x", "limit: 1000/s", "action: shadow"},
		"rules":     {"name: x", "limit: 1", "action: shadow"},
		"feeds":     {"name: x", "url: /x", "use: block"},
		"logs":      {"name: x", "journal: {units: [a.service]}, format: sshd", "rule: x"},
		"reporters": {"name: x", "user: x", "sets: [x]"},
	} {
		at := slices.IndexFunc(least, func(line string) bool {
			name, _, _ := strings.Cut(line, ":")
			return strings.HasSuffix("."+k.name, "."+list+"."+name)
		})
		if at < 0 {
			continue
		}
		file := list + ": [{" + strings.Join(slices.Delete(least, at, at+1), ", ") + "}]"
		if list == "reporters" {
			file = "reports: {" + file + "}"
		}
		if _, err := Parse("f", []byte(file)); err != nil {
			return "needed"
		}
	}
	return "`" + shown(k) + "`"
}

// takes returns the values that a key accepts. It takes words and limits from the error
// for a value that is not accepted.
func takes(k key) string {
	switch k.value.(type) {
	case *string:
		if slices.Contains([]string{"socket", "reports.socket", "reports.blocklist_socket"}, k.name) {
			return fmt.Sprintf("text, at most %d bytes", maxSocketPath)
		}
		return "text"
	case *bool:
		return "true or false"
	case *policy.Rate:
		return "rate"
	case *[]netip.Prefix:
		return "list of prefixes"
	case *[]uint16:
		if k.name == "detectors.match.port" {
			return fmt.Sprintf("port, or list of at most %d", detect.MaxPorts)
		}
		return "list of ports"
	case *[]Tunnel:
		return fmt.Sprintf("list, with at most %d ports of a kind", MaxTunnelPorts)
	case *[]Interface:
		return fmt.Sprintf("list of at most %d", MaxInterfaces)
	case *[]detect.Detector:
		return fmt.Sprintf("list of at most %d", detect.MaxDetectors)
	case *[]events.Rule:
		return fmt.Sprintf("list of at most %d", events.MaxRules)
	case *[]Feed:
		return fmt.Sprintf("list of at most %d", MaxFeeds)
	case *[]LogSource:
		return fmt.Sprintf("list of at most %d", MaxLogs)
	case *[]Pattern:
		return fmt.Sprintf("list of at most %d", maxLogPatterns)
	case *[]Sample:
		return fmt.Sprintf("list of at most %d", maxSamples)
	case *[]int:
		return "list of numbers, " + wanted(second(parseStatus("")))
	case *[]Set:
		return fmt.Sprintf("at most %d names, each with a list of prefixes", MaxSets)
	case *[]Reporter:
		return fmt.Sprintf("list of at most %d", MaxReporters)
	case *[]string:
		return "list of text"
	case *[]Right:
		return "list of " + wanted(second(parseRight("")))
	case *slog.Level:
		_, err := ParseLevel("")
		return wanted(err)
	}
	v := reflect.ValueOf(k.value).Elem()
	right := reflect.New(v.Type()).Elem()
	right.Set(v)
	defer v.Set(right)
	switch v.Kind() {
	case reflect.String: // one of several words
		v.SetString("?")
	case reflect.Int, reflect.Int64:
		v.SetInt(-1)
	}
	return wanted(k.check())
}

func second[T any](_ T, err error) error { return err }

func wanted(err error) string {
	if err == nil {
		return "anything"
	}
	_, want, _ := strings.Cut(err.Error(), "; want ")
	for _, article := range []string{"a whole ", "a "} {
		want = strings.TrimPrefix(want, article)
	}
	return strings.ReplaceAll(want, " from ", ", ")
}

// fieldNames fills names with the address of every field and its Type.Field.
func fieldNames(v reflect.Value, names map[any]string) {
	for n := range v.NumField() {
		f := v.Field(n)
		names[f.Addr().Interface()] = v.Type().Name() + "." + v.Type().Field(n).Name
		if f.Kind() == reflect.Struct && f.Type() != reflect.TypeFor[policy.Rate]() {
			fieldNames(f, names)
		}
	}
}

// fieldComments returns the comments of all struct fields in some packages, by
// Type.Field.
func fieldComments(t *testing.T, dirs ...string) map[string]string {
	t.Helper()
	comments := map[string]string{}
	for _, dir := range dirs {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(parsed, func(n ast.Node) bool { return noteComments(n, comments) })
		}
	}
	return comments
}

func noteComments(n ast.Node, comments map[string]string) (further bool) {
	spec, ok := n.(*ast.TypeSpec)
	if !ok {
		return true
	}
	if s, ok := spec.Type.(*ast.StructType); ok {
		for _, f := range s.Fields.List {
			for _, name := range f.Names {
				comments[spec.Name.Name+"."+name.Name] = strings.Join(strings.Fields(f.Doc.Text()), " ")
			}
		}
	}
	return false
}
