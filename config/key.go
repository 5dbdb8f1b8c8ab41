package config

import (
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/paraxial/paraxial/policy"
)

// key is a key of the file, bound to its field in a Config. Decoding, Validate, Diff and
// Reload all use the table that keys returns.
type key struct {
	name string // as in the file, with its section: guard.ssh_ports
	live bool   // a reload applies a change
	// blank allows a key without a value, which means the default. A list whose
	// items are all commented out looks like that.
	blank  bool
	value  any // pointer into the Config
	decode func(*decoder, ast.Node)
	check  func() error
}

func (c *Config) keys() []key {
	return []key{
		interfacesKey(&c.Interfaces),
		textKey("xdp_mode", false, &c.XDPMode, ParseMode),
		textKey("repair", true, &c.Repair, ParseRepair),
		textKey("essential", true, &c.Essential, parseEssential),
		tunnelsKey(&c.Tunnels),
		textKey("socket", false, &c.Socket, parseSocket),
		textKey("socket_group", false, &c.SocketGroup, parseGroup),
		textKey("state_dir", false, &c.StateDir, parsePath),
		textKey("bpffs", false, &c.BPFFS, parsePath),
		textKey("metrics", false, &c.Metrics, ParseMetrics),
		listKey("metrics_hosts", true, &c.MetricsHosts, text, parseHostName, func(s string) string { return s }),
		levelKey(&c.Log),
		textKey("log.format", false, &c.Log.Format, ParseFormat),
		numberKey("max_entries", false, &c.MaxEntries, 1, MaxMaxEntries),
		listKey("guard.never_block", true, &c.Guard.NeverBlock, text, parsePrefix, netip.Prefix.String),
		listKey("guard.ssh_ports", true, &c.Guard.SSHPorts, number, parsePort, formatPort),
		percentKey("import.max_shrink", true, &c.Import.MaxShrink),
		numberKey("import.max_grow", true, &c.Import.MaxGrow, 0, MaxMaxGrow),
		percentKey("import.max_share", true, &c.Import.MaxShare),
		numberKey("events.drops_per_second", true, &c.Events.DropsPerSecond, 0, MaxDropsPerSecond),
		proxiesKey(&c.Proxies),
		textKey("proxies_file", true, &c.ProxiesFile, parseOptionalPath),
		numberKey("detection.tracked", false, &c.Detection.Tracked, 1, MaxTracked),
		numberKey("detection.max_bans", true, &c.Detection.MaxBans, 1, MaxMaxBans),
		numberKey("detection.breaker.bans_per_minute", true, &c.Detection.Breaker.BansPerMinute, 0, MaxBansPerMinute),
		detectorsKey(&c.Detectors),
		rulesKey(&c.Rules),
		setsKey(&c.Sets),
		feedsKey(&c.Feeds),
		logsKey(&c.Logs),
		textKey("reports.socket", false, &c.Reports.Socket, parseReportSocket),
		textKey("reports.blocklist_socket", false, &c.Reports.BlocklistSocket, parseReportSocket),
		reportersKey(&c.Reports.Reporters),
	}
}

// keys returns the keys of an item of interfaces.
func (i *Interface) keys() []key {
	return []key{
		textKey("interfaces.name", true, &i.Name, ParseInterface),
		i.modeKey(),
	}
}

func (i *Interface) modeKey() key { return textKey("interfaces.mode", false, &i.Mode, ParseMode) }

func formatPort(p uint16) string { return strconv.Itoa(int(p)) }

// textKey is a key whose value is text. Parsing the result of parse must return it
// unchanged, because Validate checks values set by flags in this way.
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

func percentKey(name string, live bool, value *Percent) key {
	return key{
		name:   name,
		live:   live,
		value:  value,
		decode: func(d *decoder, n ast.Node) { scalar(d, name, n, text, parsePercent, value) },
		check: func() error {
			_, err := parsePercent(value.String())
			return named(name, err)
		},
	}
}

func listKey[T any](
	name string, live bool, values *[]T, kind scalarKind, parse func(string) (T, error), format func(T) string,
) key {
	return key{
		name:  name,
		live:  live,
		blank: true,
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

// portsKey is a key whose value is a port or a list of ports.
func portsKey(name string, ports *[]uint16) key {
	k := listKey(name, true, ports, number, parsePort, formatPort)
	k.blank = false
	list := k.decode
	k.decode = func(d *decoder, n ast.Node) {
		if _, kind := scalarText(n); kind == other {
			list(d, n)
			return
		}
		var p uint16
		if scalar(d, name, n, number, parsePort, &p) {
			*ports = []uint16{p}
		}
	}
	return k
}

func boolKey(name string, live bool, value *bool) key {
	parse := func(s string) (bool, error) {
		if s != "true" && s != "false" {
			return false, fmt.Errorf("%q is not accepted; want true or false", s)
		}
		return s == "true", nil
	}
	return key{
		name:   name,
		live:   live,
		value:  value,
		decode: func(d *decoder, n ast.Node) { scalar(d, name, n, word, parse, value) },
		check:  func() error { return nil },
	}
}

func rateKey(name string, live bool, value *policy.Rate) key {
	return key{
		name:   name,
		live:   live,
		value:  value,
		decode: func(d *decoder, n ast.Node) { scalar(d, name, n, text, policy.ParseRate, value) },
		check:  func() error { return named(name, value.Check()) },
	}
}

func durationKey(name string, live bool, value *time.Duration, low, high time.Duration) key {
	within := func(t time.Duration) error {
		if t < low || t > high {
			return fmt.Errorf("got %s; want a duration from %s to %s",
				policy.FormatTTL(t), policy.FormatTTL(low), policy.FormatTTL(high))
		}
		return nil
	}
	parse := func(s string) (time.Duration, error) {
		t, err := policy.ParseTTL(s)
		if err == nil {
			err = within(t)
		}
		return t, err
	}
	return key{
		name:   name,
		live:   live,
		value:  value,
		decode: func(d *decoder, n ast.Node) { scalar(d, name, n, text, parse, value) },
		check:  func() error { return named(name, within(*value)) },
	}
}

func interfacesKey(list *[]Interface) key {
	return key{
		name:   "interfaces",
		live:   true,
		blank:  true,
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
