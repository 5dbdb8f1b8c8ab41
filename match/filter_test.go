package match_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/paraxial/paraxial/match"
)

func TestPaths(t *testing.T) {
	for _, tt := range []struct {
		glob string
		fit  string // with blanks between them
		not  string
	}{
		{"/users/log_in", "/users/log_in /users/log_in/ //users///log_in /users/%6Cog_in /users/./log_in " +
			"/x/../users/log_in /../users/log_in /x/%2e%2e/users/log_in /users/log_in/. /users/log_in/x/..",
			"/users/log_in2 /users /users/log_in/.. /users/..log_in /x/users/log_in /Users/log_in / /users/%256Cog_in"},
		{"/users/*/edit", "/users/7/edit /users/a.b/edit/", "/users/edit /users/a/b/edit /users//edit"},
		{"/users/*", "/users/7", "/users /users/ /users/7/8"},
		{"/admin/**", "/admin /admin/ /admin/x /admin/x/y.php", "/administrator /x/admin"},
		{"**.php", "/a.php /x/y.php /.php /%61.ph%70", "/a.php5 /a.php/x /php"},
		{"/a/**/z", "/a/b/z /a/b/c/z", "/a/z2 /b/a/b/z"},
		{"/", "/ //", "/x"},
		{"/**", "/ /x /x/y", ""},
		{"/*.php", "/a.php", "/x/a.php"},
	} {
		g, err := match.PathGlob(tt.glob)
		if err != nil {
			t.Fatal(err)
		}
		f := match.Filter{Paths: []match.Glob{g}}
		for _, p := range strings.Fields(tt.fit) {
			if !f.Fits(match.Request{Path: []byte(p)}) {
				t.Errorf("%s does not fit %s", tt.glob, p)
			}
		}
		for _, p := range strings.Fields(tt.not) {
			if f.Fits(match.Request{Path: []byte(p)}) {
				t.Errorf("%s fits %s", tt.glob, p)
			}
		}
	}
	for _, bad := range []string{"", "users", "/***", "/a/*/b/**", "/" + strings.Repeat("x", 300)} {
		if _, err := match.PathGlob(bad); err == nil {
			t.Errorf("%.20q is accepted", bad)
		}
	}
}

func TestFilter(t *testing.T) {
	host, _ := match.HostGlob("*.Example.com")
	agent, _ := match.AgentGlob("**SqlMap**")
	r := match.Request{Method: []byte("POST"), Path: []byte("/x"), Host: []byte("www.EXAMPLE.com:443"),
		Agent: []byte("Mozilla sqlmap/1.0"), Status: 403}
	f := match.Filter{Methods: []string{"GET", "POST"}, Statuses: []int{401, 403}, Hosts: []match.Glob{host},
		Agents: []match.Glob{agent}}
	if !f.Fits(r) {
		t.Error("the request does not fit")
	}
	for name, change := range map[string]func(*match.Request){
		"method": func(r *match.Request) { r.Method = []byte("post") },
		"status": func(r *match.Request) { r.Status = 200 },
		"host":   func(r *match.Request) { r.Host = []byte("example.com") },
		"agent":  func(r *match.Request) { r.Agent = nil },
	} {
		other := r
		change(&other)
		if f.Fits(other) {
			t.Errorf("another %s fits", name)
		}
	}
	if zero := (match.Filter{}); !zero.IsZero() || f.IsZero() || !zero.Fits(match.Request{}) {
		t.Error("an empty filter selects everything")
	}
}

// TestLongPath: a path that a client chooses takes no more time than its length.
func TestLongPath(t *testing.T) {
	g, err := match.PathGlob("**a**a**a**a**a**a**b")
	if err != nil {
		t.Fatal(err)
	}
	f := match.Filter{Paths: []match.Glob{g}}
	measure := func(n int) time.Duration {
		path := append([]byte("/"), bytes.Repeat([]byte("a"), n)...)
		best := time.Hour
		for range 5 {
			begun := time.Now()
			f.Fits(match.Request{Path: path})
			best = min(best, time.Since(begun))
		}
		return best
	}
	if short, long := measure(1000), measure(16000); long > 100*short {
		t.Errorf("a path of 1,000 bytes takes %s, one of 16,000 bytes %s", short, long)
	}
}
