// Package config reads the configuration of the daemon, a YAML file, and returns a valid
// Config. It is strict, because a misspelt key in a packet filter is a hole: an unknown
// key is an error that shows the place.
package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"strconv"

	"github.com/paraxial/paraxial/detect"
	"github.com/paraxial/paraxial/events"
)

// Config is the configuration of the daemon. The comments of its fields, and of the types
// below, are also the text of the reference: go test ./config -run Reference -update
// writes them there.
type Config struct {
	// File is the file that the configuration was read from; empty if there was none.
	File string

	// The network interfaces to filter on. At least one is required, here or with
	// `--interface`. See Interfaces below.
	Interfaces []Interface
	// How to attach to interfaces without a mode of their own. See Modes below.
	XDPMode Mode
	// The action when an interface is unprotected. See Repair below.
	Repair Repair
	// Whether DHCP, IPv6 neighbour discovery, MLD and IGMP pass although the source is
	// blocked, up to 1,000 packets a second on each interface: `on` or `off`. See Essential
	// packets below.
	Essential Essential
	// The tunnels that end on this host and into which the filter looks: `gre`, `ipip`,
	// `sit`, `vxlan:4789`, `geneve:6081`. See Tunnels below.
	Tunnels []Tunnel
	// The Unix socket for `paraxialctl`. An absolute path. Beside it is one for root alone, with
	// `-root` before the extension.
	Socket string
	// The group whose members may use the socket. A name or, in quotes, a number. With
	// `""` only root may.
	SocketGroup string
	// The directory that keeps the entries across restarts. An absolute path.
	StateDir string
	// The directory where the filter is pinned, so that it keeps filtering without the
	// daemon. An absolute path on a mounted BPF file system.
	BPFFS string
	// The address that serves the [metrics](metrics.md), as `host:port`. `off` turns
	// this off. `:9798` serves on all addresses; then anyone who can reach the port can
	// read the metrics. `unix:/run/paraxial/metrics.sock` serves on a Unix socket that
	// only root and the members of `socket_group` can use.
	Metrics string
	// Further host names by which the metrics may be requested. IP addresses, `localhost`,
	// the name of this host and the host of `metrics` are always accepted.
	MetricsHosts []string
	Log          Log
	// The largest number of prefixes, for blocks and allows of IPv4 and IPv6 each. It also
	// bounds the entries of a user. See Room for entries below.
	MaxEntries int
	Guard      Guard
	Import     Import
	Events     Events

	// Addresses and prefixes of proxies and CDNs that your visitors use, and `set:NAME` for a set
	// under `sets` or a feed with `use: tag`. Detectors and rules leave them alone. See Proxies below.
	Proxies []Proxy
	// A file with more of them, one per line. An absolute path. `""` is no file.
	ProxiesFile string
	Detection   Detection
	// The rules by which sources are blocked, limited or shadowed. See Detectors below.
	Detectors []detect.Detector
	// The rules over events that reporters hand in. See Rules below.
	Rules []events.Rule

	// Sets of addresses, by name: `office: [198.51.100.0/24]`. The name is shown with the
	// addresses, and `feeds.except` may use it. See Sets below.
	Sets []Set
	// The lists that `paraxial-agent feeds` keeps fresh. See Feeds below.
	Feeds []Feed
	// The logs that `paraxial-agent logs` reads. See Logs below.
	Logs    []LogSource
	Reports Reports
}

// Interface is one network interface to filter on.
type Interface struct {
	// The name of the interface. Each may be listed once.
	Name string
	// How to attach to this interface. `""`, the same as leaving the key out, means
	// `xdp_mode`.
	Mode Mode
}

// ModeOf returns the mode in which to attach to i: its own mode, or XDPMode.
func (c Config) ModeOf(i Interface) Mode {
	if i.Mode != "" {
		return i.Mode
	}
	return c.XDPMode
}

// Mode is where in the network stack the program runs.
type Mode string

// The modes.
const (
	ModeAuto    Mode = "auto"    // native, or generic where the driver has no XDP
	ModeNative  Mode = "native"  // in the driver
	ModeGeneric Mode = "generic" // in the stack: works on any interface, but is slower
)

// Repair is what the daemon does about an unprotected interface.
type Repair string

// The repairs.
const (
	RepairNever  Repair = "never"  // only report it
	RepairOwn    Repair = "own"    // attach the filter again, unless a foreign program is attached
	RepairAlways Repair = "always" // also remove foreign programs
)

// Essential is whether packets that the host needs pass although an entry would drop them.
type Essential string

// The values of Essential.
const (
	EssentialOn  Essential = "on"
	EssentialOff Essential = "off"
)

// Log is what is logged, and in which form.
type Log struct {
	// The least severe message to log.
	Level slog.Level
	// The format of a line of the log.
	Format Format
}

// Format is the format of a line of the log.
type Format string

// The formats.
const (
	FormatText Format = "text"
	FormatJSON Format = "json"
)

