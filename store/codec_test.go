package store

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/paraxial/paraxial/policy"
)

var sampleTime = time.Unix(1793000000, 0).UTC()

func sampleEntry(origin string) policy.Entry {
	return policy.Entry{
		Prefix:   netip.MustParsePrefix("192.0.2.0/24"),
		Kind:     policy.Block,
		Action:   policy.Drop,
		Origin:   origin,
		Created:  sampleTime,
		Deadline: policy.Forever,
	}
}

// decode reads an entry as Load does.
func decode(key, value []byte) (stored, error) {
	origin, entryKey, err := splitOther(key)
	if err != nil {
		return stored{}, err
	}
	var d entryDecoder
	e, err := d.entry(key, entryKey, value)
	e.Origin = string(origin)
	return e, err
}

func TestUnknownFieldsAreSkipped(t *testing.T) {
	want := sampleEntry("cli")
	want.Reason, want.Author = "reason", "uid:0"
	key := otherKey(nil, want.Key())
	value, err := checkSum(key, appendEntry(nil, key, want, 3))
	if err != nil {
		t.Fatal(err)
	}
	got, err := decode(key, seal(key, appendField(value, 99, "from later")))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got.Entry, cmpopts.EquateComparable(netip.Prefix{})); d != "" || got.epoch != 3 {
		t.Errorf("epoch %d (-want +got):\n%s", got.epoch, d)
	}
	if _, err := decode(key, seal(key, append(slices.Clone(value), 99, 200))); err == nil {
		t.Error("a field longer than the value was accepted")
	}
}

// Fields that a later version appends to an evidence are skipped. An evidence that is
// cut short is refused.
func TestEvidenceMayGrow(t *testing.T) {
	detector := &policy.Evidence{Detector: "a", Count: 7, First: sampleTime, Last: sampleTime, Ports: []uint16{443, 80}}
	rule := &policy.Evidence{
		Window: time.Minute, Count: 6, First: sampleTime, Last: sampleTime, Offence: 3, Sources: 4,
		Rule: &policy.RuleEvidence{Rule: "a", Limit: 5, Reporter: "b", Seen: []policy.Seen{
			{Time: sampleTime, Points: 2, User: "c", Path: "d", Text: "e", Where: "f"},
		}},
	}
	for tag, v := range map[uint64]*policy.Evidence{tagEvidence: detector, tagRuleEvidence: rule} {
		content := string(appendEvidence(nil, v))
		if v.Rule != nil {
			content = string(appendRuleEvidence(nil, v))
		}
		testEvidenceMayGrow(t, tag, content, v)
	}
}

func testEvidenceMayGrow(t *testing.T, tag uint64, content string, v *policy.Evidence) {
	t.Helper()
	plain := sampleEntry("detector:a")
	key := otherKey(nil, plain.Key())
	value, err := checkSum(key, appendEntry(nil, key, plain, 3))
	if err != nil {
		t.Fatal(err)
	}
	want := plain
	want.Evidence = v
	got, err := decode(key, seal(key, appendField(value, tag, content+"from later")))
	if d := cmp.Diff(want, got.Entry, cmpopts.EquateComparable(netip.Prefix{})); d != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
	for n := range content {
		if _, err := decode(key, seal(key, appendField(slices.Clone(value), tag, content[:n]))); err == nil {
			t.Errorf("tag %d: %d of %d bytes were accepted", tag, n, len(content))
		}
	}
}

func TestEveryBitOfAnEntryCounts(t *testing.T) {
	e := sampleEntry("cli")
	e.Pending = &policy.Pending{ID: "1", Deadline: 7}
	e.Evidence = &policy.Evidence{Detector: "a", Count: 7, Ports: []uint16{443}}
	key := otherKey(nil, e.Key())
	value := appendEntry(nil, key, e, 1)
	for bit := range 8 * (len(key) + len(value)) {
		k, v := slices.Clone(key), slices.Clone(value)
		if at := bit / 8; at < len(k) {
			k[at] ^= 1 << (bit % 8)
		} else {
			v[at-len(k)] ^= 1 << (bit % 8)
		}
		if _, err := decode(k, v); err == nil {
			t.Errorf("flipping bit %d is not noticed", bit)
		}
	}
}

func FuzzEntry(f *testing.F) {
	e := sampleEntry("cli")
	key := otherKey(nil, e.Key())
	body, _ := checkSum(key, appendEntry(nil, key, e, 1))
	f.Add(key, body)
	e.Reason, e.Pending = "r", &policy.Pending{ID: "id", Deadline: 1}
	e.Prefix = netip.MustParsePrefix("2001:db8::/32")
	key = otherKey(nil, e.Key())
	body, _ = checkSum(key, appendEntry(nil, key, e, 1))
	f.Add(key, body)
	e.Pending, e.Action, e.Rate = nil, policy.Limit, policy.Rate{PerSecond: 125_000, Unit: policy.Bytes}
	key = otherKey(nil, e.Key())
	body, _ = checkSum(key, appendEntry(nil, key, e, 1))
	f.Add(key, body)
	for _, e.Evidence = range []*policy.Evidence{
		{Detector: "a", Count: 7, Offence: 1, Ports: []uint16{443, 80}},
		{Count: 7, Rule: &policy.RuleEvidence{Rule: "a", Limit: 5, Seen: []policy.Seen{{User: "b", Text: "c"}}}},
	} {
		body, _ = checkSum(key, appendEntry(nil, key, e, 1))
		f.Add(key, body)
	}
	f.Fuzz(func(t *testing.T, key, body []byte) {
		got, err := decode(key, seal(key, body))
		if err != nil {
			return
		}
		if checkEntry(got.Entry) != nil {
			return // it can be read, but is never written
		}
		// An entry that was read can be written, and is then read back unchanged.
		again := appendEntry(nil, key, got.Entry, got.epoch)
		if k := otherKey(nil, got.Key()); !slices.Equal(k, key) {
			t.Fatalf("key %x became %x", key, k)
		}
		back, err := decode(key, again)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(got, back, cmp.AllowUnexported(stored{}), cmpopts.EquateComparable(netip.Prefix{})); d != "" {
			t.Errorf("-first +second:\n%s", d)
		}
	})
}
