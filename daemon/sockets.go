package daemon

import (
	"github.com/paraxial/paraxial/config"
	"github.com/paraxial/paraxial/control"
)

// listen creates the control socket and the one for root alone. Without the latter the daemon
// works, so a failure is a warning.
func (d *Daemon) listen(cfg config.Config) ([]*control.Listener, error) {
	socket, err := control.Listen(cfg.Socket, cfg.SocketGroup)
	if err != nil {
		return nil, err
	}
	root, err := control.Listen(control.RootSocket(cfg.Socket), "")
	if err == nil {
		return []*control.Listener{socket, root}, nil
	}
	d.tellProblem("root socket", "root has no socket of its own, so members of the group can delay root's commands: ",
		err)
	return []*control.Listener{socket}, nil
}

// keepSocket creates a socket again if it was removed.
func (d *Daemon) keepSocket(socket *control.Listener) {
	path := socket.Addr().String()
	switch restored, err := socket.Restore(); {
	case err != nil && d.socketProblems[path] != err.Error():
		d.socketProblems[path] = err.Error()
		d.log.Error("paraxialctl cannot reach the daemon: its socket was removed and cannot be created again; "+
			"systemctl restart paraxiald makes its directory", "error", err)
	case restored:
		delete(d.socketProblems, path)
		d.log.Warn("the socket was removed and has been created again", "socket", path)
	}
}
