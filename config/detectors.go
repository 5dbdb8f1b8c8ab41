package config

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/paraxial/paraxial/detect"
	"github.com/paraxial/paraxial/policy"
)

// Detection bounds what all detectors together do.
type Detection struct {
	// The maximum number of sources with exact counters. Each takes about 100 bytes,
	// and 100 more for every detector.
	Tracked int
	// The maximum number of entries of all detectors. Above it, the oldest one is
	// removed. Entries of other origins are not touched.
	MaxBans int
	Breaker Breaker
}

// Breaker turns detectors to shadow when they ban too fast.
type Breaker struct {
	// The circuit breaker: above this number of new entries per minute, detectors only
	// count (shadow), until a minute passes with at most half as many. 0 turns this
	// off.
	BansPerMinute int
}

// Bounds of the detection section.
const (
	MaxTracked       = 1 << 17
	MaxMaxBans       = 100_000
	MaxBansPerMinute = 10_000
)

// defaultWiden is what IPv6 sources are widened to where nothing is said: a
// /56 is commonly one customer. IPv4 sources never are.
const defaultWiden = 56

// detectorKeys are those of an item of detectors.
func detectorKeys(t *detect.Detector) []key {
	return []key{
		textKey("detectors.name", true, &t.Name, parseDetectorName),
		textKey("detectors.match.proto", true, &t.Match.Proto, parseProto),
		textKey("detectors.match.flags", true, &t.Match.Flags, parseFlags),
		portsKey("detectors.match.port", &t.Match.Ports),
		boolKey("detectors.match.fragment", true, &t.Match.Fragment),
		rateKey("detectors.limit", true, &t.Limit),
		durationKey("detectors.window", true, &t.Window, detect.MinWindow, detect.MaxWindow),
		numberKey("detectors.per.ipv4", true, &t.Per.IPv4, policy.WidestIPv4, 32),
		numberKey("detectors.per.ipv6", true, &t.Per.IPv6, policy.WidestIPv6, 128),
		textKey("detectors.action", true, &t.Action, parseAction),
		durationKey("detectors.for", true, &t.For, time.Second, detect.MaxFor),
		numberKey("detectors.escalate.factor", true, &t.Escalate.Factor, 1, detect.MaxFactor),
		durationKey("detectors.escalate.max", true, &t.Escalate.Max, time.Second, detect.MaxFor),
		durationKey("detectors.escalate.forget", true, &t.Escalate.Forget, time.Second, detect.MaxFor),
		numberKey("detectors.widen.sources", true, &t.Widen.Sources, detect.MinSources, detect.MaxSources),
		numberKey("detectors.widen.ipv6", true, &t.Widen.IPv6, 0, 127),
		numberKey("detectors.widen.ipv4", true, &t.Widen.IPv4, 0, 31),
	}
}

func parseDetectorName(s string) (string, error) {
	if policy.ValidOrigin(policy.OriginDetector+s) != nil {
		return "", fmt.Errorf("%q cannot be a name; want letters, digits, '.', '_' and '-', at most 63, a letter or digit first", shorten(s, 80))
	}
	return s, nil
}

func parseProto(s string) (detect.Proto, error) {
	return oneOf(s, detect.AnyProto, detect.TCP, detect.UDP, detect.ICMP)
}

func parseFlags(s string) (detect.Flag, error) {
	return oneOf(s, detect.SYN, detect.ACK, detect.FIN, detect.RST)
}

func parseAction(s string) (detect.Action, error) {
	return oneOf(s, detect.Block, detect.Limit, detect.Shadow)
}

func detectorsKey(list *[]detect.Detector) key {
	return key{
		name:   "detectors",
		live:   true,
		value:  list,
		decode: func(d *decoder, n ast.Node) { *list = d.detectors(n) },
		check:  func() error { return named("detectors", detect.CheckAll(*list)) },
	}
}

