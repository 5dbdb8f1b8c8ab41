package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestReport(t *testing.T) {
	const events = `{"Action":"start","Package":"github.com/paraxial/paraxial/a"}
{"Action":"start","Package":"github.com/paraxial/paraxial/b"}
{"Action":"run","Package":"github.com/paraxial/paraxial/a","Test":"TestOne"}
{"Action":"output","Package":"github.com/paraxial/paraxial/a","Test":"TestOne","Output":"quiet\n"}
{"Action":"pass","Package":"github.com/paraxial/paraxial/a","Test":"TestOne","Elapsed":1}
{"Action":"run","Package":"github.com/paraxial/paraxial/b","Test":"TestTwo"}
{"Action":"output","Package":"github.com/paraxial/paraxial/b","Test":"TestTwo","Output":"    two_test.go:1: wrong\n"}
{"Action":"fail","Package":"github.com/paraxial/paraxial/b","Test":"TestTwo","Elapsed":1}
{"Action":"run","Package":"github.com/paraxial/paraxial/b","Test":"TestThree"}
{"Action":"output","Package":"github.com/paraxial/paraxial/b","Test":"TestThree","Output":"three\n"}
{"Action":"output","Package":"github.com/paraxial/paraxial/b","Output":"panic: three\n"}
{"Action":"output","Package":"github.com/paraxial/paraxial/b","Output":"FAIL\n"}
{"Action":"output","Package":"github.com/paraxial/paraxial/b","Output":"FAIL\tb\t2.0s\n"}
{"Action":"fail","Package":"github.com/paraxial/paraxial/b","Elapsed":2}
{"Action":"pass","Package":"github.com/paraxial/paraxial/a","Elapsed":3.04}
{"Action":"skip","Package":"github.com/paraxial/paraxial/c"}
{"Action":"build-output","ImportPath":"d","Output":"d.go:1: not Go\n"}
{"Action":"fail","Package":"github.com/paraxial/paraxial/d","FailedBuild":"d"}
go: a message
`
	var out strings.Builder
	now := time.Unix(0, 0)
	r := newReport(&out, func() time.Time { return now })
	follow(r, strings.NewReader(events))
	now = now.Add(3 * time.Second)
	r.summary()
	want := `b     two_test.go:1: wrong
three
panic: three
FAIL  b                           2.0 s
ok    a                           3.0 s
d.go:1: not Go
FAIL  d                           0.0 s
go: a message
FAILED after 3s: b, d
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestUnderWay(t *testing.T) {
	var out strings.Builder
	now := time.Unix(0, 0)
	r := newReport(&out, func() time.Time { return now })
	for _, e := range []event{
		{Action: "start", Package: "a"},
		{Action: "run", Package: "a", Test: "TestOne"},
		{Action: "run", Package: "a", Test: "TestOne/part"},
		{Action: "run", Package: "b", Test: "TestTwo"},
		{Action: "pass", Package: "b", Test: "TestTwo"},
	} {
		r.add(e)
	}
	now = now.Add(31 * time.Second)
	r.underWay()
	if want := "...   a                          31.0 s in TestOne\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

func TestExitCode(t *testing.T) {
	for want, args := range map[int][]string{0: {"true"}, 7: {"sh", "-c", "exit 7"}, 2: nil} {
		if code, _ := run(args); code != want {
			t.Errorf("%q: exit code %d, want %d", args, code, want)
		}
	}
	if code, err := run([]string{"/nonesuch"}); code == 0 || err == nil {
		t.Errorf("a command that is not there: exit code %d, %v", code, err)
	}
}
