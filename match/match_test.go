package match

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// In the tests the client is 198.51.100.20, and it names the stranger 203.0.113.77.
const (
	client   = "198.51.100.20"
	stranger = "203.0.113.77"
)

// sample is a line, and what is read in it: an address that is held, or a kind.
type sample struct{ format, line, want string }

func samples() []sample {
	const sys = "Nov 29 08:00:01 web1 "
	const ngx = "2026/11/29 08:00:01 [error] 7#7: *31 "
	const tail = ", client: 198.51.100.20, server: _, request: \"GET /a HTTP/1.1\", host: \"a\""
	return []sample{
		{"sshd", sys + "sshd[7]: Failed password for root from 198.51.100.20 port 40000 ssh2", client},
		{"sshd", sys + "sshd-session[7]: Failed password for root from 198.51.100.20 port 40000 ssh2", client},
		{"sshd", "<38>" + sys + "sshd[7]: Invalid user  from 198.51.100.20 port 40000", client},
		{"sshd", "2026-11-29T08:00:01.1+01:00 web1 sshd[7]: error: PAM: Permission denied for bob from 2001:db8::20",
			"2001:db8::20"},
		{"sshd", sys + "sshd[7]: message repeated 3 times: [ Failed password for bob from 198.51.100.20 port 9 ssh2]",
			client},
		{"sshd", sys + "sshd[7]: Connection closed by 198.51.100.20 port 40000 [preauth]", client},
		{"sshd", sys + "sshd[7]: Connection closed by 198.51.100.20 port 40000", "unread"},
		{"sshd", sys + "sshd[7]: Accepted publickey for bob from 198.51.100.20 port 4 ssh2: ED25519 SHA256:x",
			"success"},
		{"sshd", sys + "sshd[7]: Failed publickey for bob from 198.51.100.20 port 4 ssh2: ED25519 SHA256:x", "other"},
		{"sshd", sys + "sshd[7]: Failed password for bob from gw.example.net port 40000 ssh2", "no_address"},
		{"sshd", sys + "cron[7]: sshd[8]: Failed password for bob from 198.51.100.20 port 4 ssh2", "unread"},
		{"sshd", sys + "sshd[7]: Failed password for bob from 198.51.100.200 port 4 ssh2", "198.51.100.200"},
		{"sshd", sys + "sshd[7]: Failed password for bob from 198.51.100.2000 port 4 ssh2", "unread"},
		{"sshd", sys + "sshd[7]: Failed password for " + strings.Repeat("a", cutAt) + " from 203.0.113.77 port 4",
			"too_long"},
		{"dropbear", sys + "dropbear[7]: Bad password attempt for 'x' from 203.0.113.77:1' from 198.51.100.20:4",
			client},
		{"nginx-access", client + ` - - [29/Nov/2026:08:00:01 +0000] "GET /x?y HTTP/1.1" 404 9 "-" "a"`, client},
		{"nginx-access", client + ` - - [29/Nov/2026:08:00:01 +0000] "GET / HTTP/1.1" 200 9 "-" "a"`, "other"},
		{"nginx-access", client + ` - - [29/Nov/2026:08:00:01 +0000] "GET / HTTP/1.1" 499 9 "-" "a"`, "other"},
		{"apache-access", `a.example:80 198.51.100.20 - - [29/Nov/2026:08:00:01 +0000] "GET / HTTP/1.1" 403 9`, client},
		{"apache-access", `gw.example - - [29/Nov/2026:08:00:01 +0000] "GET / HTTP/1.1" 403 9`, "no_address"},
		{"traefik-clf", client + ` - - [29/Nov/2026:08:00:01 +0000] "GET / HTTP/1.1" 401 9 "-" "a"`, "other"},
		{"nginx-json", `{"remote_addr":"198.51.100.20","status":"403","uri":"/\u0022"}`, client},
		{"nginx-json", `{"remote_addr":"198.51.100.20","uri":"/","remote_addr":"203.0.113.77","status":403}`,
			"ambiguous"},
		{"nginx-json", `{"remote_addr":"198.51.100.20","status":200}`, "other"},
		{"nginx-json", `{"remote_addr":"198.51.100.20","status":403`, "unread"},
		{"json", `{"level":"warn","ip":"[2001:db8::20]:443","msg":"bad login"}`, "2001:db8::20"},
		{"nginx-error", ngx + `user "bob": password mismatch` + tail, client},
		{"nginx-error", ngx + `open() "/a" failed (2: No such file or directory)` + tail, client},
		{"nginx-error", ngx +
			`open() "/a" failed (2: No such file or directory), client: 203.0.113.77, server: b" failed` +
			` (2: No such file or directory)` + tail, "ambiguous"},
		{"nginx-error", ngx + `open() "/` + strings.Repeat("a", 2000) + `" failed (2: No such file)` + tail,
			"too_long"},
		{"apache-error", "[Sun Nov 29 08:00:01.5 2026] [auth_basic:error] [pid 7:tid 8] [client 198.51.100.20:5] " +
			"AH01617: user bob: authentication failure for \"/\": Password Mismatch", client},
		{"haproxy", sys + "haproxy[7]: 2001:db8::20:4711 [29/Nov/2026:08:00:01.000] f b/s 0/0/0/1/1 403 9 - - ---- " +
			"1/1/0/0/0 0/0 \"GET / HTTP/1.1\"", "2001:db8::20"},
		{"dovecot", sys + "dovecot: imap-login: Disconnected (auth failed, 2 attempts in 4 secs): user=<a>, " +
			"method=PLAIN, rip=203.0.113.77, lip=192.0.2.1, session=<x>, " +
			"method=PLAIN, rip=198.51.100.20, lip=192.0.2.1, session=<y>", client},
		{"postfix", sys + "postfix/smtpd[7]: warning: a.example[198.51.100.20]: SASL PLAIN authentication failed: " +
			"from b.example[203.0.113.77]: x", client},
		{"exim", "2026-11-29 08:00:01 plain authenticator failed for (a) [198.51.100.20]: " +
			"535 Incorrect authentication data", client},
		{"mariadb", "2026-11-29  8:00:01 7 [Warning] Access denied for user 'a'@'203.0.113.77' " +
			"(using password: NO)'@'" + client + "' (using password: YES)", client},
		{"postgresql", `2026-11-29 08:00:01.123 UTC [7] 198.51.100.20(40000) a@b FATAL:  password authentication ` +
			`failed for user "a"`, client},
		{"vaultwarden", "[2026-11-29 08:00:01.123][vaultwarden::api::identity][ERROR] Username or password is " +
			"incorrect. Try again. IP: 198.51.100.20. Username: a@example.com.", client},
		{"nextcloud", `{"remoteAddr":"198.51.100.20","app":"core","message":"Login failed: a ` +
			`(Remote IP: 203.0.113.77)"}`, client},
		{"gitea", "2026/11/29 08:00:01 auth.go:209:SignInPost() [W] Failed authentication attempt for a from " +
			"198.51.100.20:40000: user does not exist [uid: 0]", client},
		{"gitea", "2026/11/29 08:00:01 auth.go:209:SignInPost() [W] Failed authentication attempt for a from " +
			"203.0.113.77:1: x from 198.51.100.20:40000: user does not exist [uid: 0]", "ambiguous"},
		{"grafana", `logger=context t=2026-11-29 level=error msg="Invalid username or password" uname="a remote_addr=` +
			stranger + `" remote_addr=198.51.100.20`, client},
		{"home-assistant", "2026-11-29 08:00:01.123 WARNING (MainThread) [homeassistant.components.http.ban] " +
			"Login attempt or request with invalid authentication from a.example (198.51.100.20). " +
			"Requested URL: '/'. (x)", client},
		{"asterisk", "[Nov 29 08:00:01] NOTICE[7] chan_sip.c: Registration from '<sip:1@a>' failed for " +
			"'198.51.100.20:5060' - Wrong password", client},
		{"openvpn", "2026-11-29 08:00:01 198.51.100.20:4711 TLS Auth Error: Auth Username/Password verification failed",
			client},
		{"openvpn", "2026-11-29 08:00:01 198.51.100.20:4711 TLS Error: TLS handshake failed", "unread"},
	}
}

