package daemon

import (
	"context"
	"time"

	"github.com/paraxial/paraxial/control"
)

// Detectors implements control.Backend.
func (d *Daemon) Detectors(context.Context) (control.DetectorsStatus, error) {
	return control.DetectorsStatus{}, nil
}

// Top implements control.Backend.
func (d *Daemon) Top(context.Context) (control.TopResult, error) {
	return control.TopResult{Time: time.Now()}, nil
}
