package config

import (
	"fmt"
	"net/netip"
	"strconv"

	"github.com/goccy/go-yaml/ast"
)

// key is one key of the file, bound to its place in a Config. The table that
// keys returns is all that decoding, Validate and Diff know of the keys.
type key struct {
	name   string // as in the file, with its section: guard.ssh_ports
	live   bool   // a change is applied without a restart
	value  any    // pointer into the Config
	decode func(*decoder, ast.Node)
	check  func() error
}

func (c *Config) keys() []key {
	return []key{
		interfacesKey(&c.Interfaces),
		textKey("xdp_mode", false, &c.XDPMode, ParseMode),
		textKey("repair", true, &c.Repair, ParseRepair),
		textKey("socket", false, &c.Socket, parseSocket),
		textKey("socket_group", false, &c.SocketGroup, parseGroup),
		textKey("state_dir", false, &c.StateDir, parsePath),
		textKey("bpffs", false, &c.BPFFS, parsePath),
		textKey("metrics", false, &c.Metrics, ParseMetrics),
		levelKey(&c.Log),
		textKey("log.format", false, &c.Log.Format, ParseFormat),
		numberKey("max_entries", false, &c.MaxEntries, 1, MaxMaxEntries),
		listKey("guard.never_block", true, &c.Guard.NeverBlock, text, parsePrefix, netip.Prefix.String),
		listKey("guard.ssh_ports", true, &c.Guard.SSHPorts, number, parsePort, formatPort),
		numberKey("events.drops_per_second", true, &c.Events.DropsPerSecond, 0, MaxDropsPerSecond),
		listKey("proxies", true, &c.Proxies, text, parsePrefix, netip.Prefix.String),
		textKey("proxies_file", true, &c.ProxiesFile, parseOptionalPath),
		numberKey("detection.tracked", false, &c.Detection.Tracked, 1, MaxTracked),
		numberKey("detection.max_bans", true, &c.Detection.MaxBans, 1, MaxMaxBans),
		numberKey("detection.breaker.bans_per_minute", true, &c.Detection.Breaker.BansPerMinute, 0, MaxBansPerMinute),
		detectorsKey(&c.Detectors),
	}
}

// keys are those of an item of interfaces.
func (i *Interface) keys() []key {
	return []key{
		textKey("interfaces.name", true, &i.Name, ParseInterface),
		textKey("interfaces.mode", false, &i.Mode, ParseMode),
	}
}

func formatPort(p uint16) string { return strconv.Itoa(int(p)) }

// textKey is a key whose value is text. What parse returns must parse again to
// itself: that is how Validate checks what flags have put there.
func textKey[T ~string](name string, live bool, value *T, parse func(string) (T, error)) key {
	return key{
		name:  name,
		live:  live,
		value: value,
		decode: func(d *decoder, n ast.Node) {
			scalar(d, name, n, text, parse, value)
		},
		check: func() error {
			_, err := parse(string(*value))
			return named(name, err)
		},
	}
}

func levelKey(l *Log) key {
	const name = "log.level"
	return key{
		name:  name,
		live:  true,
		value: &l.Level,
		decode: func(d *decoder, n ast.Node) {
			scalar(d, name, n, text, ParseLevel, &l.Level)
		},
		check: func() error {
			_, err := ParseLevel(formatLevel(l.Level))
			return named(name, err)
		},
	}
}

func numberKey(name string, live bool, value *int, low, high int) key {
	parse := func(s string) (int, error) { return parseNumber(s, low, high) }
	return key{
		name:  name,
		live:  live,
		value: value,
		decode: func(d *decoder, n ast.Node) {
			scalar(d, name, n, number, parse, value)
		},
		check: func() error {
			_, err := parse(strconv.Itoa(*value))
			return named(name, err)
		},
	}
}

func listKey[T any](name string, live bool, values *[]T, kind scalarKind, parse func(string) (T, error), format func(T) string) key {
	return key{
		name:  name,
		live:  live,
		value: values,
		decode: func(d *decoder, n ast.Node) {
			*values = nil
			for _, item := range d.list(name, n) {
				var v T
				if scalar(d, name, item, kind, parse, &v) {
					*values = append(*values, v)
				}
			}
		},
		check: func() error {
			for _, v := range *values {
				if _, err := parse(format(v)); err != nil {
					return named(name, err)
				}
			}
			return nil
		},
	}
}

func interfacesKey(list *[]Interface) key {
	return key{
		name:   "interfaces",
		live:   true,
		value:  list,
		decode: func(d *decoder, n ast.Node) { *list = d.interfaces(n) },
		check:  func() error { return checkInterfaces(*list) },
	}
}

func named(name string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}
