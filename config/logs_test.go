package config

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLogs(t *testing.T) {
	c, err := Parse("f", []byte(`
logs:
  - name: sshd
    journal: {units: [ssh.service, sshd.service], users: [root, "1000"]}
    format: sshd
    rule: login
  - name: web
    syslog: {socket: /run/x.sock, users: [www-data]}
    format: nginx-access
    match: {method: [POST], path: [/users/log_in, '**.php'], status: [401, 403],
      host: ['*.example.com'], agent: ['**bot**']}
    rule: login
  - name: own
    file: /var/log/app/*.log
    time: rfc3339
    rule: login
    patterns:
      - {text: 'login failed for <user:[^:]*> from <addr>'}
      - {text: 'probe from <addr>', rule: scan}
    samples:
      - {line: '2026-01-01T00:00:00Z login failed for a from 198.51.100.9', offender: 198.51.100.9}
      - {line: '2026-01-01T00:00:00Z login failed for a from 198.51.100.9 from 203.0.113.5', offender: 203.0.113.5}
      - {line: '2026-01-01T00:00:00Z probe from 2001:db8::1', offender: '2001:DB8::1'}
      - {line: 'login failed for a from 198.51.100.9', offender: none}
`))
	if err != nil {
		t.Fatal(err)
	}
	users := DefaultLog()
	want := []LogSource{
		{Name: "sshd", Journal: Journal{[]string{"ssh.service", "sshd.service"}, []string{"root", "1000"}},
			Syslog: users.Syslog, Format: "sshd", Rule: "login"},
		{Name: "web", Syslog: Syslog{"/run/x.sock", []string{"www-data"}}, Journal: users.Journal,
			Format: "nginx-access", Rule: "login", Match: LogMatch{
				Method: []string{"POST"}, Path: []string{"/users/log_in", "**.php"}, Status: []int{401, 403},
				Host: []string{"*.example.com"}, Agent: []string{"**bot**"}}},
	}
	if diff := cmp.Diff(want, c.Logs[:2]); diff != "" {
		t.Errorf("logs (-want +got):\n%s", diff)
	}
	r, err := c.Logs[2].Reader()
	if err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]string{
		"2026-01-01T00:00:00Z login failed for a from 198.51.100.9": "login",
		"2026-01-01T00:00:00Z probe from 198.51.100.9":              "scan",
	} {
		if a, m := r.Read([]byte(line)); a.String() != "198.51.100.9" || r.Rule(m) != want {
			t.Errorf("%s: %s, rule %s", line, a, r.Rule(m))
		}
	}
	if list := c.Reporters(); len(list) != 1 || list[0].Name != "logs" || list[0].User != "paraxial-logs" ||
		!list[0].MayReport("any") || list[0].MayPut("x") {
		t.Errorf("reporters %+v", list)
	}
}

// TestRequests: with match, requests count whatever their status.
func TestRequests(t *testing.T) {
	const line = `198.51.100.9 - - [28/Nov/2026:10:00:00 +0000] "POST /users/log_in?x=1 HTTP/1.1" %d 5 "-" "-"`
	for _, tt := range []struct {
		match string
		held  map[int]bool
	}{
		{"{}", map[int]bool{200: false, 302: false, 404: true, 499: false}},
		{"{path: [/users/log_in]}", map[int]bool{200: true, 404: true, 499: true}},
		{"{path: [/users/log_in], status: [403]}", map[int]bool{200: false, 403: true, 404: false}},
		{"{path: [/users]}", map[int]bool{200: false, 404: false}},
	} {
		c, err := Parse("f", []byte("logs: [{name: x, file: /x, format: nginx-access, rule: y, match: "+tt.match+"}]"))
		if err != nil {
			t.Fatal(err)
		}
		r, err := c.Logs[0].Reader()
		if err != nil {
			t.Fatal(err)
		}
		for status, want := range tt.held {
			if a, _ := r.Read(fmt.Appendf(nil, line, status)); a.IsValid() != want {
				t.Errorf("%s: a request with %d counts: %t", tt.match, status, a.IsValid())
			}
		}
	}
}