func (r Result) text() string {
	if a := r.Held(); a.IsValid() {
		return a.String()
	}
	return r.Kind.String()
}

func TestMatch(t *testing.T) {
	for _, s := range samples() {
		f, err := New(s.format)
		if err != nil {
			t.Fatal(err)
		}
		if got := f.Match([]byte(s.line)); got.text() != s.want {
			t.Errorf("%s: got %s, want %s\n%s", s.format, got.text(), s.want, s.line)
		}
	}
}

func TestPatterns(t *testing.T) {
	for _, tt := range []struct{ pattern, line, want string }{
		{"login failed for <user:[^:]*> from <addr>", "login failed for a from 198.51.100.20", client},
		{"login failed for <user:[^:]*> from <addr>", "login failed for a from 203.0.113.77 from 198.51.100.20",
			client},
		{"login failed for <user:[^:]*> from <addr>", "login failed for a:b from 198.51.100.20", "unread"},
		{"from <addr> for <user>", "from 198.51.100.20 for from 203.0.113.77 for a", client},
		{"<x> from <addr> <y>", "a from 198.51.100.20 from 203.0.113.77 b", "ambiguous"},
		{"<x> from <addr> <y>", "a from gw.example from 203.0.113.77 b", "ambiguous"},
		{"<x> from <addr> <y>", "a from 198.51.100.20 from 198.51.100.20 b", client},
		{`\<<addr>\>`, "<198.51.100.20>", client},
		{`a <n:\d+> <addr>`, "a 12 198.51.100.20", client},
		{`a <n:\d+> <addr>`, "a  198.51.100.20", "unread"},
	} {
		f, err := Patterns([]string{tt.pattern}, "")
		if err != nil {
			t.Fatal(err)
		}
		if got := f.Match([]byte(tt.line)).text(); got != tt.want {
			t.Errorf("%s: %s: got %s, want %s", tt.pattern, tt.line, got, tt.want)
		}
	}
	for _, bad := range []string{"", "x", "<addr> <addr>", "<a><addr>", "<a><b> <addr>", "<a:[b]> <addr>", "<addr",
		"<a:[z-a]*> <addr>",
		"<A> <addr>", "<a:x*> <addr>", strings.Repeat("a<b>", 40) + "a<addr>"} {
		if _, err := Patterns([]string{bad}, ""); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

// TestHostileTime: a line that fits in very many ways takes time in proportion to its length. With
// backtracking over nine fields, twice the length would take 500 times as long.
func TestHostileTime(t *testing.T) {
	f, err := Patterns([]string{"<a> <b> <c> <d> <e> from <addr> <f> <g> <h> <i> "}, "")
	if err != nil {
		t.Fatal(err)
	}
	fastest := func(length int) time.Duration {
		line := []byte(strings.Repeat("from 198.51.100.20 a ", length/21))
		best := time.Duration(1<<63 - 1)
		for range 5 {
			start := time.Now()
			f.Match(line)
			best = min(best, time.Since(start))
		}
		return best
	}
	half, whole := fastest(Longest/2), fastest(Longest)
	if whole > 32*half {
		t.Errorf("a line of %d bytes took %v, half of it %v", Longest, whole, half)
	}
	t.Logf("%v for %d bytes, %v for half of them", whole, Longest, half)
}

// FuzzStranger: whatever a client writes in the name of a user, a path or a header, the lines of
// servers are held against the client or nobody. The lines are written as the servers do.
func FuzzStranger(f *testing.F) {
	for _, s := range []string{"a", stranger, "a from " + stranger + " port 22", "a " + stranger + " port 22 [preauth]",
		"a>, method=PLAIN, rip=" + stranger + ", lip=192.0.2.1, session=<x", `a","remote_addr":"` + stranger,
		`x" failed (2: No such file), client: ` + stranger + ", server: a",
		"a'@'" + stranger + "' (using password: NO)",
		"a) [" + stranger + "]: 535 Incorrect authentication data (b"} {
		f.Add(s)
	}
	formats := map[string]*Format{}
	for _, name := range Names() {
		formats[name], _ = New(name)
	}
	f.Fuzz(func(t *testing.T, text string) {
		text = strings.Map(func(r rune) rune {
			if r < ' ' || r == 0x7f {
				return -1
			}
			return r
		}, strings.ReplaceAll(text, client, ""))
		for _, l := range hostile(text) {
			got := formats[l.format].Match([]byte(l.line))
			if a := got.Held(); a.IsValid() && a != netip.MustParseAddr(client) {
				t.Errorf("%s is held for %s: %s", a, l.format, l.line)
			}
		}
	})
}

// TestStranger: a client composes names of the literals of the format's own patterns and of
// addresses of a stranger. None of these lines is held against the stranger.
func TestStranger(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	words := map[string][]string{}
	for _, d := range definitions() {
		words[d.name] = []string{stranger, stranger, "a", " ", stranger + ":22", "[" + stranger + "]"}
		for _, text := range slices.Concat(d.failure, d.success, d.other) {
			p, err := parsePattern(expand(text)[0], Failure)
			if err != nil {
				t.Fatal(err)
			}
			for i, e := range append(slices.Clone(p.left), p.right...) {
				words[d.name] = append(words[d.name], e.literal)
				if i == len(p.left)-1 {
					words[d.name] = append(words[d.name], e.literal+stranger)
				}
			}
		}
	}
	formats := map[string]*Format{}
	held, nobody := 0, 0
	for range 4000 {
		for i, l := range hostile("") {
			f := formats[l.format]
			if f == nil {
				f, _ = New(l.format)
				formats[l.format] = f
			}
			var text strings.Builder
			for range 1 + random.IntN(8) {
				text.WriteString(words[l.format][random.IntN(len(words[l.format]))])
			}
			line := hostile(text.String())[i].line
			switch a := f.Match([]byte(line)).Held(); {
			case !a.IsValid():
				nobody++
			case a != netip.MustParseAddr(client):
				t.Fatalf("%s is held for %s: %s", a, l.format, line)
			default:
				held++
			}
		}
	}
	t.Logf("held against the client %d, against nobody %d", held, nobody)
	if held < nobody/4 {
		t.Errorf("held against the client %d, against nobody %d: the lines test too little", held, nobody)
	}
}

// hostile returns lines of servers with text of a client in them.
func hostile(text string) []sample {
	name, _, _ := strings.Cut(text, ":") // sshd and Basic authentication
	if len(name) > 100 {
		name = name[:100]
	}
	const sys = "Nov 29 08:00:01 web1 "
	const ngx = "2026/11/29 08:00:01 [error] 7#7: *31 "
	end := ", client: 198.51.100.20, server: _, request: \"GET " + text + " HTTP/1.1\", host: \"a\"" +
		", referrer: \"" + text + "\""
	escaped := strings.NewReplacer(`\`, `\x5C`, `"`, `\x22`).Replace(text)
	lines := []sample{
		{"sshd", sys + "sshd[7]: Invalid user " + name + " from 198.51.100.20 port 40000", ""},
		{"sshd", sys + "sshd[7]: Failed password for invalid user " + name + " from 198.51.100.20 port 40000 ssh2", ""},
		{"sshd", sys + "sshd[7]: Failed publickey for " + name + " from 198.51.100.20 port 4 ssh2: RSA SHA256:x", ""},
		{"sshd", sys + "sshd[7]: Connection closed by invalid user " + name + " 198.51.100.20 port 40000 [preauth]",
			""},
		{"sshd", sys + "sshd[7]: Disconnecting invalid user " + name +
			" 198.51.100.20 port 40000: Too many authentication failures [preauth]", ""},
		{"sshd", sys + "sshd[7]: User " + name + " from 198.51.100.20 not allowed because not listed in AllowUsers",
			""},
		{"sshd", sys + "sshd[7]: Received disconnect from 198.51.100.20 port 40000:11: " + text + " [preauth]", ""},
		{"sshd", sys + "sshd[7]: Bad protocol version identification '" + text + "' from 198.51.100.20 port 40000", ""},
		{"sshd", sys + "sshd[7]: error: PAM: Authentication failure for illegal user " + name + " from 198.51.100.20",
			""},
		{"sshd", sys + "sshd[7]: pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= " +
			"rhost=198.51.100.20  user=" + text, ""},
		{"nginx-error", ngx + `user "` + name + `": password mismatch` + end, ""},
		{"nginx-error", ngx + `user "` + name + `" was not found in "/etc/htpasswd"` + end, ""},
		{"nginx-error", ngx + `open() "/srv` + text + `" failed (2: No such file or directory)` + end, ""},
		{"dovecot", sys + "dovecot: imap-login: Disconnected (auth failed, 1 attempts in 2 secs): user=<" + text +
			">, method=PLAIN, rip=198.51.100.20, lip=192.0.2.1, TLS, session=<abc>", ""},
		{"dovecot", sys + "dovecot: auth-worker(7): pam(" + text + ",198.51.100.20): unknown user", ""},
		{"postfix", sys + "postfix/smtpd[7]: NOQUEUE: reject: RCPT from a.example[198.51.100.20]: 554 5.7.1 <" + text +
			">: Relay access denied; from=<" + text + "> to=<" + text + "> proto=ESMTP helo=<" + text + ">", ""},
		{"exim", "2026-11-29 08:00:01 login authenticator failed for (" + text +
			") [198.51.100.20]: 535 Incorrect authentication data (set_id=" + text + ")", ""},
		{"mariadb", "2026-11-29  8:00:01 7 [Warning] Access denied for user '" + text +
			"'@'198.51.100.20' (using password: YES)", ""},
		{"vsftpd", "Sun Nov 29 08:00:01 2026 [pid 7] [" + text + `] FAIL LOGIN: Client "198.51.100.20"`, ""},
		{"gitea", "2026/11/29 08:00:01 [W] Failed authentication attempt for " + text +
			" from 198.51.100.20:1: not found " + text, ""},
		{"vaultwarden", "[2026-11-29 08:00:01.123][vaultwarden::api::identity][ERROR] Username or password is " +
			"incorrect. Try again. IP: 198.51.100.20. Username: " + text + ".", ""},
		{"asterisk", "[Nov 29 08:00:01] NOTICE[7] chan_sip.c: Registration from '" + text +
			"' failed for '198.51.100.20:5060' - Wrong password", ""},
		{"dropbear", sys + "dropbear[7]: Bad password attempt for '" + text + "' from 198.51.100.20:4", ""},
		{"postgresql", "2026-11-29 08:00:01.123 UTC [7] 198.51.100.20(40000) " + text + "@" + text +
			" FATAL:  password authentication failed for user \"" + text + `"`, ""},
	}
	for _, f := range []string{"nginx-access", "apache-access", "traefik-clf"} {
		lines = append(lines, sample{f, client + " - " + escaped + ` [29/Nov/2026:08:00:01 +0000] "GET ` + escaped +
			` HTTP/1.1" 401 9 "` + escaped + `" "` + escaped + `"`, ""})
	}
	// An operator who forgot to have JSON escaped.
	return append(lines,
		sample{"nginx-json", `{"remote_addr":"198.51.100.20","uri":"` + text + `","status":"404"}`, ""})
}

func BenchmarkSSHD(b *testing.B) {
	benchmark(b, "sshd", func(i int) string {
		texts := []string{"Failed password for invalid user u%d from 198.51.%d.20 port 40000 ssh2",
			"Invalid user u%d from 198.51.%d.20 port 40000",
			"Connection closed by invalid user u%d 198.51.%d.20 port 40000 [preauth]",
			"Received disconnect from 198.51.1%[2]d.20 port 40000:11: Bye Bye %[1]d [preauth]"}
		return "Nov 29 08:00:01 web1 sshd[7]: " + fmt.Sprintf(texts[i%len(texts)], i, i%100)
	})
}

func BenchmarkNginx(b *testing.B) {
	benchmark(b, "nginx-access", func(i int) string {
		return fmt.Sprintf(`198.51.100.%d - - [29/Nov/2026:08:00:01 +0000] "GET /a/%d?b=c HTTP/1.1" 404 153 `+
			`"https://www.example.com/" "Mozilla/5.0 (X11; Linux x86_64; rv:57.0) Gecko/20100101 Firefox/57.0"`,
			i%256, i)
	})
}

func benchmark(b *testing.B, format string, line func(int) string) {
	f, err := New(format)
	if err != nil {
		b.Fatal(err)
	}
	var lines [][]byte
	for i := range 1000 {
		lines = append(lines, bytes.Clone([]byte(line(i))))
	}
	n := 0
	for b.Loop() {
		if f.Match(lines[n%len(lines)]).Kind != Failure {
			b.Fatalf("not read: %s", lines[n%len(lines)])
		}
		n++
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "lines/s")
}
