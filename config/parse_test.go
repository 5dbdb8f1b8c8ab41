package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/paraxial/paraxial/detect"
	"github.com/paraxial/paraxial/events"
	"github.com/paraxial/paraxial/ladder"
	"github.com/paraxial/paraxial/policy"
	"github.com/paraxial/paraxial/tests/testenv"
)

// comparePrefixes lets cmp look at netip.Prefix, which has no exported fields.
var comparePrefixes = cmpopts.EquateComparable(netip.Prefix{})

func TestParse(t *testing.T) {
	with := func(change func(*Config)) Config {
		c := Default()
		c.File = "f"
		change(&c)
		return c
	}
	prefixes := func(s ...string) []netip.Prefix {
		var list []netip.Prefix
		for _, p := range s {
			list = append(list, netip.MustParsePrefix(p))
		}
		return list
	}
	eth0 := []Interface{{Name: "eth0"}}
	tests := []struct {
		name, in string
		want     Config
	}{
		{"empty", "", with(func(*Config) {})},
		{"comments only", "# nothing\n\n", with(func(*Config) {})},
		{"document markers", "---\n# c\ninterfaces: [eth0]\n...\n", with(func(c *Config) { c.Interfaces = eth0 })},
		{"sections without keys", "log:\nguard:\n# x: y\nevents: {}\n", with(func(*Config) {})},
		{"lists without items", "interfaces:\nguard:\n  never_block:\n  ssh_ports:\n", with(func(*Config) {})},
		{"empty lists", "interfaces: []\nguard: {ssh_ports: []}\n", with(func(c *Config) { c.Guard.SSHPorts = nil })},
		{"byte order mark and Windows line ends", "\ufeffinterfaces: [eth0]\r\n" +
			"log:\r\n  level: warn\r\n", with(func(c *Config) {
			c.Interfaces, c.Log.Level = eth0, slog.LevelWarn
		})},
		{"interfaces of both forms", "xdp_mode: native\n" +
			"interfaces:\n- eth0\n- {name: eth1.100, mode: generic}\n- name: \"1\"\n", with(func(c *Config) {
			c.XDPMode = ModeNative
			c.Interfaces = []Interface{{Name: "eth0"}, {Name: "eth1.100", Mode: ModeGeneric}, {Name: "1"}}
		})},
		{"everything", `
socket: /tmp//a.sock
socket_group: ""
state_dir: /tmp/state/
bpffs: /sys/fs/bpf/other
metrics: "[::1]:9000"
log: {level: debug, format: json}
max_entries: 16777216
guard:
  never_block: [192.0.2.7, 192.0.2.77/24, ::1, "2001:db8::/32", "::ffff:198.51.100.0/120"]
  ssh_ports: [22, 65535]
events:
  drops_per_second: 0
`, with(func(c *Config) {
			c.Socket, c.SocketGroup, c.StateDir, c.BPFFS = "/tmp/a.sock", "", "/tmp/state", "/sys/fs/bpf/other"
			c.Metrics = "[::1]:9000"
			c.Log = Log{Level: slog.LevelDebug, Format: FormatJSON}
			c.MaxEntries = 1 << 24
			c.Guard.NeverBlock = prefixes("192.0.2.7/32", "192.0.2.0/24", "::1/128", "2001:db8::/32", "198.51.100.0/24")
			c.Guard.SSHPorts = []uint16{22, 65535}
			c.Events.DropsPerSecond = 0
		})},
		{"metrics on a Unix socket", "metrics: unix:/run//m.sock\nmetrics_hosts: [web1, web1.example.com]\n",
			with(func(c *Config) {
				c.Metrics, c.MetricsHosts = "unix:/run/m.sock", []string{"web1", "web1.example.com"}
			})},
		{"metrics off", "metrics: off\n", with(func(c *Config) { c.Metrics = "" })},
		{"metrics empty", "metrics: ''\n", with(func(c *Config) { c.Metrics = "" })},
		{"metrics on all addresses", "metrics: :9798\n", with(func(c *Config) { c.Metrics = ":9798" })},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Parse("f", []byte(tt.in))
			if err != nil {
				t.Fatalf("Parse: %v", err)
			}
			if diff := cmp.Diff(tt.want, got, comparePrefixes); diff != "" {
				t.Errorf("Parse (-want +got):\n%s", diff)
			}
		})
	}
}

