package fail2ban

import (
	"reflect"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

func folder(files map[string]string) fstest.MapFS {
	m := fstest.MapFS{}
	for name, text := range files {
		m[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return m
}

// defaults are what each jail needs.
const defaults = "[DEFAULT]\nmaxretry = 5\nfindtime = 10m\nbantime = 10m\nfilter = %(__name__)s\n"

func TestReadJails(t *testing.T) {
	jails, problems, err := Read(folder(map[string]string{
		"jail.conf": "[INCLUDES]\nbefore = paths.conf\n" + defaults + `
ignoreip = 127.0.0.1/8 ::1
# A comment ; with a mark
[sshd]
port    = ssh   ; not 22
logpath = %(log)s
          /var/log/other.log tail
action  = %(ban)s
          sendmail[name="x"]
[shop]
filter = nginx-http-auth[mode=aggressive]
logpath: /var/log/nginx/error.log
`,
		"paths.conf":    "[DEFAULT]\nlog = /var/log/auth.log\nban = nftables[port=\"%(port)s\"]\n",
		"paths.local":   "[DEFAULT]\nlog = /srv/100%%/auth.log\n",
		"jail.d/b.conf": "[sshd]\nenabled = true\nmaxretry = 3\n[shop]\nenabled = yes\n",
		"jail.d/a.conf": "[sshd]\nmaxretry = 4\n",
		"jail.local": "[sshd]\nbantime = -1\n[shop]\nbantime = 1h 30m\n" +
			"bantime.increment = true\nbantime.maxtime = 2w\n",
		"jail.d/late.local": "[sshd]\nignoreip = %(known/ignoreip)s 192.0.2.1\n",
	}))
	if err != nil || len(problems) > 0 {
		t.Fatal(err, problems)
	}
	want := []Jail{{
		Name: "sshd", Filter: "sshd", Files: []string{"/srv/100%/auth.log", "/var/log/other.log"}, MaxRetry: 3,
		FindTime: 10 * time.Minute, BanTime: -1, IgnoreIP: []string{"127.0.0.1/8", "::1", "192.0.2.1"},
		Actions: []string{"sendmail"},
	}, {
		Name: "shop", Filter: "nginx-http-auth", Mode: "aggressive", Files: []string{"/var/log/nginx/error.log"},
		MaxRetry: 5, FindTime: 10 * time.Minute, BanTime: 90 * time.Minute, Escalate: true, Longest: 14 * day,
		IgnoreIP: []string{"127.0.0.1/8", "::1"},
	}}
	// The file paths.local is read after paths.conf: fail2ban reads a .local beside each included .conf.
	if !reflect.DeepEqual(jails, want) {
		t.Errorf("got  %+v\nwant %+v", jails, want)
	}
}

// One jail that cannot be read does not hide the others.
func TestProblems(t *testing.T) {
	jails, problems, err := Read(folder(map[string]string{"jail.local": defaults + `
[circle]
enabled = true
logpath = %(a)s
a = %(b)s
b = %(a)s
[missing]
enabled = true
logpath = %(nowhere)s
[never]
enabled = true
bantime = 10 parsecs
[zero]
enabled = true
maxretry = 0
[sum]
enabled = true
findtime = 5*60
[good]
enabled = true
logpath = /var/log/x
`}))
	if err != nil || len(jails) != 1 || jails[0].Name != "good" {
		t.Fatalf("jails %v, %v", jails, err)
	}
	for n, want := range []string{
		"logpath of [circle]: names are replaced more than 10 times",
		"logpath of [missing]: %(nowhere)s is not defined",
		`bantime of [never] is "10 parsecs"`, `maxretry of [zero] is "0"`, `findtime of [sum] is "5*60"`,
	} {
		if n >= len(problems) || !strings.HasPrefix(problems[n].Text, want) {
			t.Fatalf("problem %d of %v: want %q", n, problems, want)
		}
	}
}

func TestBadFiles(t *testing.T) {
	many := map[string]string{"jail.local": "[INCLUDES]\nbefore = 000.conf\n"}
	for n := range 300 {
		many[itoa(n)+".conf"] = "[INCLUDES]\nafter = " + itoa(n+1) + ".conf\n"
	}
	for want, files := range map[string]map[string]string{
		"the folder has no jail.conf":               {"other": ""},
		"read jail.local: line 2: want [section]":   {"jail.local": "[a]\nnonsense\n"},
		`line 1: "a = b" stands before the first`:   {"jail.local": "a = b\n"},
		"the file is larger than 1024 KiB":          {"jail.local": strings.Repeat("# comment\n", 120_000)},
		"includes /etc/passwd, which is outside of": {"jail.local": "[INCLUDES]\nbefore = /etc/passwd\n"},
		"more than 256 files are included":          many,
		"includes ../secret, which is outside of":   {"jail.local": "[INCLUDES]\nbefore = ../secret\n"},
	} {
		if _, _, err := Read(folder(files)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	// A file that includes itself is read once.
	if _, _, err := Read(folder(map[string]string{
		"jail.local": "[INCLUDES]\nbefore = jail.local\n[DEFAULT]\n"})); err != nil {
		t.Error(err)
	}
	// Values that name others twice each do not grow without a bound.
	text := defaults + "[a]\nenabled = true\nlogpath = %(v000)s\nv009 = " + strings.Repeat("x", 4096) + "\n"
	for n := range 9 {
		text += "v" + itoa(n) + " = " + strings.Repeat("%(v"+itoa(n+1)+")s", 8) + "\n"
	}
	_, problems, err := Read(folder(map[string]string{"jail.local": text}))
	if err != nil || len(problems) != 1 || !strings.Contains(problems[0].Text, "the value is longer than 64 KiB") {
		t.Errorf("a value that grows: %v, %v", problems, err)
	}
}

func itoa(n int) string {
	return string(rune('0'+n/100)) + string(rune('0'+n/10%10)) + string(rune('0'+n%10))
}

func TestDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"600": 10 * time.Minute, "10m": 10 * time.Minute, "1h30m": 90 * time.Minute, "1h 30min": 90 * time.Minute,
		"1 day": day, "2w": 14 * day, "1mo": year / 12, "1 year": year, "1.5h": 90 * time.Minute, "1H": time.Hour,
		"": 0, "m": 0, "10x": 0, "1h-5m": 0, "0": 0, "1e9y": 0, "99999999999y": 0, "...": 0,
	} {
		if got, err := duration(text); got != want || (err == nil) != (want > 0) {
			t.Errorf("%q: %s, %v; want %s", text, got, err, want)
		}
	}
}

func TestConvert(t *testing.T) {
	formats := []string{"sshd", "nginx-error", "gitea"}
	c := Convert([]Jail{
		{Name: "sshd", Filter: "sshd", Journal: true, MaxRetry: 5, FindTime: 10 * time.Minute, BanTime: -1,
			Escalate: true,
			IgnoreIP: []string{"127.0.0.1/8", "::1", "192.0.2.9/24", "192.0.2.7", "home.example"}},
		{Name: "shop", Filter: "nginx-http-auth", MaxRetry: 1, FindTime: 30 * day, BanTime: 90 * time.Second,
			Escalate: true,
			Files:    []string{"/a b: '\"", "relative", "/var/log/*/error.log"}, IgnoreIP: []string{"home.example"}},
		{Name: "git", Filter: "gitea", Journal: true, Units: []string{"gitea.service"}, MaxRetry: 2,
			FindTime: time.Minute,
			BanTime:  time.Hour, Actions: []string{"sendmail-whois"}, Mode: "aggressive"},
		{Name: "mail", Filter: "postfix", Mode: "rbl", MaxRetry: 1, Files: []string{"/x"}},
		{Name: "no unit", Filter: "sshd", MaxRetry: 1, Files: []string{"/x"}},
		{Name: "own", Filter: "my-own\nfilter", MaxRetry: 1},
		{Name: "silent", Filter: "gitea", MaxRetry: 1},
		{Name: "blind", Filter: "gitea", Journal: true, MaxRetry: 1},
	}, formats)
	var b strings.Builder
	if err := c.WriteYAML(&b, "shadow"); err != nil {
		t.Fatal(err)
	}
	want := `rules:
  - name: sshd
    limit: 4 # maxretry 5: event 5 bans
    window: 10m
    action: shadow
    for: 52w
  - name: shop
    limit: 0 # maxretry 1: event 1 bans
    window: 1w
    action: shadow
    for: 90s
    escalate: {factor: 2, max: 52w}
  - name: git
    limit: 1 # maxretry 2: event 2 bans
    window: 1m
    action: shadow
    for: 1h

logs:
  - name: sshd
    journal: {units: [ssh.service, sshd.service]}
    format: sshd
    rule: sshd
  - name: shop
    file: "/a b: '\""
    format: nginx-error
    rule: shop
  - name: shop-3
    file: /var/log/*/error.log
    format: nginx-error
    rule: shop
  - name: git
    journal: {units: [gitea.service]}
    format: gitea
    rule: git

# ignoreip: these addresses are left alone after
#   paraxialctl allow 192.0.2.0/24 --reason 'ignoreip of fail2ban'
#   paraxialctl allow 192.0.2.7/32 --reason 'ignoreip of fail2ban'

# Not converted:
#   sshd: bans without an end become bans of 364 days, which begin again with the next event
#   ignoreip home.example is no address or prefix: names are never resolved
#   shop: logpath relative is not an absolute path
#   shop: findtime is longer than 7 days, the longest window
#   git: action sendmail-whois: only bans are converted; ` + "`paraxialctl watch`" + ` and the metrics tell of bans
#   git: mode=aggressive: a format has one mode, which counts failures that name the address
#   mail: mode=rbl of the filter postfix counts other lines than the format postfix
#   no unit: the name cannot be that of a rule: give the jail a name of letters, digits, '.', '_' and '-'
#   own: the filter my-own\nfilter has no format: write ` + "`patterns`" + ` of your own, and try them with ` +
		"`paraxialctl match --pattern`" + `
#   silent: it has no logpath
#   blind: the unit in the journal is not known: write the log with ` + "`journal: {units: [NAME.service]}`" + `
`
	if got := b.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(defaults + "[a]\nenabled = true\nlogpath = /x\n y\nport=%(a)s%%\n")
	f.Add("[INCLUDES]\nbefore = a\n b\n")
	f.Fuzz(func(t *testing.T, text string) {
		jails, problems, err := Read(folder(map[string]string{"jail.local": text}))
		if err != nil {
			return
		}
		c := Convert(jails, []string{"a"})
		c.Problems = append(c.Problems, problems...)
		var b strings.Builder
		if err := c.WriteYAML(&b, "shadow"); err != nil {
			t.Fatal(err)
		}
		comments := false
		for line := range strings.Lines(b.String()) {
			if comments = comments || strings.HasPrefix(line, "#"); comments && line != "\n" && line[0] != '#' {
				t.Errorf("a line behind the comments is none: %q", line)
			}
		}
	})
}
