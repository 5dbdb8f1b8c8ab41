package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// maxSocketPath is the longest path that fits sockaddr_un, in bytes.
const maxSocketPath = 107

// RootSocket returns the path of the socket for root alone that a daemon has beside its socket at
// path. Connections wait in a queue of the socket to be accepted, and each user that may connect
// can fill this queue. So root has a queue of its own.
func RootSocket(path string) string {
	ext := filepath.Ext(path)
	return strings.TrimSuffix(path, ext) + "-root" + ext
}

// Listen listens on a Unix socket at path that root and the group may use
// (0660). If there is no such group, only root may use it, and a warning is
// logged. If group is empty, only root may use it. A socket that nobody answers
// on is replaced. A socket that a daemon answers on is an error, and so is any
// other file.
func Listen(path, group string) (*Listener, error) {
	l := &Listener{path: path, group: group}
	if err := l.listen(); err != nil {
		return nil, err
	}
	return l, nil
}

// ListenOpen is Listen for a socket that anyone may connect to (0666). The server has to ask
// who it is.
func ListenOpen(path string) (*Listener, error) {
	l := &Listener{path: path, open: true}
	if err := l.listen(); err != nil {
		return nil, err
	}
	return l, nil
}

func bind(path string, share func() error) (*net.UnixListener, error) {
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("listen on %s: the path is %d bytes long, at most %d fit a socket; choose a shorter one",
			path, len(path), maxSocketPath)
	}
	if err := makeDirectory(filepath.Dir(path)); err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	if err := removeStale(path); err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	// A socket file takes its mode from its descriptor. The mode is set before
	// bind, so there is no moment in which the umask decides who may connect.
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var chmodErr error
		if err := c.Control(func(fd uintptr) { chmodErr = unix.Fchmod(int(fd), 0o600) }); err != nil {
			return err
		}
		return chmodErr
	}}
	l, err := lc.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	u := l.(*net.UnixListener)
	if err := share(); err != nil {
		u.Close()
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	return u, nil
}

// makeDirectory makes the last directory of the path, unless the service manager
// has made it.
func makeDirectory(dir string) error {
	err := os.Mkdir(dir, 0o755)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("make its directory: %w", err)
	}
	return os.Chmod(dir, 0o755) // Mkdir applies the umask
}

func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return errors.New("a file that is not a socket is there; remove it or choose another path")
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		c.Close()
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		return errors.New("another daemon answers there; stop it first or choose another path")
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the socket of a daemon that is gone: %w", err)
	}
	return nil
}

// share lets anyone or the group use the socket. It sets the group before the mode: in the
// other order, the daemon's own group could use the socket for a moment.
func (l *Listener) share() error {
	path, group := l.path, l.group
	switch {
	case l.open:
		return os.Chmod(path, 0o666)
	case group == "":
		return nil
	}
	gid, err := groupID(group)
	// ErrNotExist means that the system has no /etc/group.
	if errors.As(err, new(user.UnknownGroupError)) || errors.Is(err, fs.ErrNotExist) {
		slog.Warn("control: only root can use the socket: its group does not exist", "group", group, "socket", path)
		return nil
	}
	if err != nil {
		return fmt.Errorf("group %s: %w", group, err)
	}
	err = os.Chown(path, -1, gid)
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("give it to group %s: %w: a daemon without CAP_CHOWN has to be in that group; "+
			"run `systemctl edit paraxiald` and add SupplementaryGroups=%s below [Service]", group, err, group)
	}
	if err != nil {
		return fmt.Errorf("give it to group %s: %w", group, err)
	}
	return os.Chmod(path, 0o660)
}

// groupID returns the number of a group that is given by name or number.
func groupID(group string) (int, error) {
	if gid, err := strconv.Atoi(group); err == nil {
		return gid, nil
	}
	g, err := user.LookupGroup(group)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(g.Gid)
}
