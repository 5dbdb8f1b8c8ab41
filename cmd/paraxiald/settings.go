package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"github.com/paraxial/paraxial/config"
	"github.com/paraxial/paraxial/service"
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

// overlay replaces values of the file by those of the flags. A flag with an
// invalid value is a usage error.
func overlay(c *cli.Context, cfg *config.Config) error {
	var errs []error
	parse := func(name string, f func(string) error) {
		if !isSet(c, name) {
			return
		}
		if err := f(flagOf(c, name)); err != nil {
			errs = append(errs, fmt.Errorf("--%s: %w", name, err))
		}
	}
	errs = append(errs, overlayInterfaces(c, cfg))
	// The flag replaces the modes of single interfaces in the file too.
	parse("xdp-mode", func(s string) (err error) {
		cfg.XDPMode, err = config.ParseMode(s)
		for i := range cfg.Interfaces {
			cfg.Interfaces[i].Mode = ""
		}
		return err
	})
	for name, to := range map[string]*string{"socket": &cfg.Socket, "state-dir": &cfg.StateDir, "bpffs": &cfg.BPFFS} {
		parse(name, func(s string) (err error) {
			*to, err = filepath.Abs(s)
			return err
		})
	}
	parse("metrics", func(s string) (err error) { cfg.Metrics, err = config.ParseMetrics(s); return err })
	parse("log-level", func(s string) (err error) { cfg.Log.Level, err = config.ParseLevel(s); return err })
	parse("log-format", func(s string) (err error) { cfg.Log.Format, err = config.ParseFormat(s); return err })
	if err := errors.Join(errs...); err != nil {
		return &service.UsageError{Err: err}
	}
	return nil
}

func overlayInterfaces(c *cli.Context, cfg *config.Config) error {
	names := interfacesOf(c)
	if len(names) == 0 {
		return nil
	}
	cfg.Interfaces = nil
	for _, name := range names {
		name, err := config.ParseInterface(name)
		if err != nil {
			return fmt.Errorf("--interface: %w", err)
		}
		cfg.Interfaces = append(cfg.Interfaces, config.Interface{Name: name})
	}
	return nil
}

// Flags may stand before or after the command: paraxiald --config F check. The
// lineage of contexts holds both. The functions below read them.

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
