package daemon

import (
	"testing"

	"github.com/paraxial/paraxial/config"
	"github.com/paraxial/paraxial/loader"
	"github.com/paraxial/paraxial/track"
)

// What the configuration accepts there is room for.
func TestRoomForTracked(t *testing.T) {
	if config.MaxTracked != track.MaxCapacity {
		t.Errorf("the configuration accepts %d tracked sources, there is room for %d", config.MaxTracked, track.MaxCapacity)
	}
	if got := config.Default().Detection.Tracked; got != loader.DefaultTrackCapacity {
		t.Errorf("by default %d tracked sources are configured, and room is made for %d", got, loader.DefaultTrackCapacity)
	}
}
