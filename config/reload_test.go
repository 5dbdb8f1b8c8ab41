package config

import (
	"log/slog"
	"net/netip"
	"os"
	"reflect"
	"regexp"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/paraxial/paraxial/detect"
	"github.com/paraxial/paraxial/events"
)

func TestDiff(t *testing.T) {
	networks := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	tests := []struct {
		name          string
		change        func(*Config)
		live, restart []string
	}{
		{"nothing", func(*Config) {}, nil, nil},
		{"file", func(c *Config) { c.File = "other" }, nil, nil},
		{"everything", func(c *Config) {
			*c = Config{
				Interfaces: []Interface{{Name: "eth1"}}, XDPMode: ModeNative, Repair: RepairNever,
				Socket: "/s", SocketGroup: "g", StateDir: "/d", BPFFS: "/b",
				Metrics: "", MetricsHosts: []string{"h"}, Log: Log{Level: slog.LevelDebug, Format: FormatJSON},
				MaxEntries: 1,
				Guard:      Guard{NeverBlock: networks, SSHPorts: []uint16{2222}},
				Import:     Import{1, 1, 1},
				Events:     Events{DropsPerSecond: 1}, Proxies: []Proxy{{Set: "x"}}, ProxiesFile: "/p",
				Detection: Detection{1, 1, Breaker{1}}, Detectors: []detect.Detector{detect.Default()},
				Rules: []events.Rule{events.Default()}, Feeds: []Feed{DefaultFeed()}, Logs: []LogSource{{}},
				Reports: Reports{BlocklistSocket: "/l", Reporters: []Reporter{{}}},
			}
		},
			[]string{"interfaces", "repair", "essential", "metrics_hosts", "log.level", "guard.never_block",
				"guard.ssh_ports", "import.max_shrink", "import.max_grow", "import.max_share",
				"events.drops_per_second", "proxies", "proxies_file", "detection.max_bans",
				"detection.breaker.bans_per_minute", "detectors", "rules", "feeds", "logs", "reports.reporters"},
			[]string{"xdp_mode", "socket", "socket_group", "state_dir", "bpffs", "metrics", "log.format", "max_entries",
				"detection.tracked", "reports.socket", "reports.blocklist_socket"}},
		{"an interface is added", func(c *Config) {
			c.Interfaces = append(c.Interfaces, Interface{Name: "eth1", Mode: ModeGeneric})
		}, []string{"interfaces"}, nil},
		{"an interface is removed", func(c *Config) { c.Interfaces = nil }, []string{"interfaces"}, nil},
		{"the mode of an interface changes", func(c *Config) {
			c.Interfaces = []Interface{{Name: "eth0", Mode: ModeGeneric}}
		}, nil, []string{"interfaces.mode"}},
		{"the general mode changes", func(c *Config) { c.XDPMode = ModeGeneric }, nil, []string{"xdp_mode"}},
		{"an interface gets the general mode", func(c *Config) {
			c.Interfaces = []Interface{{Name: "eth0", Mode: ModeAuto}}
		}, nil, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			after := valid()
			tt.change(&after)
			live, restart := Diff(valid(), after)
			if diff := cmp.Diff(tt.live, live); diff != "" {
				t.Errorf("live (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.restart, restart); diff != "" {
				t.Errorf("restart (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDiffIgnoresOrderOfInterfaces(t *testing.T) {
	a, b := valid(), valid()
	a.Interfaces = []Interface{{Name: "eth0"}, {Name: "eth1"}}
	b.Interfaces = []Interface{{Name: "eth1"}, {Name: "eth0"}}
	if live, restart := Diff(a, b); live != nil || restart != nil {
		t.Errorf("Diff = %v, %v", live, restart)
	}
}

// changes has for every key a file with a value that is not the default.
var changes = map[string]string{
	"interfaces":                        "interfaces: [eth0, eth1]",
	"xdp_mode":                          "xdp_mode: generic",
	"repair":                            "repair: never",
	"tunnels":                           `tunnels: [gre, "vxlan:4789"]`,
	"socket":                            "socket: /s",
	"socket_group":                      "socket_group: wheel",
	"state_dir":                         "state_dir: /d",
	"bpffs":                             "bpffs: /b",
	"metrics":                           "metrics: off",
	"metrics_hosts":                     "metrics_hosts: [h.example]",
	"log.level":                         "log: {level: debug}",
	"log.format":                        "log: {format: json}",
	"max_entries":                       "max_entries: 7",
	"guard.never_block":                 "guard: {never_block: [192.0.2.0/24]}",
	"guard.ssh_ports":                   "guard: {ssh_ports: [2222]}",
	"essential":                         "essential: off",
	"import.max_shrink":                 "import: {max_shrink: 7%}",
	"import.max_grow":                   "import: {max_grow: 7}",
	"import.max_share":                  "import: {max_share: 7%}",
	"events.drops_per_second":           "events: {drops_per_second: 7}",
	"proxies":                           "proxies: [192.0.2.0/24]",
	"proxies_file":                      "proxies_file: /p",
	"detection.tracked":                 "detection: {tracked: 7}",
	"detection.max_bans":                "detection: {max_bans: 7}",
	"detection.breaker.bans_per_minute": "detection: {breaker: {bans_per_minute: 7}}",
	"detectors":                         "detectors: [{name: x, limit: 10/s, action: shadow}]",
	"rules":                             "rules: [{name: x, limit: 1, action: shadow}]",
	"sets":                              "sets: {x: [192.0.2.0/24]}",
	"feeds":                             "feeds: [{name: x, url: /x, use: block}]",
	"logs":                              "logs: [{name: x, file: /x, format: sshd, rule: y}]",
	"reports.socket":                    "reports: {socket: /r}",
	"reports.blocklist_socket":          "reports: {blocklist_socket: /r}",
	"reports.reporters":                 "reports: {reporters: [{name: x, user: y, sets: [z]}]}",
}

// TestReloadOfEveryKey changes one key at a time. If the reference has "yes" for the key, a
// reload must apply the change; otherwise it must report that the key needs a restart.
func TestReloadOfEveryKey(t *testing.T) {
	documented := documentedReload(t)
	defaults := Default()
	for _, k := range defaults.keys() {
		file, ok := changes[k.name]
		if !ok {
			t.Fatalf("%s: add a change of it to this test", k.name)
		}
		old, next := parsed(t, ""), parsed(t, file)
		live, restart := Diff(old, next)
		now := Reload(old, next)
		want, wantLive, wantRestart := old, []string(nil), []string{k.name}
		if documented[k.name] {
			want, wantLive, wantRestart = next, []string{k.name}, nil
		}
		if diff := cmp.Diff(want, now, comparePrefixes); diff != "" {
			t.Errorf("%s: configuration after a reload (-want +got):\n%s", file, diff)
		}
		if !slices.Equal(live, wantLive) || !slices.Equal(restart, wantRestart) {
			t.Errorf("%s: Diff = %v, %v; want %v, %v", file, live, restart, wantLive, wantRestart)
		}
		if reflect.DeepEqual(old, next) {
			t.Errorf("%s: changes nothing", file)
		}
	}
}

// parsed returns the configuration in a file. It adds an interface if there is none.
func parsed(t *testing.T, file string) Config {
	t.Helper()
	c, err := Parse("f", []byte(file))
	if err != nil {
		t.Fatal(err)
	}
	if c.Interfaces == nil {
		c.Interfaces = []Interface{{Name: "eth0"}}
	}
	return c
}

// documentedReload returns for each key of the reference whether a reload applies it.
func documentedReload(t *testing.T) map[string]bool {
	t.Helper()
	doc, err := os.ReadFile(docFile)
	if err != nil {
		t.Fatal(err)
	}
	reload := map[string]bool{}
	row := regexp.MustCompile("(?m)^\\| `([a-z_.0-9]+)` \\|[^|]*\\|[^|]*\\| (yes|no) \\|")
	for _, m := range row.FindAllStringSubmatch(string(doc), -1) {
		reload[m[1]] = m[2] == "yes"
	}
	if len(reload) < len(changes) {
		t.Fatalf("%s has %d keys, want %d or more", docFile, len(reload), len(changes))
	}
	return reload
}

// An interface that stays keeps its mode. Interfaces are added, removed and ordered as in
// the new file.
func TestReloadOfInterfaces(t *testing.T) {
	tests := []struct{ old, next, want string }{
		{"[eth0]", "[eth1, eth0]", "[eth1, eth0]"},
		{"[eth0, eth1]", "[eth1]", "[eth1]"},
		{"[eth0]", "[{name: eth0, mode: generic}]", "[eth0]"},
		{"[{name: eth0, mode: native}]", "[{name: eth0, mode: generic}, {name: eth1, mode: generic}]",
			"[{name: eth0, mode: native}, {name: eth1, mode: generic}]"},
		{"[{name: eth0, mode: native}]", "[eth0]", "[{name: eth0, mode: native}]"},
	}
	for _, tt := range tests {
		old, next := parsed(t, "interfaces: "+tt.old), parsed(t, "interfaces: "+tt.next)
		want := parsed(t, "interfaces: "+tt.want)
		now := Reload(old, next)
		if diff := cmp.Diff(want.Interfaces, now.Interfaces); diff != "" {
			t.Errorf("%s, then %s (-want +got):\n%s", tt.old, tt.next, diff)
		}
		_, before := Diff(old, next)
		if live, restart := Diff(now, next); live != nil || !slices.Equal(restart, before) {
			t.Errorf("%s, then %s: the next reload reports %v, %v; want none and %v",
				tt.old, tt.next, live, restart, before)
		}
	}
}
