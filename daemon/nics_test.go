package daemon

import "testing"

func TestFreeInterfaceSlot(t *testing.T) {
	there := map[string]bool{"eth0": true, "eth1": true}
	for _, test := range []struct {
		name  string
		slots map[string]uint32
		slot  uint32
		last  string
		ok    bool
	}{
		{"no slot taken", nil, 0, "", true},
		{"a hole", map[string]uint32{"eth0": 0, "eth1": 2}, 1, "", true},
		{"a free one before a forgotten one", map[string]uint32{"ehto": 0, "eth0": 1}, 2, "", true},
		{"a forgotten one", map[string]uint32{"eth0": 0, "ehto": 1, "eth1": 2}, 1, "ehto", true},
		{"all in use", map[string]uint32{"eth0": 0, "eth1": 1, "eth2": 2}, 0, "", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			gone := func(name string) bool { return !there[name] && name != "eth2" }
			slot, last, ok := freeInterfaceSlot(test.slots, 3, gone)
			if slot != test.slot || last != test.last || ok != test.ok {
				t.Errorf("slot %d, %q, %v; want %d, %q, %v", slot, last, ok, test.slot, test.last, test.ok)
			}
		})
	}
}
