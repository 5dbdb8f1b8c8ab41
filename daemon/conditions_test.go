package daemon

import (
	"strings"
	"testing"

	"github.com/paraxial/paraxial/metrics"
)

func TestRoomWarnings(t *testing.T) {
	for _, tc := range []struct {
		m    metrics.Map
		want string
	}{
		{metrics.Map{Name: "block_v4", Entries: 89, Capacity: 100}, ""},
		{metrics.Map{Name: "block_v4", Entries: 90, Capacity: 100}, "the map block_v4 is 90% full (90 of 100): remove"},
		{metrics.Map{Name: "allow_v6", Entries: 100, Capacity: 100},
			"the map allow_v6 has no room left, so new entries are refused (100 of 100)"},
		{metrics.Map{Name: "limits"}, ""},
	} {
		got := strings.Join(roomWarnings([]metrics.Map{tc.m}), "\n")
		if tc.want == "" && got != "" || !strings.HasPrefix(got, tc.want) {
			t.Errorf("%+v: %q, want %q", tc.m, got, tc.want)
		}
	}
}
