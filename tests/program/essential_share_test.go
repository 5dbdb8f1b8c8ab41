package program_test

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/paraxial/paraxial/policy"
	"github.com/paraxial/paraxial/tests/lab/frame"
)

// essentialBuckets is struct essential_buckets.
type essentialBuckets struct {
	PoolCost, ShareCost   uint64
	PoolBurst, ShareBurst uint32
	Pools                 [4]uint64
	Shares                [256]uint64
}

// setEssential sets the buckets for essential packets. No cost of the pools turns them off.
func (f *filter) setEssential(b essentialBuckets) {
	f.tb.Helper()
	value, err := binary.Append(nil, binary.NativeEndian, b)
	if err == nil {
		err = f.maps["essential"].Put(uint32(testSlot), value)
	}
	if err != nil {
		f.tb.Fatal(err)
	}
}

// anyRate passes everything.
var anyRate = essentialBuckets{PoolCost: 1, ShareCost: 1}

// noRate passes nothing.
func noRate() essentialBuckets {
	b := anyRate
	for i := range b.Pools {
		b.Pools[i] = neverFull
	}
	for i := range b.Shares {
		b.Shares[i] = neverFull
	}
	return b
}

// Buckets that let this many packets pass while a test runs.
const (
	inShare = 2
	inPool  = 3
	inRow   = 32 * inShare
)

func fewEssential() essentialBuckets {
	const hour = uint64(time.Hour) * nanosecond
	burst := func(packets uint32) uint32 { return (packets - 1) * uint32(30*time.Minute/time.Microsecond) }
	return essentialBuckets{
		PoolCost: hour / 2, ShareCost: hour / 2, PoolBurst: burst(inPool), ShareBurst: burst(inShare),
	}
}

// sender returns a packet from the source and the station of these numbers. The source is in a
// blocked range.
func sender(family policy.Family, source, station uint16) frame.Packet {
	at := [2]byte{byte(source >> 8), byte(source)}
	p := start(netip.AddrFrom4([4]byte{10, 0, at[0], at[1]}).String())
	if family == policy.IPv6 {
		p = start(netip.AddrFrom16([16]byte{0: 0xfd, 14: at[0], 15: at[1]}).String())
	}
	return p.Ethernet(frame.MAC{2}, frame.MAC{2, 0, 0, 1, byte(station >> 8), byte(station)})
}

// kinds are one packet of each kind that has buckets of its own.
var kinds = map[string]struct {
	family policy.Family
	build  func(frame.Packet) []byte
}{
	"neighbour discovery": {policy.IPv6, icmp6(255, 136, 0)},
	"MLD":                 {policy.IPv6, mld(143, 8)},
	"IGMP":                {policy.IPv4, igmpOf(0x11)},
	"DHCPv4":              {policy.IPv4, udp(67, 68)},
	"DHCPv6":              {policy.IPv6, udp(547, 546)},
}

// A flood of one kind leaves the other kinds alone. A flood from one source, or by one station, leaves
// the shares of others alone. What passes of a flood is bounded.
func TestEssentialFloods(t *testing.T) {
	const flood = 3000
	const victim, far = 60_000, 60_001 // source and station of a packet that is no part of the flood
	floods := []struct {
		name   string
		sender func(i uint16) (source, station uint16)
		passed uint64 // of the flood
		others uint64 // from the victim afterwards, of the same kind
	}{
		{"one source", func(uint16) (uint16, uint16) { return 1, 1 }, 2*inShare + inPool, 2 * inShare},
		{"any source, by one station", func(i uint16) (uint16, uint16) { return i, 1 }, inRow + inShare + inPool,
			inShare},
		{"one source, by any station", func(i uint16) (uint16, uint16) { return 1, i }, inShare + inRow + inPool,
			inShare},
		{"any source, by any station", func(i uint16) (uint16, uint16) { return i, 7 * i }, 2*inRow + inPool, 0},
	}
	eachBuild(t, func(t *testing.T, f *filter) {
		for _, p := range []string{"10.0.0.0/8", "fd00::/8"} {
			f.block(p, verdict{Drop: uint32(policy.TickForever), Hit: hitBlocked})
		}
		passes := func(n uint16, kind string, sender frame.Packet) (passed uint64) {
			for range n {
				if f.run(kinds[kind].build(sender)) == pass {
					passed++
				}
			}
			return passed
		}
		for kind, of := range kinds {
			for _, fl := range floods {
				f.setEssential(fewEssential())
				var passed uint64
				for i := range uint16(flood) {
					source, station := fl.sender(i)
					passed += passes(1, kind, sender(of.family, source, station))
				}
				got := map[string]uint64{"flood": passed, kind: passes(100, kind, sender(of.family, victim, far))}
				want := map[string]uint64{"flood": fl.passed, kind: fl.others}
				for other, o := range kinds {
					if other == kind || other == "MLD" || other == "IGMP" && kind == "MLD" {
						continue // MLD and IGMP have the same buckets
					}
					got[other], want[other] = passes(100, other, sender(o.family, victim, far)), 2*inShare+inPool
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s, %s: packets that pass (-want +got):\n%s", kind, fl.name, diff)
				}
			}
		}
	})
}

// An essential packet of a source that is not dropped takes nothing from the buckets, and every packet
// that passes or is dropped is counted.
func TestEssentialRate(t *testing.T) {
	eachBuild(t, func(t *testing.T, f *filter) {
		f.listSources()
		answer := udp(67, 68)
		f.setEssential(fewEssential())
		for range 100 {
			f.run(answer(start(sourcesV4[notListed])))
			f.run(start(sourcesV4[blocked]).UDP(67, 69, nil))
		}
		got := f.change(func() uint32 {
			for range 19 {
				f.run(answer(start(sourcesV4[blocked])))
			}
			return f.run(answer(start(sourcesV4[blocked])))
		})
		size := uint64(len(answer(start(sourcesV4[blocked]))))
		want := outcome{Action: drop, Hits: map[uint32]uint64{hitBlocked: 13},
			Counters: map[reason]counter{essential: {7, 7 * size}, essentialLimited: {13, 13 * size}}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("20 answers of a blocked source (-want +got):\n%s", diff)
		}
	})
}
