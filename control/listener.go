package control

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"sync"
)

// Listener listens on a Unix socket. Restore creates its file again if somebody
// has removed it.
type Listener struct {
	path, group string
	open        bool // anyone may connect

	mu     sync.Mutex
	now    *net.UnixListener
	file   fs.FileInfo // of the current socket
	closed bool
}

// listen creates the socket. Accept uses it from then on.
func (l *Listener) listen() error {
	fresh, err := bind(l.path, l.share)
	if err != nil {
		return err
	}
	// Close of Listener removes the file, if it still belongs to this socket.
	fresh.SetUnlinkOnClose(false)
	file, err := os.Lstat(l.path)
	if err != nil {
		return errors.Join(fmt.Errorf("listen on %s: %w", l.path, err), fresh.Close())
	}
	old := l.now
	l.now, l.file = fresh, file
	if old != nil {
		old.Close()
	}
	return nil
}

// Restore creates the socket again if its file is gone, and reports whether it did.
// Open connections are kept. A file that somebody else has put there is kept, too.
func (l *Listener) Restore() (restored bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.inPlace() {
		return false, nil
	}
	if err := l.listen(); err != nil {
		return false, err
	}
	return true, nil
}

// inPlace reports whether clients that connect to the path reach this listener.
func (l *Listener) inPlace() bool {
	there, err := os.Lstat(l.path)
	return err == nil && os.SameFile(l.file, there)
}

// Accept implements net.Listener.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		now := l.current()
		c, err := now.Accept()
		if err != nil && now != l.current() {
			continue // it was replaced in the meantime
		}
		return c, err
	}
}

func (l *Listener) current() *net.UnixListener {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.now
}

// Addr implements net.Listener.
func (l *Listener) Addr() net.Addr { return l.current().Addr() }

// Close implements net.Listener, and removes the file.
func (l *Listener) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return net.ErrClosed
	}
	l.closed = true
	var err error
	if l.inPlace() {
		err = os.Remove(l.path)
	}
	return errors.Join(err, l.now.Close())
}
