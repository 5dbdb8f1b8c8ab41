package policy

import (
	"fmt"
	"net/netip"
	"testing"
	"unsafe"
)

func entry(address, reason string, pending *Pending) Entry {
	return Entry{
		Prefix: netip.MustParsePrefix(address + "/32"), Kind: Block, Action: Drop, Origin: "cli",
		Reason: reason, Deadline: 7, Pending: pending, Evidence: &Evidence{Detector: reason},
	}
}

// The data that is stored outside of the records must go with the last record that
// uses it.
func TestSlabLeavesNothing(t *testing.T) {
	b := NewBook(100)
	for i := range 10 {
		reason := fmt.Sprint("reason ", i)
		b.Put([]Entry{
			entry("192.0.2.1", reason, nil),
			entry("192.0.2.2", reason, nil),
			entry("192.0.2.1", reason, &Pending{ID: "p"}),
		})
		if got := len(b.slab.sources.refs); got != 1 {
			t.Fatalf("%d sources for one reason", got)
		}
		if e, _ := b.Get(entry("192.0.2.2", "", nil).Key()); e.Reason != reason {
			t.Fatalf("reason %q, want %q", e.Reason, reason)
		}
	}
	if got := len(b.slab.evidence); got != 3 {
		t.Errorf("%d evidences for 3 entries", got)
	}
	plain := entry("192.0.2.2", "reason 9", nil)
	plain.Evidence = nil
	b.Put([]Entry{plain})
	if got := len(b.slab.evidence); got != 2 {
		t.Errorf("%d evidences for 2 entries that have one", got)
	}
	var refs []EntryRef
	for r := range b.slab.used {
		refs = append(refs, r+1)
	}
	b.Remove(refs)
	s := &b.slab
	left := len(s.sources.refs) + len(s.pending) + len(s.evidence)
	if len(refs) != 3 || left != 0 || len(s.sources.held) > 3 {
		t.Errorf("after removing %d entries, %v, %v, %v and room for %d sources are left",
			len(refs), s.sources.refs, s.pending, s.evidence, len(s.sources.held))
	}
}

// A million records are normal, so a record must stay small.
func TestRecordIsSmall(t *testing.T) {
	if size := unsafe.Sizeof(record{}); size != 32 {
		t.Errorf("a record takes %d bytes, want 32", size)
	}
}

// The address of an IPv6 entry is stored outside of its record. It goes with the record, and an entry
// that is put again keeps its place.
func TestAddressesAreUsedAgain(t *testing.T) {
	b := NewBook(100)
	one, two := entry("2001:db8::", "a", nil), entry("2001:db9::", "b", nil)
	for range 3 {
		b.Put([]Entry{one, two})
		b.Put([]Entry{one})
		for _, want := range []Entry{one, two} {
			got, ok := b.Get(want.Key())
			got.Evidence = want.Evidence
			if !ok || got != want {
				t.Errorf("got %v, want %v", got, want)
			}
		}
		b.Remove([]EntryRef{1, 2})
		if used, free := b.slab.addrs.used, len(b.slab.addrs.free); used != 2 || free != 2 {
			t.Fatalf("%d addresses are stored and %d are free, want 2 and 2", used, free)
		}
	}
}
