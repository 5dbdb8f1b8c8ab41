package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"os/user"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

var (
	// ErrUnreachable is in the chain of an error if no daemon answers on the
	// socket. The message says how to start one.
	ErrUnreachable = errors.New("paraxiald is not reachable")
	// ErrPermission is in the chain of an error if the caller may not use
	// the socket. The message says who may.
	ErrPermission = errors.New("permission denied")
)

const howToStart = "start it with `systemctl start paraxiald`, or name the socket of a running one with --socket"

// explain turns the error of a request without an answer into one that says what to do.
func (c *Client) explain(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	// The URL of the request adds nothing to the path of the socket.
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err
	}
	op, dialing := errors.AsType[*net.OpError](err)
	if !dialing || op.Op != "dial" {
		return fmt.Errorf("%s closed the connection before it answered: %w; "+
			"see `paraxialctl status` and the daemon's log", c.socket, err)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENOTDIR):
		return fmt.Errorf("%w: there is no socket %s; %s", ErrUnreachable, c.socket, howToStart)
	case errors.Is(err, unix.ECONNREFUSED):
		if info, statErr := os.Stat(c.socket); statErr == nil && info.Mode().Type() != fs.ModeSocket {
			return fmt.Errorf("%w: %s is not a socket; %s", ErrUnreachable, c.socket, howToStart)
		}
		return fmt.Errorf("%w: nobody answers on %s; %s", ErrUnreachable, c.socket, howToStart)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: %s: %s", ErrPermission, c.socket, whoMay(c.socket))
	case errors.Is(err, unix.EAGAIN):
		return fmt.Errorf("%w: %s takes no more connections; try again", ErrUnreachable, c.socket)
	case len(c.socket) > maxSocketPath:
		return fmt.Errorf("%w: the path %s is longer than %d bytes, the limit for a socket",
			ErrUnreachable, c.socket, maxSocketPath)
	}
	return fmt.Errorf("%w: connect to %s: %w", ErrUnreachable, c.socket, err)
}

// whoMay returns who may use a socket, from its owner and mode.
func whoMay(socket string) string {
	const asRoot = "run this as root"
	info, err := os.Stat(socket)
	if err != nil {
		return asRoot
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || st.Gid == 0 || info.Mode().Perm()&0o020 == 0 {
		return asRoot
	}
	group := strconv.Itoa(int(st.Gid))
	if g, err := user.LookupGroupId(group); err == nil {
		group = g.Name
	}
	return fmt.Sprintf("%s, or join the group %s that owns the socket (`usermod -aG %s USER`, then log in again)",
		asRoot, group, group)
}