// TestParseErrors compares the whole text of errors with testdata/errors.txt. A line of
// === separates cases, and a line of ----- separates the input from its errors. <TAB>
// stands for a tab. UPDATE_GOLDEN=1 rewrites the file.
func TestParseErrors(t *testing.T) {
	golden, err := os.ReadFile(filepath.Join("testdata", "errors.txt"))
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for n, c := range strings.Split(strings.TrimSuffix(string(golden), "\n===\n"), "\n===\n") {
		in, want, ok := strings.Cut(c, "\n-----\n")
		if !ok {
			t.Fatalf("case %d of the golden file has no line -----:\n%s", n+1, c)
		}
		_, err := Parse("f.yaml", []byte(strings.ReplaceAll(in, "<TAB>", "\t")))
		got := fmt.Sprint(err)
		if got != want {
			t.Errorf("%s\ngot:\n%s\n\nwant:\n%s", in, got, want)
		}
		fmt.Fprintf(&out, "%s\n-----\n%s\n===\n", in, got)
	}
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(filepath.Join("testdata", "errors.txt"), []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestParseBinary(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"not UTF-8", "socket: /x\nlog: \xe9t\xe9\n",
			"f:2:6: not UTF-8 (byte 0xe9); save the file as UTF-8 text\n    log: \ufffdt\ufffd\n         ^"},
		{"UTF-16", "\xff\xfes\x00o\x00",
			"f:1:1: not UTF-8 (byte 0xff); save the file as UTF-8 text\n    \ufffd\ufffds\ufffdo\ufffd\n    ^"},
		{"escape sequence", "socket: /\x1b[2J\n",
			"f:1:10: the control character U+001B; want plain UTF-8 text\n    socket: /\ufffd[2J\n             ^"},
		{"zero", "a\x00", "f:1:2: the control character U+0000; want plain UTF-8 text\n    a\ufffd\n     ^"},
		{"too large", strings.Repeat("#", MaxFileSize+1),
			"f:1:1: larger than 1048576 bytes: not a configuration of paraxiald"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse("f", []byte(tt.in))
			if diff := cmp.Diff(tt.want, fmt.Sprint(err)); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
		})
	}
}

func TestErrorsAreAllReported(t *testing.T) {
	_, err := Parse("f", []byte("sokcet: /x\nmax_entries: 0\nguard:\n  ssh_ports: [0, 22, 70000]\n"))
	var errs Errors
	if !errors.As(err, &errs) {
		t.Fatalf("error is a %T, want Errors", err)
	}
	var got []string
	for _, e := range errs {
		got = append(got, fmt.Sprintf("%s:%d:%d", e.File, e.Line, e.Column))
	}
	want := []string{"f:1:1", "f:2:14", "f:4:15", "f:4:22"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("positions (-want +got):\n%s", diff)
	}
	var one *Error
	if !errors.As(err, &one) || one.Line != 1 {
		t.Errorf("errors.As finds %v, want the first mistake", one)
	}
}

func TestErrorsOfAnotherFileAreCut(t *testing.T) {
	var in strings.Builder
	for n := range 300 {
		fmt.Fprintf(&in, "key%d: %s\n", n, strings.Repeat("x", 1000))
	}
	_, err := Parse("f", []byte(in.String()))
	text := fmt.Sprint(err)
	if !strings.HasSuffix(text, "\nand 280 more errors") {
		t.Errorf("the errors do not end with a count: …%q", text[max(0, len(text)-80):])
	}
	if len(text) > 20*(maxMessage+2*maxShown+100) {
		t.Errorf("the errors take %d bytes", len(text))
	}
}

