package daemon

import (
	"testing"

	"github.com/paraxial/paraxial/config"
	"github.com/paraxial/paraxial/loader"
	"github.com/paraxial/paraxial/track"
)

// The limits of the configuration are those of the maps.
func TestRoomForTracked(t *testing.T) {
	if config.MaxTracked != track.MaxCapacity {
		t.Errorf("the configuration accepts %d tracked sources, the table holds %d",
			config.MaxTracked, track.MaxCapacity)
	}
	if got := config.Default().Detection.Tracked; got != loader.DefaultTrackCapacity {
		t.Errorf("the default of the configuration is %d tracked sources, of the loader %d",
			got, loader.DefaultTrackCapacity)
	}
}
