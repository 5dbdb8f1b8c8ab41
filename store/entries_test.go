package store_test

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/paraxial/paraxial/policy"
	"github.com/paraxial/paraxial/store"
)

const hour = policy.Deadline(time.Hour)

// at returns a reading of boot "b1", hours after boot.
func at(hours int) store.Reading {
	return store.Reading{
		BootID:       "b1",
		Boot:         hour * policy.Deadline(hours),
		Wall:         time.Date(2026, 11, 1, hours, 0, 0, 0, time.UTC),
		Synchronised: true,
	}
}

func block(prefix, origin string, d policy.Deadline) policy.Entry {
	return policy.Entry{
		Prefix:   netip.MustParsePrefix(prefix),
		Kind:     policy.Block,
		Action:   policy.Drop,
		Origin:   origin,
		Reason:   "a reason",
		Author:   "uid:1000",
		Created:  time.Unix(1793000000, 0).UTC(),
		Deadline: d,
	}
}

// evidence returns an evidence in which no two numbers are equal.
func evidence() *policy.Evidence {
	return &policy.Evidence{
		Detector: "syn-flood",
		Rate:     policy.Rate{PerSecond: 412, Unit: policy.Packets},
		Limit:    policy.Rate{PerSecond: 200, Unit: policy.Packets},
		Window:   5 * time.Second,
		Count:    2060,
		First:    time.Unix(1793000001, 0).UTC(),
		Last:     time.Unix(1793000007, 0).UTC(),
		Ports:    []uint16{443, 80, 65535},
		Offence:  3,
		Sources:  4,
	}
}

// ruleEvidence returns the evidence of a rule in which no two numbers are equal.
func ruleEvidence() *policy.Evidence {
	return &policy.Evidence{
		Window: time.Minute, Count: 6, First: time.Unix(1793000001, 0).UTC(), Last: time.Unix(1793000007, 0).UTC(),
		Offence: 3, Sources: 4,
		Rule: &policy.RuleEvidence{
			Rule: "login", Limit: 5, Reporter: "shop",
			Seen: []policy.Seen{
				{Time: time.Unix(1793000002, 0).UTC(), Points: 2, User: "a", Path: "/b", Text: "é", Where: "log:7"},
				{Time: time.Unix(1793000007, 0).UTC(), Points: 1},
			},
		},
	}
}

func puts(entries ...policy.Entry) (ops []policy.Op) {
	for _, e := range entries {
		ops = append(ops, policy.PutOp(e))
	}
	return ops
}

// numbered returns n blocks of an origin, 10.0.0.0/32 and the following, in order.
func numbered(origin string, n int, d policy.Deadline) []policy.Entry {
	return numberedFrom(0, origin, n, d)
}

// numberedFrom returns n blocks of an origin, from the i-th address after 10.0.0.0
// on, in order.
func numberedFrom(i int, origin string, n int, d policy.Deadline) []policy.Entry {
	entries := slices.Repeat([]policy.Entry{block("10.0.0.0/32", origin, d)}, n)
	for j := range entries {
		addr := binary.BigEndian.AppendUint32(nil, uint32(10<<24+i+j))
		entries[j].Prefix = netip.PrefixFrom(netip.AddrFrom4([4]byte(addr)), 32)
	}
	return entries
}

func open(t testing.TB, path string, now store.Reading) *store.Store {
	t.Helper()
	s, err := store.Open(path, now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func apply(t testing.TB, s *store.Store, now store.Reading, ops ...policy.Op) {
	t.Helper()
	if err := s.Apply(ops, now); err != nil {
		t.Fatal(err)
	}
}

func loadAll(t testing.TB, s *store.Store) ([]policy.Entry, store.LoadStats) {
	t.Helper()
	var entries []policy.Entry
	stats, err := s.Load(func(e policy.Entry) error {
		entries = append(entries, e)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if stats.Sweep != nil {
		t.Error("sweep:", stats.Sweep)
	}
	return entries, stats
}

func byKey(a, b policy.Entry) int {
	return cmp.Or(
		strings.Compare(a.Origin, b.Origin),
		cmp.Compare(a.Kind, b.Kind),
		a.Prefix.Compare(b.Prefix),
		strings.Compare(a.Key().Pending, b.Key().Pending),
	)
}

func diffEntries(want, got []policy.Entry) string {
	want, got = slices.SortedFunc(slices.Values(want), byKey), slices.SortedFunc(slices.Values(got), byKey)
	if reflect.DeepEqual(want, got) { // cmp.Diff takes seconds for thousands
		return ""
	}
	return gocmp.Diff(want, got, cmpopts.EquateComparable(netip.Prefix{}), cmpopts.EquateEmpty())
}

func wantEntries(t testing.TB, s *store.Store, want ...policy.Entry) {
	t.Helper()
	got, stats := loadAll(t, s)
	if d := diffEntries(want, got); d != "" {
		t.Errorf("entries differ (-want +got):\n%s", d)
	}
	if stats.Live != len(got) {
		t.Errorf("Load returned %d live entries, but passed %d", stats.Live, len(got))
	}
}
