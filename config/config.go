// Package config reads the daemon's configuration: a YAML file in, a validated
// Config out. It is strict, because a misspelt key in a packet filter is a hole:
// what is not understood is an error that shows the place.
package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"

	"github.com/paraxial/paraxial/detect"
)

// Config is what the daemon runs with. The comments of its fields, and of those
// below, are also what the reference says of the key: go test ./config -update
// writes them there.
type Config struct {
	// File is where the configuration was read from; empty if from flags alone.
	File string

	// The network interfaces to filter on. At least one is needed, here or with
	// `--interface`. See Interfaces below.
	Interfaces []Interface
	// How to attach where an interface does not say. See Modes below.
	XDPMode Mode
	// What to do when an interface is found unprotected. See Repair below.
	Repair Repair
	// The Unix socket that `paraxialctl` talks to. An absolute path.
	Socket string
	// Members of this group may use the socket. A name or, in quotes, a number. `""`
	// means only root.
	SocketGroup string
	// The directory that keeps the entries across restarts. An absolute path.
	StateDir string
	// The directory where the filter is pinned, so that it goes on filtering without
	// the daemon. An absolute path on a mounted BPF file system.
	BPFFS string
	// The address that serves the [metrics](metrics.md), as `host:port`. `off` serves
	// none. `:9798` serves on all addresses: then anyone who reaches the port can
	// read them.
	Metrics string
	Log     Log
	// How many prefixes fit. IPv4 and IPv6, blocks and allows, have this much room
	// each.
	MaxEntries int
	Guard      Guard
	Events     Events

	// Addresses and prefixes of proxies and CDNs that your visitors come through.
	// Detectors leave them alone. See Proxies below.
	Proxies []netip.Prefix
	// A file with more of them, one a line. An absolute path. `""` is none.
	ProxiesFile string
	Detection   Detection
	// The rules by which sources are acted upon. See Detectors below.
	Detectors []detect.Detector
}

// Interface is one network interface to filter on.
type Interface struct {
	// The name of the interface. Each may be listed once.
	Name string
	// How to attach to this one. `""`, which is to leave the key out, means
	// `xdp_mode`.
	Mode Mode
}

// ModeOf returns the mode in which to attach to i, its own or the general one.
func (c Config) ModeOf(i Interface) Mode {
	if i.Mode != "" {
		return i.Mode
	}
	return c.XDPMode
}

// Mode says where in the network stack the program runs.
type Mode string

// The modes.
const (
	ModeAuto    Mode = "auto"    // native, or generic where the driver has no XDP
	ModeNative  Mode = "native"  // in the driver
	ModeGeneric Mode = "generic" // in the stack: any interface, slower
)

// Repair says what the daemon does about an interface that is found unprotected.
type Repair string

// The repairs.
const (
	RepairNever  Repair = "never"  // tell
	RepairOwn    Repair = "own"    // put the filter back, unless a foreign program is there
	RepairAlways Repair = "always" // remove foreign programs as well
)

// Log says what is logged, and how.
type Log struct {
	// The least severe message to log.
	Level slog.Level
	// The form of a line of the log.
	Format Format
}

// Format is the form of a line of the log.
type Format string

// The formats.
const (
	FormatText Format = "text"
	FormatJSON Format = "json"
)

// Guard is what must never be blocked, besides what the daemon finds by itself.
type Guard struct {
	// Addresses and prefixes that must not be blocked by mistake. See Guard below.
	NeverBlock []netip.Prefix
	// The ports that your SSH server listens on. Whoever is logged in there cannot be
	// blocked by mistake. `[]` turns this off.
	SSHPorts []uint16
}

// Events bounds what the kernel reports packet by packet.
type Events struct {
	// How many dropped packets a second `paraxialctl watch` shows at most. 0 shows
	// none. Counters are exact whatever you put here.
	DropsPerSecond int
}

// Detection bounds what all detectors together do.
type Detection struct {
	// How many sources are counted exactly at once. Each takes about 100 bytes, and
	// as much again for every detector.
	Tracked int
	// How many entries detectors have at once. When there are more, the oldest goes.
	// Entries of other origins are not touched.
	MaxBans int
	Breaker Breaker
}

// Breaker turns detectors to shadow when they ban too fast.
type Breaker struct {
	// From how many new entries a minute on detectors only count (shadow), until a
	// minute has passed with half as many. 0 turns this off.
	BansPerMinute int
}

// Limits of values, besides those which the kernel sets.
const (
	MaxFileSize       = 1 << 20 // bytes
	MaxInterfaces     = 64      // as many as the program has counters for
	MaxMaxEntries     = 1 << 24 // prefixes in each trie
	MaxDropsPerSecond = 10000
	MaxTracked        = 1 << 17
	MaxMaxBans        = 100_000
	MaxBansPerMinute  = 10_000
)

// Default returns the configuration of an empty file.
func Default() Config {
	return Config{
		XDPMode:     ModeAuto,
		Repair:      RepairOwn,
		Socket:      "/run/paraxial/paraxiald.sock",
		SocketGroup: "paraxial",
		StateDir:    "/var/lib/paraxial",
		BPFFS:       "/sys/fs/bpf/paraxial",
		Metrics:     "127.0.0.1:9798",
		Log:         Log{Level: slog.LevelInfo, Format: FormatText},
		MaxEntries:  1 << 20,
		Guard:       Guard{SSHPorts: []uint16{22}},
		Events:      Events{DropsPerSecond: 20},
		Detection:   Detection{Tracked: 32_768, MaxBans: 10_000, Breaker: Breaker{BansPerMinute: 600}},
	}
}

// Load reads the configuration from the file at path. What is wrong in the
// file comes back as Errors, all of it at once.
func Load(path string) (Config, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Config{}, fmt.Errorf("read configuration: %w (name another file with --config)", err)
	}
	if err != nil {
		return Config{}, fmt.Errorf("read configuration: %w", err)
	}
	defer f.Close()
	// One byte more than accepted tells Parse that the file is too large.
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

// Parse reads the configuration from data; name stands for the file in errors
// and in Config.File. A configuration without an interface is accepted, as
// flags may bring one: see Validate. What is wrong comes back as Errors.
func Parse(name string, data []byte) (Config, error) {
	d := &decoder{source: newSource(name, data)}
	c := Default()
	c.File = name
	if root := d.parse(data); root != nil {
		d.root(root, c.keys())
	}
	if len(d.errs) > 0 {
		return Config{}, d.errs
	}
	return c, nil
}