// Guard is what must never be blocked, besides the addresses that the daemon finds
// itself.
type Guard struct {
	// Addresses and prefixes that must not be blocked by mistake. See Guard below.
	NeverBlock []netip.Prefix
	// The clients of authenticated SSH sessions cannot be blocked by mistake, whatever the port,
	// and callers cannot block the address of their own terminal.
	// `[]` turns this off. The numbers have no other effect any more.
	SSHPorts []uint16
}

// Import has the bounds of an import. A list that exceeds one of them is held: it is not
// applied without `--accept`.
type Import struct {
	// The largest part of the entries of a set of 100 or more that an import may remove
	// without replacement. `100%` turns this off. See Import below.
	MaxShrink Percent
	// The largest number of entries after an import, as a multiple of those before it, for
	// a set of 100 or more. 0 turns this off. See Import below.
	MaxGrow int
	// The largest part of IPv4, or of 2000::/3 of IPv6, that the prefixes of a list may
	// cover together. `100%` turns this off. See Import below.
	MaxShare Percent
}

// Percent is a part in hundredths.
type Percent int

func (p Percent) String() string { return strconv.Itoa(int(p)) + "%" }

// Events limits the reports of single packets by the kernel.
type Events struct {
	// The largest number of dropped packets a second that `paraxialctl watch` shows. 0
	// shows none. Counters are exact with any value.
	DropsPerSecond int
}

// Detection has the limits for all detectors and rules together.
type Detection struct {
	// The number of sources that are counted exactly at the same time. Each takes about
	// 100 bytes, and another 100 bytes for every detector.
	Tracked int
	// The largest number of entries of detectors and rules at the same time. A new one then
	// replaces a shadow entry, or the oldest ban of a detector whose source has stopped.
	// Entries of other origins are not affected.
	MaxBans int
	Breaker Breaker
}

// Breaker turns the bans of detectors and rules into shadow entries when there are too many.
type Breaker struct {
	// The number of new entries a minute above which detectors and rules only count (shadow).
	// They act again after a minute with half as many or fewer. 0 turns this off.
	BansPerMinute int
}

// Limits of values, besides the limits of the kernel.
const (
	MaxFileSize       = 1 << 20 // bytes
	MaxInterfaces     = 64      // the program has counters for this many
	MaxMaxEntries     = 1 << 24 // prefixes in each trie
	MaxDropsPerSecond = 10000
	MaxTracked        = 1 << 17
	MaxMaxBans        = 100_000
	MaxBansPerMinute  = 10_000
	MaxMaxGrow        = 1000
)

// Default returns the configuration of an empty file.
func Default() Config {
	return Config{
		XDPMode:     ModeAuto,
		Repair:      RepairOwn,
		Essential:   EssentialOn,
		Socket:      "/run/paraxial/paraxiald.sock",
		SocketGroup: "paraxial",
		StateDir:    "/var/lib/paraxial",
		BPFFS:       "/sys/fs/bpf/paraxial",
		Metrics:     "127.0.0.1:9798",
		Log:         Log{Level: slog.LevelInfo, Format: FormatText},
		MaxEntries:  1 << 20,
		Guard:       Guard{SSHPorts: []uint16{22}},
		Import:      Import{MaxShrink: 50, MaxGrow: 3, MaxShare: 50},
		Events:      Events{DropsPerSecond: 20},
		Detection:   Detection{Tracked: 32_768, MaxBans: 10_000, Breaker: Breaker{BansPerMinute: 600}},
		Reports:     Reports{Socket: "/run/paraxial/report.sock"},
	}
}

// Load reads the configuration from the file at path. All mistakes in the file are
// returned together, as Errors.
func Load(path string) (Config, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Config{}, fmt.Errorf("read configuration: %w (name another file with --config)", err)
	}
	if err != nil {
		return Config{}, fmt.Errorf("read configuration: %w", err)
	}
	defer f.Close()
	// With one byte more than MaxFileSize, Parse sees that the file is too large.
	data, err := io.ReadAll(io.LimitReader(f, MaxFileSize+1))
	if err != nil {
		return Config{}, fmt.Errorf("read configuration: %w", err)
	}
	c, err := Parse(path, data)
	if err != nil {
		return Config{}, err
	}
	return c, c.readProxies()
}

// Parse reads the configuration from data. Name is the name of the file in errors and in
// Config.File. A configuration without an interface is accepted, since flags may add
// one: see Validate. Mistakes are returned as Errors.
func Parse(name string, data []byte) (Config, error) {
	d := &decoder{source: newSource(name, data)}
	c := Default()
	c.File = name
	if root := d.parse(data); root != nil {
		d.root(root, c.keys())
	}
	if n, err := c.checkNames(); err != nil && len(d.errs) == 0 {
		d.errorf(d.feeds[n], "%v", err)
	}
	if err := c.checkProxies(); err != nil && len(d.errs) == 0 {
		d.errorf(d.proxies, "%v", err)
	}
	if len(d.errs) > 0 {
		return Config{}, d.errs
	}
	return c, nil
}
