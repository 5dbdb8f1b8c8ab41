package store

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/paraxial/paraxial/policy"
)

// reading returns a reading with boot time and wall time in minutes.
func reading(boot string, bootMin, wallMin int, synced bool) Reading {
	return Reading{
		BootID:       boot,
		Boot:         policy.Deadline(time.Duration(bootMin) * time.Minute),
		Wall:         time.Date(2026, 1, 1, 0, wallMin, 0, 0, time.UTC),
		Synchronised: synced,
	}
}

const year = 365 * 24 * 60 // minutes

// step is a call of the store, with the remaining times that its entries must have
// afterwards.
type step struct {
	do   string // open, checkpoint, resync
	now  Reading
	put  string         // name of an entry of 600 minutes that is put then
	left map[string]int // remaining minutes; an entry without a name here is gone
}

func TestTime(t *testing.T) {
	left := func(name string, min int) map[string]int { return map[string]int{name: min} }
	first := step{do: "open", now: reading("A", 100, 1000, true), put: "a", left: left("a", 600)}
	tests := map[string][]step{
		"same boot": {
			first,
			{do: "open", now: reading("A", 150, 1050, true), left: left("a", 550)},
			{do: "resync", now: reading("A", 160, 1060, true), left: left("a", 540)},
		},
		"same boot, clock jumps about": {
			first,
			{do: "open", now: reading("A", 150, -99*year, true), left: left("a", 550)},
			{do: "open", now: reading("A", 160, 9*year, false), left: left("a", 540)},
		},
		"suspended: boot time goes on": {
			first,
			{do: "checkpoint", now: reading("A", 400, 1300, true), left: left("a", 300)},
		},
		"reboot, synchronised": {
			first,
			{do: "checkpoint", now: reading("A", 150, 1050, true), left: left("a", 550)},
			{do: "open", now: reading("B", 2, 1250, true), put: "b", left: map[string]int{"a": 350, "b": 600}},
			{do: "resync", now: reading("B", 3, 1251, true), left: map[string]int{"a": 349, "b": 599}},
		},
		"reboot, expired while off": {
			first,
			{do: "open", now: reading("B", 2, 1601, true), left: map[string]int{}},
		},
		"reboot, synchronised later": {
			first,
			{do: "checkpoint", now: reading("A", 150, 1050, true), left: left("a", 550)},
			{do: "open", now: reading("B", 2, 5, false), put: "b", left: map[string]int{"a": 550, "b": 600}},
			{do: "checkpoint", now: reading("B", 12, 15, false), left: map[string]int{"a": 540, "b": 590}},
			{do: "checkpoint", now: reading("B", 12, 1260, true), left: map[string]int{"a": 540, "b": 590}},
			{do: "resync", now: reading("B", 22, 1270, true), left: map[string]int{"a": 330, "b": 580}},
			{do: "resync", now: reading("B", 32, 1380, true), left: map[string]int{"a": 320, "b": 570}},
			{do: "open", now: reading("B", 42, 1290, true), left: map[string]int{"a": 310, "b": 560}},
		},
		"reboot, daemon restarted before it is synchronised": {
			first,
			{do: "open", now: reading("B", 2, 5, false), put: "b", left: map[string]int{"a": 600, "b": 600}},
			{do: "open", now: reading("B", 12, 1110, true), left: map[string]int{"a": 590, "b": 590}},
			{do: "resync", now: reading("B", 12, 1110, true), left: map[string]int{"a": 490, "b": 590}},
		},
		"reboot, clock in the past": {
			first,
			{do: "open", now: reading("B", 2, -9*year, true), left: left("a", 600)},
			{do: "resync", now: reading("B", 12, 1110, true), left: left("a", 590)},
		},
		"reboot, clock years ahead and not synchronised": {
			first,
			{do: "open", now: reading("B", 2, 5*year, false), left: left("a", 600)},
			{do: "checkpoint", now: reading("B", 12, 5*year, false), left: left("a", 590)},
			{do: "resync", now: reading("B", 22, 1022, true), left: left("a", 578)},
		},
		"reboot, clock said to be synchronised is off by a GPS rollover": {
			first,
			{do: "open", now: reading("B", 2, 20*year, true), left: left("a", 600)},
		},
		"reboot, the wall clock shows less than boot time": {
			first,
			{do: "open", now: reading("B", 2, 5, false), left: left("a", 600)},
			{do: "resync", now: reading("B", 90, 1010, true), left: left("a", 512)},
		},
		"reboot, the earlier boot never was synchronised": {
			{do: "open", now: reading("A", 100, 0, false), put: "a", left: left("a", 600)},
			{do: "open", now: reading("B", 2, 90, true), left: left("a", 600)},
			{do: "resync", now: reading("B", 12, 500, true), left: left("a", 590)},
		},
		"reboot, daemon started late in a long boot": {
			first,
			{do: "open", now: reading("B", 5000, 0, false), left: left("a", 600)},
			{do: "resync", now: reading("B", 5000, 1100, true), left: left("a", 500)},
		},
		"two reboots in a row, then synchronised": {
			first,
			{do: "open", now: reading("B", 1, 0, false), put: "b", left: map[string]int{"a": 600, "b": 600}},
			{do: "open", now: reading("C", 1, 0, false), put: "c", left: map[string]int{"a": 600, "b": 600, "c": 600}},
			{do: "resync", now: reading("C", 11, 1210, true), left: map[string]int{"a": 390, "b": 590, "c": 590}},
		},
		"two reboots in a row, nothing written in between": {
			first,
			{do: "open", now: reading("B", 1, 0, false), left: left("a", 600)},
			{do: "open", now: reading("C", 1, 1200, true), left: left("a", 400)},
		},
		"two reboots in a row, both synchronised": {
			first,
			{do: "open", now: reading("B", 1, 1100, true), put: "b", left: map[string]int{"a": 500, "b": 600}},
			{do: "open", now: reading("C", 1, 1200, true), put: "c",
				left: map[string]int{"a": 400, "b": 500, "c": 600}},
		},
	}
	for name, steps := range tests {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "state.db")
			var s *Store
			for i, st := range steps {
				s = st.run(t, s, path)
				if diff := cmp.Diff(st.left, minutesLeft(t, s, st.now)); diff != "" {
					t.Fatalf("step %d, %s: minutes left (-want +got):\n%s", i, st.do, diff)
				}
			}
			s.Close()
		})
	}
}

