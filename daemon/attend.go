package daemon

import (
	"context"
	"time"

	"github.com/paraxial/paraxial/control"
)

const (
	glanceInterval = 250 * time.Millisecond // has something happened to a link
	attestInterval = 2 * time.Second        // is the filter where it should be, in all detail
)

// attend looks after the interfaces and the socket until ctx is done, apart from housekeeping,
// which waits for the disk.
func (d *Daemon) attend(ctx context.Context, socket *control.Listener) {
	glance := time.NewTicker(glanceInterval)
	attest := time.NewTicker(attestInterval)
	defer glance.Stop()
	defer attest.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-glance.C:
			d.nics.glance(ctx)
		case <-attest.C:
			d.nics.attest(ctx)
			d.keepSocket(socket)
			d.attending.beat()
		}
	}
}

// keepSocket puts the socket back where clients look for it.
func (d *Daemon) keepSocket(socket *control.Listener) {
	switch restored, err := socket.Restore(); {
	case err != nil && d.socketProblem != err.Error():
		d.socketProblem = err.Error()
		d.log.Error("paraxialctl cannot reach the daemon: its socket is gone and cannot be made again", "error", err)
	case restored:
		d.socketProblem = ""
		d.log.Warn("the socket was removed by somebody and has been made again", "socket", socket.Addr())
	}
}
