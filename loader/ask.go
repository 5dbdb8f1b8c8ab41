package loader

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/cilium/ebpf"
)

// Answer tells what the program does with a packet.
type Answer struct {
	Drop   bool
	Reason Reason
}

// twin is a second instance of an attached program. It reads the same tries, index and
// limits, and writes to counters of its own. Interfaces that are attached again keep it,
// because the verifier takes a good part of a second to load another one.
type twin struct {
	build   build
	tag     string
	coll    *ebpf.Collection
	program *ebpf.Program
}

func (t *twin) close() { t.coll.Close() }

// instanceInForce identifies the program in force on an interface.
type instanceInForce struct {
	build build
	slot  uint32
	tag   string // a digest of its instructions
}

// Ask runs the program in force on iface with a packet from a. It uses BPF_PROG_TEST_RUN on
// a second instance over the same tries and the same index. It changes no live counter,
// takes nothing from a limit and writes no event. The error is ErrDifferentProgram if the
// program in force is not the one that this Loader attached.
func (l *Loader) Ask(iface string, a netip.Addr) (Answer, error) {
	l.asking.Lock()
	defer l.asking.Unlock()
	ans, err := l.ask(iface, a.Unmap())
	if err != nil {
		return Answer{}, fmt.Errorf("ask the program on %s about %s: %w", iface, a, err)
	}
	return ans, nil
}

func (l *Loader) ask(iface string, a netip.Addr) (Answer, error) {
	live, err := l.inForce(iface)
	if err != nil {
		return Answer{}, err
	}
	t, err := l.twinOf(live)
	if err != nil {
		return Answer{}, err
	}
	counters := t.coll.Maps[plainMapCounters]
	before, err := readSlot(counters, live.slot)
	if err != nil {
		return Answer{}, err
	}
	action, err := t.program.Run(&ebpf.RunOptions{Data: frameFrom(a)})
	if err != nil {
		return Answer{}, err
	}
	after, err := readSlot(counters, live.slot)
	if err != nil {
		return Answer{}, err
	}
	for r := range Reasons() {
		if after[r].Packets != before[r].Packets {
			return Answer{Drop: action == xdpDrop, Reason: r}, nil
		}
	}
	return Answer{}, fmt.Errorf("the program returned %d and counted nothing", action)
}

// inForce returns the program in force on an interface, if this Loader attached it.
func (l *Loader) inForce(iface string) (instanceInForce, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	live, _, err := l.attest(iface)
	if errors.Is(err, ErrNotAttached) {
		return instanceInForce{}, err
	}
	if err != nil {
		return instanceInForce{}, fmt.Errorf("%w: %w", ErrDifferentProgram, err)
	}
	tag, err := tagOf(live.program)
	return instanceInForce{build: live.build, slot: live.slot, tag: tag}, err
}

// xdpDrop is XDP_DROP of enum xdp_action.
const xdpDrop = 1

// twinOf returns the twin of a program in force, made on first use. There is one for each
// slot.
func (l *Loader) twinOf(live instanceInForce) (*twin, error) {
	t := l.twins[live.slot]
	if t == nil || t.build != live.build {
		l.closeTwin(live.slot)
		var err error
		if t, err = l.makeTwin(live); err != nil {
			return nil, err
		}
		l.twins[live.slot] = t
	}
	if t.tag != live.tag {
		return nil, fmt.Errorf("%w: its tag is %s, not %s", ErrDifferentProgram, live.tag, t.tag)
	}
	return t, nil
}

func (l *Loader) makeTwin(live instanceInForce) (*twin, error) {
	spec := l.specs[live.build].Copy()
	spec.Maps[plainMapHits].MaxEntries = 1
	spec.Maps[plainMapHits].InnerMap.MaxEntries = 1
	spec.Maps[plainMapTracked].InnerMap.MaxEntries = 1
	read := mapSet{}
	for _, name := range slices.Concat(trieNames(), indexNames(), []string{plainMapLimits, plainMapEssential}) {
		read[name] = l.maps[name]
	}
	coll, err := loadProgram(spec, instance{slot: live.slot, probe: true}, read)
	if err != nil {
		return nil, err
	}
	t := &twin{build: live.build, coll: coll, program: coll.Programs[plainProgParaxial]}
	if t.tag, err = tagOf(t.program); err == nil {
		err = l.usesOurMaps(t.program)
	}
	if err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

// closeTwin closes the twin of a slot, if there is one. The caller has asking.
func (l *Loader) closeTwin(slot uint32) {
	if t := l.twins[slot]; t != nil {
		t.close()
		delete(l.twins, slot)
	}
}

// tagOf returns the tag of a program, which is a digest of its instructions.
func tagOf(p *ebpf.Program) (string, error) {
	info, err := p.Info()
	if err != nil {
		return "", err
	}
	return info.Tag, nil
}

// frameFrom returns the smallest valid frame from an address: Ethernet and the IP base
// header, without payload.
func frameFrom(a netip.Addr) []byte {
	const (
		etherLen, ipv4Len, ipv6Len   = 14, 20, 40
		etherTypeIPv4, etherTypeIPv6 = 0x0800, 0x86dd
		ttl, noNextHeader            = 64, 59
	)
	frame := make([]byte, etherLen, etherLen+ipv6Len)
	if a.Is4() {
		binary.BigEndian.PutUint16(frame[12:], etherTypeIPv4)
		ip := [ipv4Len]byte{0: 4<<4 | ipv4Len/4, 3: ipv4Len, 8: ttl, 9: noNextHeader}
		src := a.As4()
		copy(ip[12:], src[:])
		return append(frame, ip[:]...)
	}
	binary.BigEndian.PutUint16(frame[12:], etherTypeIPv6)
	ip := [ipv6Len]byte{0: 6 << 4, 6: noNextHeader, 7: ttl}
	src := a.As16()
	copy(ip[8:], src[:])
	return append(frame, ip[:]...)
}
