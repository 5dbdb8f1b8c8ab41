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

// Config is what the daemon runs with.
type Config struct {
	// File is where the configuration was read from; empty if from flags alone.
	File string

	Interfaces  []Interface
	XDPMode     Mode   // for interfaces that name none
	Repair      Repair // what to do about a filter that is not as it was put
	Socket      string // control socket, absolute path
	SocketGroup string // group name or number; empty for the daemon's own
	StateDir    string // absolute path
	BPFFS       string // directory for the pins, absolute path
	Metrics     string // host:port; empty for none
	Log         Log
	MaxEntries  int // capacity of each trie, in prefixes
	Guard       Guard
	Events      Events

	// Proxies are never acted upon by detectors: behind them are all who use
	// them. Load appends what is in ProxiesFile.
	Proxies     []netip.Prefix
	ProxiesFile string // absolute path; empty for none
	Detection   Detection
	Detectors   []detect.Detector
}

// Interface is one network interface to filter on.
type Interface struct {
	Name string
	Mode Mode // empty: Config.XDPMode
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
	Level  slog.Level
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
	NeverBlock []netip.Prefix // without host bits
	SSHPorts   []uint16       // the peers of live sessions on these are protected
}

// Events bounds what the kernel reports packet by packet.
type Events struct {
	DropsPerSecond int // sampled drops; 0 for none
}

// Limits of values, besides those which the kernel sets.
const (
	MaxFileSize       = 1 << 20 // bytes
	MaxInterfaces     = 64      // as many as the program has counters for
	MaxMaxEntries     = 1 << 24 // prefixes in each trie
	MaxDropsPerSecond = 10000
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
