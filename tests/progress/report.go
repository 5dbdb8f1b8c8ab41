package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// An event is one line of go test -json.
type event struct {
	Action  string
	Package string
	Test    string
	Output  string
	Elapsed float64 // seconds
}

// name identifies the package or test of an event.
type name struct{ pkg, test string }

// A report prints the results of packages and tests.
type report struct {
	out     io.Writer
	now     func() time.Time
	begin   time.Time
	running map[name]time.Time // running tests, and packages that run no test
	output  map[name][]string
	passed  int
	failed  []string
}

func newReport(out io.Writer, now func() time.Time) *report {
	return &report{out: out, now: now, begin: now(), running: map[name]time.Time{}, output: map[name][]string{}}
}

func (r *report) add(e event) {
	n := name{e.Package, e.Test}
	switch e.Action {
	case "start", "run":
		r.running[n] = r.now()
	case "output":
		r.output[n] = append(r.output[n], e.Output)
	case "build-output":
		fmt.Fprint(r.out, e.Output)
	case "pass", "fail", "skip":
		r.done(n, e)
	}
}

// done prints the result of a package, and the output of a test that has failed or was skipped.
func (r *report) done(n name, e event) {
	delete(r.running, n)
	output := r.output[n]
	delete(r.output, n)
	switch {
	case e.Test != "" && e.Action == "pass":
	case e.Test != "":
		fmt.Fprintf(r.out, "%s %s", short(e.Package), strings.Join(output, ""))
	case e.Action == "pass":
		r.passed++
		fmt.Fprintf(r.out, "ok    %-24s %6.1f s\n", short(e.Package), e.Elapsed)
	case e.Action == "fail":
		r.failed = append(r.failed, short(e.Package))
		fmt.Fprintf(r.out, "%sFAIL  %-24s %6.1f s\n", r.unfinished(e.Package, output), short(e.Package), e.Elapsed)
	}
}

// unfinished returns the output of a package, and of those of its tests that have not ended, as
// after a panic.
func (r *report) unfinished(pkg string, output []string) string {
	var all []string
	for _, n := range slices.SortedFunc(maps.Keys(r.running), compare) {
		if n.pkg == pkg {
			all = append(all, r.output[n]...)
			delete(r.running, n)
			delete(r.output, n)
		}
	}
	// The go command repeats that the package has failed.
	output = slices.DeleteFunc(output, func(line string) bool {
		return line == "FAIL\n" || strings.HasPrefix(line, "FAIL\t")
	})
	return strings.Join(append(all, output...), "")
}

// underWay prints the running test of each running package.
func (r *report) underWay() {
	for _, n := range slices.SortedFunc(maps.Keys(r.running), compare) {
		if n.test != "" && !strings.Contains(n.test, "/") {
			fmt.Fprintf(r.out, "...   %-24s %6.1f s in %s\n", short(n.pkg), r.now().Sub(r.running[n]).Seconds(), n.test)
		}
	}
}

// summary prints the last line.
func (r *report) summary() {
	took := r.now().Sub(r.begin).Round(time.Second)
	if len(r.failed) > 0 {
		fmt.Fprintf(r.out, "FAILED after %s: %s\n", took, strings.Join(r.failed, ", "))
		return
	}
	fmt.Fprintf(r.out, "%d packages passed in %s\n", r.passed, took)
}

func compare(a, b name) int {
	return strings.Compare(a.pkg+" "+a.test, b.pkg+" "+b.test)
}

// short returns a package path without the module's name.
func short(pkg string) string {
	return strings.TrimPrefix(pkg, "github.com/paraxial/paraxial/")
}