// detectors decodes the list of detectors. What is wrong with one value is told
// at the value, what is wrong between values at the detector.
func (d *decoder) detectors(n ast.Node) []detect.Detector {
	var list []detect.Detector
	for _, item := range d.list("detectors", n) {
		m, ok := item.(*ast.MappingNode)
		if !ok {
			d.errorf(item, "detectors: got %s; want keys with values, as in - {name: syn-flood, match: {proto: tcp, flags: syn}, limit: 200/s, action: limit}", describe(item))
			continue
		}
		if t, ok := d.detector(m); ok {
			if err := nextDetector(list, t); err != nil {
				d.errorf(item, "detectors: %v", err)
				continue
			}
			list = append(list, t)
		}
	}
	return list
}

func (d *decoder) detector(m *ast.MappingNode) (detect.Detector, bool) {
	before := len(d.errs)
	t := detect.Default()
	t.Widen.IPv6 = -1
	d.mapping(m, "detectors.", detectorKeys(&t))
	if t.Widen.IPv6 < 0 {
		t.Widen.IPv6 = 0
		if t.Per.IPv6 > defaultWiden {
			t.Widen.IPv6 = defaultWiden
		}
	}
	if len(d.errs) == before {
		d.complete(m, t)
	}
	return t, len(d.errs) == before
}

// complete wants the keys that have no default, and values that go together.
func (d *decoder) complete(m *ast.MappingNode, t detect.Detector) {
	var err error
	switch {
	case t.Name == "":
		err = errors.New("a detector has no name; give it one, as in name: syn-flood")
	case t.Limit.PerSecond == 0:
		err = fmt.Errorf("%q has no limit; give it one, as in limit: 200/s or limit: 10Mbit/s", t.Name)
	case t.Action == "":
		err = fmt.Errorf("%q has no action; want action: block, limit or shadow (shadow only counts)", t.Name)
	default:
		if err = t.Check(); err != nil {
			err = fmt.Errorf("%q: %w", t.Name, err)
		}
	}
	if err != nil {
		d.errorf(m, "detectors: %v", err)
	}
}

// nextDetector returns an error if t cannot follow the detectors before it.
func nextDetector(before []detect.Detector, t detect.Detector) error {
	if len(before) == detect.MaxDetectors {
		return fmt.Errorf("more than %d; %q is one too many", detect.MaxDetectors, t.Name)
	}
	return detect.CheckAll(append(slices.Clip(before), t))
}

// portsKey is a key whose value is a port or a list of ports.
func portsKey(name string, ports *[]uint16) key {
	k := listKey(name, true, ports, number, parsePort, formatPort)
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
			return fmt.Errorf("got %s; want a duration from %s to %s", policy.FormatTTL(t), policy.FormatTTL(low), policy.FormatTTL(high))
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

// parseOptionalPath reads an absolute path, or nothing.
func parseOptionalPath(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	return parsePath(s)
}

// readProxies appends the prefixes of the file that c names to those listed.
func (c *Config) readProxies() error {
	if c.ProxiesFile == "" {
		return nil
	}
	f, err := os.Open(c.ProxiesFile)
	if err != nil {
		return fmt.Errorf("read proxies_file: %w (named in %s)", err, c.File)
	}
	defer f.Close()
	var errs Errors
	prefixes := slices.Clip(c.Proxies)
	err = policy.ReadList(io.LimitReader(f, MaxFileSize), func(l policy.ListLine) bool {
		if l.Err != nil {
			errs = append(errs, &Error{File: c.ProxiesFile, Line: l.Number, Column: 1, Message: "proxies_file: " + message("%v", l.Err)})
			return len(errs) < maxListed
		}
		prefixes = append(prefixes, l.Prefix)
		return true
	})
	if err != nil {
		return fmt.Errorf("read proxies_file %s: %w", c.ProxiesFile, err)
	}
	if len(errs) > 0 {
		return errs
	}
	c.Proxies = prefixes
	return nil
}

// ProxyOf returns the range of Proxies that p overlaps, if there is one.
func (c Config) ProxyOf(p netip.Prefix) (netip.Prefix, bool) {
	for _, proxy := range c.Proxies {
		if proxy.Overlaps(p) {
			return proxy, true
		}
	}
	return netip.Prefix{}, false
}
