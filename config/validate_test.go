package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/paraxial/paraxial/detect"
	"github.com/paraxial/paraxial/events"
)

func valid() Config {
	c := Default()
	c.Interfaces = []Interface{{Name: "eth0"}}
	return c
}

func TestValidate(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"as it is", func(*Config) {}, "<nil>"},
		{"metrics off", func(c *Config) { c.Metrics = "" }, "<nil>"},
		{"no interface", func(c *Config) { c.Interfaces = nil },
			"no interface: give interfaces: [eth0] in the configuration file or --interface eth0"},
		{"no interface in a file", func(c *Config) { c.Interfaces, c.File = nil, "/etc/p.yaml" },
			"no interface: give interfaces: [eth0] in /etc/p.yaml or --interface eth0"},
		{"twice", func(c *Config) { c.Interfaces = append(c.Interfaces, Interface{Name: "eth0", Mode: ModeNative}) },
			`interfaces: "eth0" is listed twice; leave one of them out`},
		{"bad name", func(c *Config) { c.Interfaces[0].Name = "a/b" },
			`interfaces: "a/b" cannot be an interface; want a name such as eth0, ` +
				`of at most 15 bytes, without '/', ':' and blanks`},
		{"bad interface mode", func(c *Config) { c.Interfaces[0].Mode = "fast" },
			`interfaces.mode: "fast" is not accepted; want auto, native or generic`},
		{"no repair", func(c *Config) { c.Repair = "" }, `repair: "" is not accepted; want never, own or always`},
		{"no mode", func(c *Config) { c.XDPMode = "" }, `xdp_mode: "" is not accepted; want auto, native or generic`},
		{"relative paths", func(c *Config) { c.Socket, c.StateDir, c.BPFFS = "a", "b", "" },
			"socket: \"a\" is not an absolute path; want one that starts with /\n" +
				"state_dir: \"b\" is not an absolute path; want one that starts with /\n" +
				"bpffs: \"\" is not an absolute path; want one that starts with /"},
		{"level between", func(c *Config) { c.Log.Level = slog.LevelInfo + 1 },
			`log.level: "info+1" is not accepted; want debug, info, warn or error`},
		{"format", func(c *Config) { c.Log.Format = "xml" }, `log.format: "xml" is not accepted; want text or json`},
		{"entries", func(c *Config) { c.MaxEntries = 0 }, "max_entries: got 0; want a whole number from 1 to 16777216"},
		{"tunnels", func(c *Config) { c.Tunnels = append(vxlans(2), Tunnel{Kind: TunnelGRE}) }, "<nil>"},
		{"no tunnel", func(c *Config) { c.Tunnels = []Tunnel{{Kind: "wireguard"}} },
			`tunnels: "wireguard" is not accepted; want gre, ipip, sit, vxlan:PORT or geneve:PORT`},
		{"port of a tunnel", func(c *Config) { c.Tunnels = []Tunnel{{Kind: TunnelGeneve}} },
			"tunnels: got 0; want a whole number from 1 to 65535"},
		{"tunnel twice", func(c *Config) { c.Tunnels = []Tunnel{{Kind: TunnelSIT}, {Kind: TunnelSIT}} },
			"tunnels: sit is listed twice; leave one of them out"},
		{"as many ports as there can be", func(c *Config) { c.Tunnels = vxlans(4) }, "<nil>"},
		{"a port too many", func(c *Config) { c.Tunnels = vxlans(5) },
			"tunnels: vxlan:5 is one port too many; want 4 of vxlan at most"},
		{"port", func(c *Config) { c.Guard.SSHPorts = []uint16{22, 0} },
			"guard.ssh_ports: got 0; want a whole number from 1 to 65535"},
		{"prefix", func(c *Config) { c.Guard.NeverBlock = []netip.Prefix{{}} },
			`guard.never_block: "invalid Prefix" is not an IPv4 or IPv6 address; ` +
				`want an address or a prefix, as in 192.0.2.7 or 2001:db8::/32`},
		{"drops", func(c *Config) { c.Events.DropsPerSecond = -1 },
			"events.drops_per_second: got -1; want a whole number from 0 to 10000"},
		{"tracked", func(c *Config) { c.Detection.Tracked = 0 },
			"detection.tracked: got 0; want a whole number from 1 to 131072"},
		{"proxies file", func(c *Config) { c.ProxiesFile = "p" },
			`proxies_file: "p" is not an absolute path; want one that starts with /`},
		{"detector", func(c *Config) { c.Detectors = []detect.Detector{detect.Default()} },
			`detectors: detector "": name "": want letters, digits, '.', '_' and '-', at most 63`},
		{"rule", func(c *Config) { c.Rules = []events.Rule{events.Default()} },
			`rules: rule "": name "": want letters, digits, '.', '_' and '-', at most 63`},
		{"metrics", func(c *Config) { c.Metrics = "9798" },
			`metrics: "9798" is not an address to listen on; want host:port, ` +
				`as in 127.0.0.1:9798 or [::1]:9798, or unix:/run/paraxial/metrics.sock, or off`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := valid()
			tt.change(&c)
			if diff := cmp.Diff(tt.want, fmt.Sprint(c.Validate())); diff != "" {
				t.Errorf("Validate (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTooManyInterfaces(t *testing.T) {
	c := valid()
	var file strings.Builder
	file.WriteString("interfaces:\n- eth0\n")
	for n := 1; n <= MaxInterfaces; n++ {
		c.Interfaces = append(c.Interfaces, Interface{Name: fmt.Sprintf("eth%d", n)})
		fmt.Fprintf(&file, "- eth%d\n", n)
	}
	const want = `interfaces: more than 64; "eth64" is one too many`
	if got := fmt.Sprint(c.Validate()); got != want {
		t.Errorf("Validate = %q, want %q", got, want)
	}
	_, err := Parse("f", []byte(file.String()))
	if got := fmt.Sprint(err); !strings.HasPrefix(got, "f:66:3: "+want+"\n") {
		t.Errorf("Parse = %q", got)
	}
	c.Interfaces = c.Interfaces[:MaxInterfaces]
	if err := c.Validate(); err != nil {
		t.Errorf("with %d interfaces: %v", MaxInterfaces, err)
	}
}

func TestNoInterfaceIsTold(t *testing.T) {
	if err := Default().Validate(); !errors.Is(err, ErrNoInterface) {
		t.Errorf("Validate = %v, want ErrNoInterface", err)
	}
}

func TestModeOf(t *testing.T) {
	c := Config{XDPMode: ModeNative}
	if m := c.ModeOf(Interface{Name: "a"}); m != ModeNative {
		t.Errorf("mode %q", m)
	}
	if m := c.ModeOf(Interface{Name: "a", Mode: ModeGeneric}); m != ModeGeneric {
		t.Errorf("mode %q", m)
	}
}

// vxlans returns VXLAN at the ports 1 to n.
func vxlans(n uint16) (list []Tunnel) {
	for port := range n {
		list = append(list, Tunnel{TunnelVXLAN, port + 1})
	}
	return list
}

func TestParseTunnel(t *testing.T) {
	for text, want := range map[string]string{
		"gre": "<nil>", "ipip": "<nil>", "sit": "<nil>", "vxlan:4789": "<nil>", "geneve:65535": "<nil>",
		"gre:1":       `"gre:1" is not accepted; want gre, ipip, sit, vxlan:PORT or geneve:PORT`,
		"GRE":         `"GRE" is not accepted; want gre, ipip, sit, vxlan:PORT or geneve:PORT`,
		"vxlan":       `"vxlan" has no port; want one, as in vxlan:4789`,
		"geneve":      `"geneve" has no port; want one, as in geneve:6081`,
		"vxlan:":      "got ; want a whole number from 1 to 65535",
		"vxlan:65536": "got 65536; want a whole number from 1 to 65535",
	} {
		got, err := parseTunnel(text)
		if diff := cmp.Diff(want, fmt.Sprint(err)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
		if err == nil && got.String() != text {
			t.Errorf("%s becomes %s", text, got)
		}
	}
	c, err := Parse("f.yaml", []byte("tunnels: [sit, vxlan:8472, \"geneve:1\"]\n"))
	want := []Tunnel{{Kind: TunnelSIT}, {TunnelVXLAN, 8472}, {TunnelGeneve, 1}}
	if err != nil || !slices.Equal(c.Tunnels, want) {
		t.Errorf("tunnels %v, error %v; want %v", c.Tunnels, err, want)
	}
}