// TestHostileFilesEndSoon has known attacks on YAML parsers, and input for which the time
// of this parser grows with the square of the length.
func TestHostileFilesEndSoon(t *testing.T) {
	fill := func(s string) string { return strings.Repeat(s, MaxFileSize/4/len(s)) }
	bomb := "a: &a [x, x, x, x, x, x, x, x, x]\n"
	for c := 'b'; c < 'z'; c++ {
		bomb += fmt.Sprintf("%c: &%c [*%c, *%c, *%c, *%c]\n", c, c, c-1, c-1, c-1, c-1)
	}
	tests := []struct{ name, in, want string }{
		{"aliases", bomb,
			`f:1:4: anchors, aliases, tags and the like are not accepted; put a text that starts with "&" in quotes`},
		{"brackets", fill("["), "f:1:9: nested deeper than 8"},
		{"braces", fill("{a: "), "f:1:33: nested deeper than 8"},
		{"closing brackets", fill("]"), "f:1:1: not YAML"},
		{"dashes", fill("- "), "f:1:3: a list in a list"},
		{"dashes in lines", fill("-\n "), "f:2:2: a list in a list"},
		{"keys", fill("a: 1\n"), "f:1001:2: more than 1000 keys"},
		{"question marks", fill("? "), "f:1:1: anchors"},
		{"tags", fill("!a "), "f:1:1: anchors"},
		{"items in flow", "interfaces: [" + fill("1,"), "f:1:13: not YAML"},
		{"lists in flow", "interfaces: [" + fill("[[[[[[1]]]]]],"), "f:1:13: not YAML"},
		{"mistakes in one line", "interfaces: [" + fill("1,") + "]",
			`f:1:14: interfaces: got 1; want text, so put it in quotes: "1"`},
		{"mistakes one a line", "guard: {never_block: [" + fill("x,\n") + "]}",
			`f:1:23: guard.never_block: "x" is not an IPv4 or IPv6 address`},
		{"lists one a line", "interfaces: [" + fill("[[[[[[1]]]]]],\n") + "]", "f:1:14: interfaces: got a list"},
		{"a large list", "guard: {never_block: [" + fill("192.0.2.7, ") + "]}\nx: 1", `f:2:1: unknown key "x"`},
		{"documents", fill("---\n"), "f:2:1: a second document"},
		{"long key", fill("k")[10:] + ": 1\n", "f:1:1: unknown key"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			start := testenv.CPUTime(t)
			_, err := Parse("f", []byte(tt.in))
			if got := fmt.Sprint(err); !strings.HasPrefix(got, tt.want) {
				t.Errorf("error %.200q, want %q first", got, tt.want)
			}
			if d := testenv.CPUTime(t) - start; d > 20*time.Second {
				t.Errorf("took %s", d)
			}
		})
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "c.yaml")
	if err := os.WriteFile(path, []byte("interfaces: [eth7]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if c.File != path || len(c.Interfaces) != 1 || c.Interfaces[0].Name != "eth7" {
		t.Errorf("Load = %+v", c)
	}
	_, err = Load(filepath.Join(dir, "none.yaml"))
	if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "--config") {
		t.Errorf("a missing file gives %v", err)
	}
	if _, err = Load(dir); err == nil {
		t.Error("a directory was read")
	}
	if _, err = Load("/dev/zero"); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("an endless file gives %v", err)
	}
}

func TestLoadProxies(t *testing.T) {
	dir := t.TempDir()
	list := filepath.Join(dir, "proxies.txt")
	path := filepath.Join(dir, "c.yaml")
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(path, "proxies: [192.0.2.7]\nproxies_file: "+list+"\n")
	if _, err := Load(path); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "proxies_file") {
		t.Errorf("a missing file gives %v", err)
	}
	write(list, "# ours\n198.51.100.0/24\n2001:db8::/32\n")
	c, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(c.Proxies); got != "[192.0.2.7/32 198.51.100.0/24 2001:db8::/32]" {
		t.Errorf("proxies %s", got)
	}
	for p, want := range map[string]bool{
		"198.51.100.9/32": true, "198.51.0.0/16": true, "192.0.2.7/32": true, "192.0.2.8/32": false,
		"2001:db8:1::/64": true, "2001:db9::/64": false,
	} {
		if _, got := c.ProxyOf(netip.MustParsePrefix(p)); got != want {
			t.Errorf("%s is part of a proxy: %t, want %t", p, got, want)
		}
	}
	live, restart := Diff(valid(), func() Config { v := valid(); v.Proxies = c.Proxies; return v }())
	if len(restart) != 0 || len(live) != 1 || live[0] != "proxies" {
		t.Errorf("a change of the file is a change of %v and %v", live, restart)
	}
	write(list, "198.51.100.0/24\n<html>\n192.0.2.0/44\n")
	_, err = Load(path)
	want := list + ":2:1: proxies_file: \"<html>\" is not an IPv4 or IPv6 address\n" +
		list + ":3:1: proxies_file: prefix \"192.0.2.0/44\": the length must be a number from 0 to 32"
	if fmt.Sprint(err) != want {
		t.Errorf("a bad file gives %v, want %s", err, want)
	}
}

