package conns

import (
	"fmt"
	"testing"
	"time"
)

// After two stall timeouts a body must have come with the least rate.
func TestSlowBody(t *testing.T) {
	for _, c := range []struct {
		after time.Duration
		got   int
		slow  bool
	}{
		{0, 0, false}, {time.Minute, 0, false}, {time.Minute + time.Second, 99, true},
		{time.Minute + time.Second, 100, false}, {10 * time.Minute, 53_999, true}, {10 * time.Minute, 54_000, false},
	} {
		begun := time.Now()
		r := &Body{Stall: 30 * time.Second, Rate: 100, Begun: begun, got: c.got, Fail: fmt.Errorf}
		if err := r.slow(begun.Add(c.after)); (err != nil) != c.slow {
			t.Errorf("%d bytes after %v: %v", c.got, c.after, err)
		}
	}
}
