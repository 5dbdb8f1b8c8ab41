package config

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/paraxial/paraxial/detect"
	"github.com/paraxial/paraxial/ladder"
	"github.com/paraxial/paraxial/policy"
)

// defaultWiden is the default of widen.ipv6: a /56 is commonly one customer. IPv4 sources
// are not widened by default.
const defaultWiden = 56

// unset is widen.ipv6 of an item that does not name it.
const unset = -1

// completeWiden gives widen.ipv6 its default, if a source of per is not as wide already.
func completeWiden(w *ladder.Widen, per ladder.Per) {
	if w.IPv6 >= 0 {
		return
	}
	w.IPv6 = 0
	if per.IPv6 > defaultWiden {
		w.IPv6 = defaultWiden
	}
}

// detectorKeys returns the keys of an item of detectors.
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
		durationKey("detectors.for", true, &t.For, time.Second, ladder.MaxFor),
		numberKey("detectors.escalate.factor", true, &t.Escalate.Factor, 1, ladder.MaxFactor),
		durationKey("detectors.escalate.max", true, &t.Escalate.Max, time.Second, ladder.MaxFor),
		durationKey("detectors.escalate.forget", true, &t.Escalate.Forget, time.Second, ladder.MaxFor),
		numberKey("detectors.widen.sources", true, &t.Widen.Sources, ladder.MinSources, ladder.MaxSources),
		numberKey("detectors.widen.ipv6", true, &t.Widen.IPv6, 0, 127),
		numberKey("detectors.widen.ipv4", true, &t.Widen.IPv4, 0, 31),
	}
}

func parseDetectorName(s string) (string, error) {
	if policy.ValidOrigin(policy.OriginDetector+s) != nil {
		return "", fmt.Errorf("%q cannot be a name; want letters, digits, '.', '_' and '-', at most 63, "+
			"a letter or digit first", shorten(s, 80))
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
	k := itemList[detect.Detector]{
		name:    "detectors",
		example: "{name: syn-flood, match: {proto: tcp, flags: syn}, limit: 200/s, action: limit}",
		decode:  (*decoder).detector, complete: completeDetector, follow: nextDetector,
	}.key(list)
	k.check = func() error { return named("detectors", detect.CheckAll(*list)) }
	return k
}

func (d *decoder) detector(m *ast.MappingNode) detect.Detector {
	t := detect.Default()
	t.Widen.IPv6 = unset
	d.mapping(m, "detectors.", detectorKeys(&t))
	completeWiden(&t.Widen, t.Per)
	return t
}

func completeDetector(t detect.Detector) error {
	switch {
	case t.Name == "":
		return errors.New("a detector has no name; give it one, as in name: syn-flood")
	case t.Limit.PerSecond == 0:
		return fmt.Errorf("%q has no limit; give it one, as in limit: 200/s or limit: 10Mbit/s", t.Name)
	case t.Action == "":
		return fmt.Errorf("%q has no action; want action: block, limit or shadow (shadow only counts)", t.Name)
	}
	if err := t.Check(); err != nil {
		return fmt.Errorf("%q: %w", t.Name, err)
	}
	return nil
}

// nextDetector returns an error if t cannot follow the detectors before it.
func nextDetector(before []detect.Detector, t detect.Detector) error {
	if len(before) == detect.MaxDetectors {
		return fmt.Errorf("more than %d; %q is one too many", detect.MaxDetectors, t.Name)
	}
	return detect.CheckAll(append(slices.Clip(before), t))
}