func (st step) run(t *testing.T, s *Store, path string) *Store {
	t.Helper()
	var err error
	switch st.do {
	case "open":
		if s != nil {
			s.Close()
		}
		s, err = Open(path, st.now)
	case "checkpoint":
		err = s.Checkpoint(st.now)
	case "resync":
		before := minutesLeft(t, s, st.now)
		var changed bool
		changed, err = s.Resync(st.now)
		if moved := !cmp.Equal(before, minutesLeft(t, s, st.now)); moved != changed {
			t.Errorf("Resync returned %t, but deadlines changed: %t", changed, moved)
		}
	}
	if err == nil && st.put != "" {
		e := sampleEntry(st.put)
		e.Deadline = policy.After(st.now.Boot, 600*time.Minute)
		forever := sampleEntry("forever")
		forever.Deadline = policy.Forever
		pending := sampleEntry(st.put)
		pending.Deadline = policy.Forever - 1 // the latest finite deadline
		pending.Pending = &policy.Pending{ID: "p", Deadline: e.Deadline}
		err = s.Apply([]policy.Op{policy.PutOp(e), policy.PutOp(forever), policy.PutOp(pending)}, st.now)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// minutesLeft returns the remaining minutes of every finite entry. It checks that
// entries that last forever still do, and that a pending deadline moves with the
// deadline of its entry.
func minutesLeft(t *testing.T, s *Store, now Reading) map[string]int {
	t.Helper()
	left, pending := make(map[string]int), make(map[string]int)
	minutes := func(d policy.Deadline) int { return int(time.Duration(d-now.Boot) / time.Minute) }
	_, err := s.Load(func(e policy.Entry) error {
		switch {
		case e.Origin == "forever" && e.Deadline != policy.Forever:
			t.Errorf("an entry that lasts forever now has %d minutes", minutes(e.Deadline))
		case e.Pending != nil && e.Deadline == policy.Forever:
			t.Error("a finite deadline is now forever")
		case e.Pending != nil:
			pending[e.Origin] = minutes(e.Pending.Deadline)
		case e.Origin != "forever":
			left[e.Origin] = minutes(e.Deadline)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for origin, min := range left {
		if pending[origin] != min {
			t.Errorf("%s has %d minutes left, and %d once confirmed", origin, min, pending[origin])
		}
	}
	return left
}
