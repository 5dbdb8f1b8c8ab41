// Package syslog receives messages on a Unix datagram socket, as nginx, HAProxy and other
// programs write them.
//
// Every user can write to the socket. The kernel tells who has sent a message, and those of other
// users than the ones that are named do not count. No writer ever waits: a message for which there
// is no room is lost and counted.
package syslog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Longest is the length of the longest message. A longer one is cut, and does not count.
const Longest = 64 << 10

// Limits of what waits to be read.
const (
	maxMessages = 8192
	maxBytes    = 4 << 20
	// socketBuffer is what the kernel keeps.
	socketBuffer = 1 << 20
)

// Stats count what happened since the Socket was made.
type Stats struct {
	Messages  int
	Strangers int    // messages of other users
	TooLong   int    // messages longer than Longest
	Lost      int    // messages for which there was no room
	LostBytes int64  // their size
	Problem   string // why the socket does not work; empty if it does
}

// Socket receives messages.
type Socket struct {
	path     string
	uids     []int
	messages chan []byte

	mu     sync.Mutex
	stats  Stats
	queued int // bytes in messages
}

// New returns a socket at path for messages of these users. Run opens it.
func New(path string, uids []int) *Socket {
	return &Socket{path: path, uids: uids, messages: make(chan []byte, maxMessages)}
}

// Messages returns the channel of messages. Done must be called with each.
func (s *Socket) Messages() <-chan []byte { return s.messages }

// Done makes room for other messages.
func (s *Socket) Done(message []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queued -= len(message)
}

// Stats returns the counters.
func (s *Socket) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

// lookEvery is how often Run looks whether the socket is still there.
const lookEvery = 2 * time.Second

// Run receives messages until ctx is done. It makes the socket again if that was removed.
func (s *Socket) Run(ctx context.Context) {
	for ctx.Err() == nil {
		err := s.serve(ctx)
		s.note(func(st *Stats) {
			st.Problem = ""
			if err != nil {
				st.Problem = err.Error()
			}
		})
		select {
		case <-ctx.Done():
		case <-time.After(lookEvery):
		}
	}
}

func (s *Socket) note(change func(*Stats)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.stats)
}

// serve receives messages until ctx is done or the socket is removed.
func (s *Socket) serve(ctx context.Context) error {
	c, info, err := listen(ctx, s.path)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("its folder does not exist: make it, or add it as RuntimeDirectory to the service: %w",
				err)
		}
		return fmt.Errorf("listen on %s: %w", s.path, err)
	}
	defer c.Close()
	s.note(func(st *Stats) { st.Problem = "" })
	done := make(chan struct{})
	defer close(done)
	go func() {
		tick := time.NewTicker(lookEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				removeIf(s.path, info)
				c.Close()
				return
			case <-done:
				return
			case <-tick.C:
			}
			if now, err := os.Lstat(s.path); err != nil || !os.SameFile(now, info) {
				c.Close()
				return
			}
		}
	}()
	buffer, control := make([]byte, Longest+1), make([]byte, 256)
	for {
		n, controlled, _, _, err := c.ReadMsgUnix(buffer, control)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		s.take(buffer[:n], sender(control[:controlled]))
	}
}

// listen makes the socket. One that nobody removed is replaced.
func listen(ctx context.Context, path string) (*net.UnixConn, fs.FileInfo, error) {
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() == fs.ModeSocket {
		if err := os.Remove(path); err != nil {
			return nil, nil, err
		}
	}
	// The kernel tells the senders of messages that come after the option is set, so it is set first.
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error { return passCredentials(raw) }}
	conn, err := config.ListenPacket(ctx, "unixgram", path)
	if err != nil {
		return nil, nil, err
	}
	c := conn.(*net.UnixConn)
	info, err := os.Lstat(path)
	if err == nil {
		err = os.Chmod(path, 0o666)
	}
	if err == nil {
		err = c.SetReadBuffer(socketBuffer)
	}
	if err != nil {
		c.Close()
		return nil, nil, err
	}
	return c, info, nil
}

func removeIf(path string, info fs.FileInfo) {
	if now, err := os.Lstat(path); err == nil && os.SameFile(now, info) {
		os.Remove(path)
	}
}

func passCredentials(raw syscall.RawConn) error {
	var failed error
	err := raw.Control(func(fd uintptr) {
		failed = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_PASSCRED, 1)
	})
	return errors.Join(err, failed)
}

// sender returns the user who has sent a message, or -1. Files that came with it are closed.
func sender(control []byte) (uid int) {
	uid = -1
	list, err := syscall.ParseSocketControlMessage(control)
	if err != nil {
		return uid
	}
	for _, m := range list {
		if cred, err := syscall.ParseUnixCredentials(&m); err == nil {
			uid = int(cred.Uid)
		} else if fds, err := syscall.ParseUnixRights(&m); err == nil {
			for _, fd := range fds {
				syscall.Close(fd)
			}
		}
	}
	return uid
}

// take queues a message.
func (s *Socket) take(b []byte, uid int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !slices.Contains(s.uids, uid):
		s.stats.Strangers++
		return
	case len(b) > Longest:
		s.stats.TooLong++
		return
	}
	s.stats.Messages++
	if s.queued+len(b) <= maxBytes {
		select {
		case s.messages <- slices.Clone(b):
			s.queued += len(b)
			return
		default:
		}
	}
	s.stats.Lost++
	s.stats.LostBytes += int64(len(b))
}
