package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"github.com/paraxial/paraxial/config"
)

// configure returns the configuration: defaults, then the file, then flags.
// With flags alone no file is needed.
func configure(c *cli.Context) (config.Config, error) {
	cfg, err := readFile(c)
	if err != nil {
		return config.Config{}, err
	}
	if err := overlay(c, &cfg); err != nil {
		return config.Config{}, err
	}
	return cfg, cfg.Validate()
}

func readFile(c *cli.Context) (config.Config, error) {
	if path := flagOf(c, "config"); path != "" {
		return config.Load(path)
	}
	if _, err := os.Stat(defaultConfig); errors.Is(err, fs.ErrNotExist) {
		return config.Default(), nil
	}
	return config.Load(defaultConfig)
}

// overlay lays the flags over what the file says.
func overlay(c *cli.Context, cfg *config.Config) error {
	if names := interfacesOf(c); len(names) > 0 {
		cfg.Interfaces = nil
		for _, name := range names {
			cfg.Interfaces = append(cfg.Interfaces, config.Interface{Name: name})
		}
	}
	paths := map[string]*string{"socket": &cfg.Socket, "state-dir": &cfg.StateDir, "bpffs": &cfg.BPFFS}
	for name, to := range paths {
		if !isSet(c, name) {
			continue
		}
		path, err := filepath.Abs(flagOf(c, name))
		if err != nil {
			return fmt.Errorf("--%s: %w", name, err)
		}
		*to = path
	}
	if isSet(c, "xdp-mode") {
		cfg.XDPMode = config.Mode(flagOf(c, "xdp-mode"))
		// A flag beats the file, also where the file is more particular.
		for i := range cfg.Interfaces {
			cfg.Interfaces[i].Mode = ""
		}
	}
	if isSet(c, "metrics") {
		if cfg.Metrics = flagOf(c, "metrics"); cfg.Metrics == "off" {
			cfg.Metrics = ""
		}
	}
	if isSet(c, "log-level") {
		if err := cfg.Log.Level.UnmarshalText([]byte(flagOf(c, "log-level"))); err != nil {
			return &usageError{fmt.Errorf("--log-level: want debug, info, warn or error, not %q", flagOf(c, "log-level"))}
		}
	}
	if isSet(c, "log-format") {
		cfg.Log.Format = config.Format(flagOf(c, "log-format"))
	}
	return nil
}

// Flags may stand before or after the command: paraxiald --config F check.
// The lineage of contexts holds both.

func isSet(c *cli.Context, name string) bool {
	for _, ctx := range c.Lineage() {
		if ctx.IsSet(name) {
			return true
		}
	}
	return false
}

func flagOf(c *cli.Context, name string) string {
	for _, ctx := range c.Lineage() {
		if ctx.IsSet(name) {
			return ctx.String(name)
		}
	}
	return ""
}

func interfacesOf(c *cli.Context) []string {
	for _, ctx := range c.Lineage() {
		if ctx.IsSet("interface") {
			return ctx.StringSlice("interface")
		}
	}
	return nil
}
