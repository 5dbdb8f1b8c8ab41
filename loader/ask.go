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
// limits, and writes to counters of its own.
type twin struct {
	coll    *ebpf.Collection
	program *ebpf.Program
}

func (t *twin) close() { t.coll.Close() }

// Ask runs the program in force on iface with a packet from a. It uses BPF_PROG_TEST_RUN on
// a second instance over the same tries and the same index. It changes no live counter,
// takes nothing from a limit and writes no event. The error is ErrDifferentProgram if the
// program in force is not the one that this Loader attached.
func (l *Loader) Ask(iface string, a netip.Addr) (Answer, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	ans, err := l.ask(iface, a.Unmap())
	if err != nil {
		return Answer{}, fmt.Errorf("ask the program on %s about %s: %w", iface, a, err)
	}
	return ans, nil
}

func (l *Loader) ask(iface string, a netip.Addr) (Answer, error) {
	live, _, err := l.attest(iface)
	if errors.Is(err, ErrNotAttached) {
		return Answer{}, err
	}
	if err != nil {
		return Answer{}, fmt.Errorf("%w: %w", ErrDifferentProgram, err)
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

// xdpDrop is XDP_DROP of enum xdp_action.
const xdpDrop = 1

// twinOf returns the twin of an attached program, made on first use.
func (l *Loader) twinOf(live *attached) (*twin, error) {
	if live.twin != nil {
		return live.twin, nil
	}
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
	t := &twin{coll: coll, program: coll.Programs[plainProgParaxial]}
	if err := l.sameProgram(live.program, t.program); err != nil {
		t.close()
		return nil, err
	}
	live.twin = t
	return t, nil
}

// sameProgram checks that both programs have the same instructions, by their tag, which is
// a digest, and that other uses our tries.
func (l *Loader) sameProgram(live, other *ebpf.Program) error {
	a, err := live.Info()
	if err != nil {
		return err
	}
	b, err := other.Info()
	if err != nil {
		return err
	}
	if a.Tag != b.Tag {
		return fmt.Errorf("%w: its tag is %s, not %s", ErrDifferentProgram, a.Tag, b.Tag)
	}
	if err := l.usesOurMaps(other); err != nil {
		return fmt.Errorf("%w: %w", ErrDifferentProgram, err)
	}
	return nil
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
