package loader

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"net/netip"

	"github.com/cilium/ebpf"
	"github.com/paraxial/paraxial/policy"
)

// mapSet has the pinned maps by their names in the program.
type mapSet map[string]*ebpf.Map

// shared yields the maps that are pinned: all but data sections.
func shared(spec *ebpf.CollectionSpec) iter.Seq2[string, *ebpf.MapSpec] {
	return func(yield func(string, *ebpf.MapSpec) bool) {
		for name, m := range spec.Maps {
			if name[0] != '.' && !yield(name, m) {
				return
			}
		}
	}
}

// ofOneRun tells whether every process makes a new map. The samples, counters and settings
// of an earlier process mean nothing to it, so that their meaning may change without a new name.
// The program of the earlier process keeps its own maps until it is replaced.
func ofOneRun(name string) bool {
	switch name {
	case plainMapTracking, plainMapTracked, plainMapSamples, plainMapEssential, plainMapReplyPorts:
		return true
	}
	return false
}

func (s mapSet) close() error {
	var errs []error
	for _, m := range s {
		errs = append(errs, m.Close())
	}
	return errors.Join(errs...)
}

// ids returns the kernel's ids of the named maps.
func (s mapSet) ids(names ...string) ([]ebpf.MapID, error) {
	ids := make([]ebpf.MapID, 0, len(names))
	for _, name := range names {
		id, err := mapID(s[name])
		if err != nil {
			return nil, fmt.Errorf("map %s: %w", name, err)
		}
		ids = append(ids, id)
	}
	return ids, nil
}

func mapID(m *ebpf.Map) (ebpf.MapID, error) {
	info, err := m.Info()
	if err != nil {
		return 0, err
	}
	id, ok := info.ID()
	if !ok {
		return 0, errors.New("the kernel does not tell its id")
	}
	return id, nil
}

// trieNames returns the names of the tries.
func trieNames() []string {
	return []string{plainMapBlockV4, plainMapBlockV6, plainMapAllowV4, plainMapAllowV6}
}

// tables returns the tries with the Go types of their keys and values.
func (s mapSet) tables() []table {
	return []table{
		newTrie(s, plainMapAllowV4, policy.Allow, policy.IPv4, keyV4, prefixV4, allowOf, verdictOfAllow),
		newTrie(s, plainMapAllowV6, policy.Allow, policy.IPv6, keyV6, prefixV6, allowOf, verdictOfAllow),
		newTrie(s, plainMapBlockV4, policy.Block, policy.IPv4, keyV4, prefixV4, blockOf, verdictOfBlock),
		newTrie(s, plainMapBlockV6, policy.Block, policy.IPv6, keyV6, prefixV6, blockOf, verdictOfBlock),
	}
}

func keyV4(p netip.Prefix) plainLpmV4 {
	a := p.Addr().As4()
	return plainLpmV4{Prefixlen: uint32(p.Bits()), Addr: binary.NativeEndian.Uint32(a[:])}
}

func prefixV4(k plainLpmV4) netip.Prefix {
	var a [4]byte
	binary.NativeEndian.PutUint32(a[:], k.Addr)
	return netip.PrefixFrom(netip.AddrFrom4(a), int(k.Prefixlen))
}

func keyV6(p netip.Prefix) plainLpmV6 {
	return plainLpmV6{Prefixlen: uint32(p.Bits()), Addr: p.Addr().As16()}
}

func prefixV6(k plainLpmV6) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom16(k.Addr), int(k.Prefixlen))
}

func blockOf(v policy.Verdict) plainVerdict {
	return plainVerdict{
		DropUntil:   uint32(v.Drop),
		LimitUntil:  uint32(v.Limit),
		ShadowUntil: uint32(v.Shadow),
		LimitId:     v.LimitID,
		HitId:       v.HitID,
		StrictUntil: uint32(v.Strict),
	}
}

func verdictOfBlock(v plainVerdict) policy.Verdict {
	return policy.Verdict{
		Drop:    policy.Tick(v.DropUntil),
		Limit:   policy.Tick(v.LimitUntil),
		Shadow:  policy.Tick(v.ShadowUntil),
		LimitID: v.LimitId,
		HitID:   v.HitId,
		Strict:  policy.Tick(v.StrictUntil),
	}
}

func allowOf(v policy.Verdict) plainAllow {
	return plainAllow{AllowUntil: uint32(v.Allow)}
}

func verdictOfAllow(v plainAllow) policy.Verdict {
	return policy.Verdict{Allow: policy.Tick(v.AllowUntil)}
}
