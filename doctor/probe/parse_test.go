package probe

import "testing"

func TestParse(t *testing.T) {
	if v := parseVirtio("11000001"); !v.GuestOffloads || v.Switchable {
		t.Errorf("%+v", v)
	}
	if v := parseVirtio("1110"); !v.GuestOffloads || !v.Switchable {
		t.Errorf("%+v", v)
	}
	if v := parseVirtio("1"); v.GuestOffloads || v.Switchable {
		t.Errorf("%+v", v)
	}
	if c := parseCapabilities("Name:\tx\nCapEff:\t000000c000001000\n"); c == nil || *c != 1<<12|1<<38|1<<39 {
		t.Errorf("capabilities %v", c)
	}
	for text, want := range map[string]uint64{
		"Max locked memory         8388608              8388608              bytes\n": 8 << 20,
		"Max locked memory  unlimited unlimited bytes\n":                              ^uint64(0),
	} {
		if n := parseMemlock(text); n == nil || *n != want {
			t.Errorf("%q: %v", text, n)
		}
	}
	if _, ok := parseAnnounced([]byte{1}); ok {
		t.Error("took a short message")
	}
}
