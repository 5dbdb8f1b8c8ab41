package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestUsage: a mistake in the arguments exits with 2 and a hint on standard
// error, prints nothing else, and sends nothing.
func TestUsage(t *testing.T) {
	f := &fake{}
	socket := serve(t, f)
	for _, tt := range misuses() {
		t.Run(tt.args, func(t *testing.T) {
			got := invoke(t.Context(), socket, "", split(tt.args)...)
			if got.Code != exitUsage || got.Stdout != "" || !strings.Contains(got.Stderr, tt.says) ||
				!strings.Contains(got.Stderr, tt.hint) {
				t.Errorf("got %+v\nwant %q and %q", got, tt.says, tt.hint)
			}
			if len(f.asked) > 0 {
				t.Errorf("sent %v", f.asked)
			}
		})
	}
}

// misused is a command line with a mistake, and parts of the message and hint.
type misused struct{ args, says, hint string }

func misuses() []misused {
	return []misused{
		{"", "no command given", "See `paraxialctl --help`."},
		{"blokc 192.0.2.1", `unknown command "blokc"; did you mean "block"?`, "See `paraxialctl --help`."},
		{"frobnicate", `unknown command "frobnicate"` + "\n", "See `paraxialctl --help`."},
		{"help blokc", `unknown command "blokc"; did you mean "block"?`, "See"},
		{"block", "block needs an address or prefix",
			"Usage: paraxialctl block PREFIX... [FLAGS]\nSee `paraxialctl block --help`."},
		{"block help", `"help" is not an IPv4 or IPv6 address`, "Usage"},
		{"block 192.0.2.1/33", "from 0 to 32", "Usage"},
		{"block fe80::1%eth0", "has a zone", "Usage"},
		{"block -1.2.3.4", "unknown flag -1.2.3.4", "Usage"},
		{"block -- -1", `"-1" is not an IPv4 or IPv6 address`, "Usage"},
		{"block 192.0.2.1 --for -1h", "--for: duration \"-1h\": must be positive", "Usage"},
		{"block 192.0.2.1 --for 10000w", "use forever", "Usage"},
		{"block 192.0.2.1 --for", "--for needs a value", "Usage"},
		{"block 192.0.2.1 --for=", "--for: duration", "Usage"},
		{"block 192.0.2.1 --fro 1h", "unknown flag --fro; did you mean --for?", "Usage"},
		{"block 192.0.2.1 --limit fast", "--limit: rate \"fast\": want packets a second", "Usage"},
		{"block 192.0.2.1 --limit 0/s", "must be positive", "Usage"},
		{"block 192.0.2.1 --limit=", "--limit: rate", "Usage"},
		{"block 192.0.2.1 --limit 1/s --shadow", "--limit and --shadow exclude each other", "Usage"},
		{"promote", "promote needs an address or prefix", "Usage: paraxialctl promote PREFIX... [FLAGS]"},
		{"promote 192.0.2.1 --origin a/b", "want a name of letters", "Usage"},
		{"promote 192.0.2.1 --all", "unknown flag --all", "Usage"},
		{"block 192.0.2.1 --confirm forever", "nothing to confirm", "Usage"},
		{"block 192.0.2.1 --shadow=maybe", `invalid boolean value "maybe"`, "Usage"},
		{"block 192.0.2.1 --reason \x1b[2J", "control or invalid character", "Usage"},
		{"unblock 192.0.2.1 --all --origin x", "exclude each other", "Usage"},
		{"unblock 192.0.2.1 --origin a/b", "want a name of letters", "Usage"},
		{"list drops", `"drops": want blocks or allows`, "Usage: paraxialctl list [blocks|allows] [FLAGS]"},
		{"list blocks allows", "takes one argument", "Usage"},
		{"doctor --stict", "unknown flag --stict; did you mean --strict?",
			"Usage: paraxialctl doctor [IFACE...] [FLAGS]"},
		{"status now", `status takes no argument, got "now"`, "Usage: paraxialctl status [FLAGS]\n"},
		{"feeds accept", "needs the name of a feed", "Usage: paraxialctl feeds"},
		{"feeds drop x", "drop is no command for a feed; want refresh, accept", "Usage"},
		{"feeds accept x 5", "takes no further argument: 5", "Usage"},
		{"feeds diff x y", "y is no generation", "Usage"},
		{"feeds diff x 0", "0 is no generation", "Usage"},
		{"origins x", "takes no argument", "Usage"},
		{"status -o yaml", "-o yaml: want table or json", "See"},
		{"status -o", "-o needs a value", "Usage"},
		{"why", "takes one address", "Usage: paraxialctl why IP\n"},
		{"why 192.0.2.0/24", "want one address, not a prefix", "Usage"},
		{"why 192.0.2.1 192.0.2.2", "takes one address, got 2", "Usage"},
		{"confirm a b", "takes one ID", "Usage"},
		{"import - --kind drop", `--kind: want block or allow, got "drop"`, "Usage"},
		{"import - --kind allow --shadow", "--kind allow excludes --shadow, --limit and --replies", "Usage"},
		{"import - --kind allow --limit 1/s", "--kind allow excludes --shadow, --limit and --replies", "Usage"},
		{"import - --shadow --limit 1/s", "--limit and --shadow exclude each other", "Usage"},
		{"import - --limit fast", "--limit: rate", "Usage"},
		{"import", "takes one file", "Usage"},
		{"import cli.txt", `"cli" holds the entries of paraxialctl block`, "Usage"},
		{"import - --origin cli", `"cli" holds the entries of paraxialctl block`, "Usage"},
		{"import - --origin feed:x", "reserved", "Usage"},
		{"import /dev/fd/63", "name it with --origin", "Usage"},
		{"import .txt", "name it with --origin", "Usage"},
		{"detectors all", `detectors takes no argument, got "all"`, "Usage: paraxialctl detectors\n"},
		{"top 5", `top takes no argument, got "5"`, "Usage: paraxialctl top [FLAGS]"},
		{"top --interval 5", `--interval "5": want a time from 100ms to 1h`, "Usage"},
		{"top --interval 99ms", "want a time from 100ms to 1h", "Usage"},
		{"top --interval 2h", "want a time from 100ms to 1h", "Usage"},
		{"top --limit 0", "--limit 0: want at least 1", "Usage"},
		{"top --sort rate", "want one of share, packets, bytes", "Usage"},
		{"completion tcsh", "one of bash, zsh and fish", "Usage"},
		{"realip", "realip needs --peer", "Usage: paraxialctl realip [HEADER...] [FLAGS]"},
		{"realip --peer 192.0.2.0/24", "--peer: \"192.0.2.0/24\" is not an IPv4 or IPv6 address", "Usage"},
		{"realip --peer ::1 --proxies x", "--proxies: \"x\" is not an IPv4 or IPv6 address", "Usage"},
		{"realip --peer ::1 198.51.100.9", `"198.51.100.9": want a header such as`, "Usage"},
		{"match", "match needs a format: one of apache-access, ", "Usage: paraxialctl match FORMAT [FILE|-] [FLAGS]"},
		{"match shsd", `format "shsd" is not known`, "Usage"},
		{"match sshd a b", "match takes one file, got 2", "Usage"},
		{"match - --pattern x", "<addr> is missing", "Usage"},
		{"tops", `unknown command "tops"; did you mean "top"?`, "See"},
	}
}