func TestLogErrors(t *testing.T) {
	for _, tt := range []struct{ log, want string }{
		{"{}", "a log has no name"},
		{"{name: x}", `"x" needs one of file, journal: {units: […]} and syslog: {socket: …}`},
		{"{name: x, file: /x, syslog: {socket: /y}, format: sshd, rule: y}", `"x" needs one of file`},
		{"{name: x, file: x}", `logs.file: "x" is not an absolute path`},
		{"{name: x, file: '/x[', format: sshd, rule: y}", "logs.file: syntax error in pattern"},
		{"{name: x, file: /x}", `"x" needs a format or patterns, and not both`},
		{"{name: x, file: /x, format: sshd}", `"x" has no rule`},
		{"{name: x, file: /x, format: ssh}", `logs.format: format "ssh" is not known; want one of apache-access`},
		{"{name: x, file: /x, format: sshd, rule: y, time: rfc3339}", `"x" has a time, which is for patterns`},
		{"{name: x, file: /x, rule: y, time: iso, patterns: [{text: '<addr>'}]}", `logs.time: time "iso" is not known`},
		{"{name: x, file: /x, format: sshd, rule: y, match: {path: [/x]}}", `"x": match is for access logs`},
		{"{name: x, file: /x, format: nginx-access, rule: y, match: {path: [x]}}", `logs.match.path: path "x": want`},
		{"{name: x, file: /x, format: nginx-access, rule: y, match: {status: [99]}}",
			"logs.match.status: got 99; want"},
		{"{name: x, file: /x, format: nginx-access, rule: y, match: {method: [post]}}", `"post" cannot be a method`},
		{"{name: x, journal: {units: [ssh]}, format: sshd, rule: y}", `"ssh" cannot be a unit; want its full name`},
		{"{name: x, journal: {units: ['*.service']}, format: sshd, rule: y}", "cannot be a unit"},
		{"{name: x, journal: {units: [a.service], users: []}, format: sshd, rule: y}", `"x" has no users`},
		{"{name: x, file: /x, rule: y, patterns: [{text: 'from <user>'}]}",
			"logs.patterns: pattern \"from <user>\": <addr> is"},
		{"{name: x, file: /x, patterns: [{text: '<addr>'}]}", `"x" has no rule`},
		{"{name: x, file: /x, rule: y, patterns: [{text: '<addr>'}], samples: [{line: '198.51.100.9', " +
			"offender: none}]}",
			`"x": the sample "198.51.100.9" is held against 198.51.100.9, not none: change the patterns or the sample`},
		{"{name: x, file: /x, rule: y, patterns: [{text: '<addr>'}], samples: [{line: 'a'}]}",
			"a sample has no offender"},
		{"{name: x, file: /x, rule: y, patterns: [{text: '<addr>'}], samples: [{line: a, offender: b}]}",
			`"b" is not an address; want one, or none`},
		{"{name: x, file: /x, format: sshd, rule: y}, {name: x, file: /y, format: sshd, rule: y}",
			`"x" is listed twice`},
		{"{name: x, syslog: {socket: /s}, format: sshd, rule: y}, {name: y, syslog: {socket: /s}, " +
			"format: sshd, rule: y}",
			`"y" has the socket of another log`},
		{"{name: x, file: /x, format: sshd, rule: y}" + manyLogs(MaxLogs), "more than 64"},
		{"{name: x, file: /x, rule: y, patterns: [" + strings.Repeat("{text: '<addr>'}, ", maxLogPatterns+1) + "]}",
			"more than 64 patterns"},
	} {
		_, err := Parse("f", []byte("logs: ["+tt.log+"]"))
		if got := fmt.Sprint(err); !strings.Contains(got, tt.want) || !strings.HasPrefix(got, "f:1:") {
			t.Errorf("%.200s\ngot  %s\nwant %s", tt.log, got, tt.want)
		}
	}
}

func manyLogs(n int) (text string) {
	for i := range n {
		text += fmt.Sprintf(", {name: x%d, file: /x, format: sshd, rule: y}", i)
	}
	return text
}