func TestParseDetectors(t *testing.T) {
	c, err := Parse("f", []byte(`
detectors:
- name: all
  match: {proto: tcp, flags: syn, port: [80, 443]}
  limit: 200/s
  window: 10s
  per: {ipv4: 24, ipv6: 48}
  action: block
  for: 1h
  escalate: {factor: 2, max: 12h, forget: 2d}
  widen: {sources: 3, ipv6: 40, ipv4: 20}
- {name: least, limit: 10Mbit/s, action: shadow, match: {fragment: true}}
- {name: one, limit: 1k/s, action: limit, match: {proto: udp, port: 53}, per: {ipv4: 24, ipv6: 48}}
`))
	if err != nil {
		t.Fatal(err)
	}
	all := detect.Detector{
		Name: "all", Match: detect.Match{Proto: detect.TCP, Flags: detect.SYN, Ports: []uint16{80, 443}},
		Limit: policy.Rate{PerSecond: 200, Unit: policy.Packets}, Window: 10 * time.Second,
		Per: detect.Per{IPv4: 24, IPv6: 48}, Action: detect.Block, For: time.Hour,
		Escalate: detect.Escalate{Factor: 2, Max: 12 * time.Hour, Forget: 48 * time.Hour},
		Widen:    detect.Widen{Sources: 3, IPv6: 40, IPv4: 20},
	}
	least := detect.Default()
	least.Name, least.Match, least.Action = "least", detect.Match{Proto: detect.AnyProto, Fragment: true}, detect.Shadow
	least.Limit, least.Widen.IPv6 = policy.Rate{PerSecond: 1_250_000, Unit: policy.Bytes}, 56
	one := detect.Default()
	one.Name, one.Match, one.Action = "one", detect.Match{Proto: detect.UDP, Ports: []uint16{53}}, detect.Limit
	one.Limit, one.Per = policy.Rate{PerSecond: 1000, Unit: policy.Packets}, detect.Per{IPv4: 24, IPv6: 48}
	if diff := cmp.Diff([]detect.Detector{all, least, one}, c.Detectors); diff != "" {
		t.Errorf("detectors (-want +got):\n%s", diff)
	}
}

func TestParseRules(t *testing.T) {
	c, err := Parse("f", []byte(`
rules:
- name: all
  limit: 0
  window: 5s
  per: {ipv4: 24, ipv6: 48}
  distinct: user
  success: reset
  action: limit
  rate: 20/s
  for: 1h
  escalate: {factor: 2, max: 12h, forget: 2d}
  widen: {sources: 3, ipv6: 40, ipv4: 20}
- {name: least, limit: 5, action: alert}
`))
	if err != nil {
		t.Fatal(err)
	}
	all := events.Rule{
		Name: "all", Window: 5 * time.Second, Per: ladder.Per{IPv4: 24, IPv6: 48}, Distinct: events.DistinctUser,
		Success: events.ResetSuccess, Action: events.Limit, Rate: policy.Rate{PerSecond: 20, Unit: policy.Packets},
		For: time.Hour, Escalate: ladder.Escalate{Factor: 2, Max: 12 * time.Hour, Forget: 48 * time.Hour},
		Widen: ladder.Widen{Sources: 3, IPv6: 40, IPv4: 20},
	}
	least := events.Default()
	least.Name, least.Limit, least.Action, least.Widen.IPv6 = "least", 5, events.Alert, 56
	if diff := cmp.Diff([]events.Rule{all, least}, c.Rules); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
}

func TestTooManyRules(t *testing.T) {
	var in strings.Builder
	in.WriteString("rules:\n")
	for n := range 65 {
		fmt.Fprintf(&in, "- {name: r%d, limit: 1, action: shadow}\n", n)
	}
	_, err := Parse("f", []byte(in.String()))
	if got := fmt.Sprint(err); !strings.HasPrefix(got, "f:66:3: rules: more than 64; \"r64\" is one too many\n") {
		t.Errorf("error %q", got)
	}
}

func TestTooManyDetectors(t *testing.T) {
	var in strings.Builder
	in.WriteString("detectors:\n")
	for n := range 13 {
		fmt.Fprintf(&in, "- {name: d%d, limit: 1/s, action: shadow}\n", n)
	}
	_, err := Parse("f", []byte(in.String()))
	if got := fmt.Sprint(err); !strings.HasPrefix(got, "f:14:3: detectors: more than 12; \"d12\" is one too many\n") {
		t.Errorf("error %q", got)
	}
}

// A list without a value is the default: its items may all be commented out. Any
// other key without a value is an error.
func TestKeysWithoutAValue(t *testing.T) {
	defaults := Default()
	for _, k := range defaults.keys() {
		isList := reflect.ValueOf(k.value).Elem().Kind() == reflect.Slice
		file := blank(k.name)
		c, err := Parse("f", []byte(file))
		if !isList {
			if want := k.name + " has no value"; err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q", file, err, want)
			}
			continue
		}
		want := Default()
		want.File = "f"
		if diff := cmp.Diff(want, c, comparePrefixes); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", file, err, diff)
		}
	}
}

// blank returns a file with a key without a value.
func blank(name string) string {
	return strings.ReplaceAll(name, ".", ": {") + ":" + strings.Repeat("}", strings.Count(name, "."))
}

// No key of a detector or rule may be without a value, a list of ports included.
func TestKeysOfADetectorWithoutAValue(t *testing.T) {
	for _, k := range append(detectorKeys(new(detect.Detector)), ruleKeys(new(events.Rule))...) {
		list, name, _ := strings.Cut(k.name, ".")
		file := list + ": [{" + blank(name) + "}]"
		_, err := Parse("f", []byte(file))
		if want := k.name + " has no value"; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", file, err, want)
		}
	}
}