func TestUnreachable(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "none")
	for _, args := range []string{"status", "stats", "block 192.0.2.1", "block 192.0.2.1 --dry-run", "promote ::1",
		"unblock 192.0.2.1", "allow ::1", "unallow ::1", "list", "export", "why ::1", "watch", "confirm", "import -",
		"list -o json",
		"detectors", "top", "top --once", "top --once -o json"} {
		got := invoke(t.Context(), missing, "192.0.2.1\n", split(args)...)
		if got.Code != exitUnreachable || got.Stdout != "" ||
			!strings.Contains(got.Stderr, "systemctl start paraxiald") {
			t.Errorf("%s: got %+v", args, got)
		}
	}
}

// TestRefused: a request that the daemon refuses exits with 1, with the reason on
// standard error.
func TestRefused(t *testing.T) {
	socket := serve(t, &fake{err: errFull})
	for _, args := range []string{"status", "stats", "block 192.0.2.1", "block 192.0.2.1 --dry-run", "promote ::1",
		"unblock 192.0.2.1", "allow ::1", "unallow ::1", "list", "export", "list -o json", "why ::1", "watch",
		"confirm", "import -",
		"detectors", "top", "top --once", "top -o json"} {
		got := invoke(t.Context(), socket, "192.0.2.1\n", split(args)...)
		if got.Code != exitFailed || got.Stderr != "paraxialctl: save: no space left on device\n" {
			t.Errorf("%s: got %+v", args, got)
		}
	}
}

// TestSocketFlag: the flag takes precedence over the environment.
func TestSocketFlag(t *testing.T) {
	socket := serve(t, &fake{})
	if got := invoke(t.Context(), "/nonexistent", "", "status", "--socket", socket); got.Code != exitDone {
		t.Errorf("got %+v", got)
	}
	if got := invoke(t.Context(), socket, "", "status"); got.Code != exitDone {
		t.Errorf("got %+v", got)
	}
}

func TestHelp(t *testing.T) {
	for args, says := range map[string]string{
		"--help": "COMMANDS:", "help": "COMMANDS:", "help block": "--confirm DUR", "block --help": "--confirm DUR",
		"block 192.0.2.1 --help": "--confirm DUR", "--version": "paraxialctl version ",
	} {
		got := invoke(t.Context(), "/nonexistent", "", split(args)...)
		if got.Code != exitDone || got.Stderr != "" || !strings.Contains(got.Stdout, says) {
			t.Errorf("%s: got %+v", args, got)
		}
	}
}

// TestBadFiles: a file that cannot be a list is an error before anything is sent.
func TestBadFiles(t *testing.T) {
	dir := t.TempDir()
	huge := filepath.Join(dir, "huge.txt")
	if err := os.WriteFile(huge, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(huge, 1<<30); err != nil {
		t.Fatal(err)
	}
	f := &fake{}
	socket := serve(t, f)
	for _, tt := range []struct{ name, stdin, says string }{
		{filepath.Join(dir, "none.txt"), "", "no such file or directory"},
		{dir, "", "is a directory"},
		{"-", "\x1f\x8b\x08", "stdin: nothing was changed: unpack gzip: unexpected EOF"},
		{"-", "", "an empty list would lift all blocks"},
		{"-", "# only\n\n; comments\n", "an empty list would lift all blocks"},
		{"-", "<!DOCTYPE html>\n<title>Try later</title> 192.0.2.1", `an HTML page, titled "Try later"`},
		{"-", "192.0.2.1 192.0.2.9\n", "--format ranges or --format addresses"},
		{"-", "0.0.0.0 ads.example.com\n", "a hosts file"},
		{huge, "", "1,073,741,824 bytes long, at most 268,435,456"},
	} {
		got := invoke(t.Context(), socket, tt.stdin, "import", tt.name, "--origin", "x")
		if got.Code != exitFailed || !strings.Contains(got.Stderr, tt.says) {
			t.Errorf("%s: got %+v, want %q", tt.name, got, tt.says)
		}
	}
	if len(f.asked) > 0 {
		t.Errorf("sent %v", f.asked)
	}
}
