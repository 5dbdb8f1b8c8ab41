package detect

import (
	"slices"

	"github.com/paraxial/paraxial/policy"
	"github.com/paraxial/paraxial/track"
)

// Compile returns the levels and classes that the packet program needs to count for a
// list of detectors. Class n belongs to detector n. CheckAll must accept the list.
func Compile(list []Detector) ([]track.Level, []track.Class) {
	pers := Levels(list)
	var levels []track.Level
	for _, p := range pers {
		levels = append(levels, track.Level{IPv4: p.IPv4, IPv6: p.IPv6})
	}
	var classes []track.Class
	for _, d := range list {
		c := d.Match.class()
		c.Bytes = d.Limit.Unit == policy.Bytes
		c.Level = slices.Index(pers, d.Per)
		classes = append(classes, c)
	}
	return levels, classes
}

// class returns the class of the packets that m describes. Every field of m must
// change the result; TestEveryMatchKeyHasAnEffect checks this.
func (m Match) class() track.Class {
	c := track.Class{Proto: m.Proto.number(), Fragments: m.Fragment, Ports: m.Ports}
	c.Set, c.Clear = m.Flags.bits()
	return c
}

func (p Proto) number() track.Proto {
	switch p {
	case TCP:
		return track.TCP
	case UDP:
		return track.UDP
	case ICMP:
		return track.ICMP
	}
	return track.AnyProto
}

// bits returns the TCP flags that must be set and those that must be clear.
func (f Flag) bits() (set, clear uint8) {
	switch f {
	case SYN:
		return track.SYN, track.ACK
	case ACK:
		return track.ACK, track.SYN
	case RST:
		return track.RST, 0
	case FIN:
		return track.FIN, 0
	}
	return 0, 0
}
