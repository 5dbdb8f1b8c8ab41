package blocklist

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"github.com/paraxial/paraxial/report"
	"github.com/paraxial/paraxial/warnings"
)

// maxDescriptors is the number of descriptors that the kernel lets one message have (SCM_MAX_FD).
const maxDescriptors = 253

// Sink takes the events of messages.
type Sink interface {
	// Reporter returns the rights of a user; false if it is no reporter.
	Reporter(uid uint32) (report.Rights, bool)
	// CountProven counts an event whose source is proven.
	CountProven(ctx context.Context, r report.Rights, e report.Event) error
	// Note notes that an event of a reporter was refused.
	Note(reporter, rule, code string)
}

// Listen binds a socket of datagrams at path, to which anyone may send. A socket to which nobody
// listens is replaced.
func Listen(path string) (*net.UnixConn, error) {
	addr := &net.UnixAddr{Name: path, Net: "unixgram"}
	if err := removeStale(addr); err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	c, err := net.ListenUnixgram(addr.Net, addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	if err := prepare(c, path); err != nil {
		c.Close()
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	return c, nil
}

// prepare has the kernel tell who sends, and lets anyone send.
func prepare(c *net.UnixConn, path string) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var optErr error
	err = raw.Control(func(fd uintptr) {
		optErr = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1)
	})
	return errors.Join(err, optErr, os.Chmod(path, 0o666))
}

func removeStale(addr *net.UnixAddr) error {
	info, err := os.Lstat(addr.Name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return errors.New("a file that is not a socket is there; remove it or choose another path")
	}
	c, err := net.DialUnix(addr.Net, nil, addr)
	if err == nil {
		c.Close()
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		return errors.New("another program, such as blocklistd, listens there; stop it first or choose another path")
	}
	return os.Remove(addr.Name)
}

// Receiver takes messages for a Sink.
type Receiver struct {
	Sink Sink
	Log  *slog.Logger

	complains warnings.Limiter
}

// Serve takes the messages that come to c until ctx is done. It closes c.
func (r *Receiver) Serve(ctx context.Context, c *net.UnixConn) error {
	defer context.AfterFunc(ctx, func() { c.Close() })()
	defer c.Close()
	data := make([]byte, leastLength+mostText+1) // one byte more, so that a longer message is found
	control := make([]byte, unix.CmsgSpace(unix.SizeofUcred)+unix.CmsgSpace(4*maxDescriptors))
	for {
		n, oob, _, _, err := c.ReadMsgUnix(data, control)
		if ctx.Err() != nil {
			closeAll(descriptors(control[:oob]))
			return nil
		}
		if err != nil {
			return fmt.Errorf("receive from libblocklist: %w", err)
		}
		if err := r.take(ctx, data[:n], control[:oob]); err != nil && r.complains.Due("refused") {
			r.Log.Warn("a message of libblocklist is refused", "error", err)
		}
	}
}

// take counts the event of a message. It closes all descriptors that came with it.
func (r *Receiver) take(ctx context.Context, data, control []byte) error {
	fds := descriptors(control)
	defer closeAll(fds)
	uid, err := sender(control)
	if err != nil {
		return err
	}
	rights, ok := r.Sink.Reporter(uid)
	if !ok || rights.Proof == nil {
		return fmt.Errorf("uid %d is no reporter with proof: connection (reports.reporters)", uid)
	}
	refused := func(code string, err error) error {
		r.Sink.Note(rights.Name, rights.Proof.Rule, code)
		return fmt.Errorf("reporter %s: %w", rights.Name, err)
	}
	e, err := decode(data)
	if err != nil {
		return refused(report.CodeInvalidRequest, err)
	}
	if len(fds) != 1 {
		return refused(report.CodeUnproven, fmt.Errorf("the message has %d descriptors; want the connection", len(fds)))
	}
	if e.Address, err = peerOf(fds[0], rights.Proof.Ports); err != nil {
		return refused(report.CodeUnproven, err)
	}
	e.Rule = rights.Proof.Rule
	if err := r.Sink.CountProven(ctx, rights, e); err != nil {
		return fmt.Errorf("reporter %s: %w", rights.Name, err)
	}
	return nil
}

// descriptors returns the descriptors that came with a message.
func descriptors(control []byte) (fds []int) {
	messages, _ := unix.ParseSocketControlMessage(control)
	for _, m := range messages {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_RIGHTS {
			some, _ := unix.ParseUnixRights(&m)
			fds = append(fds, some...)
		}
	}
	return fds
}

func closeAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}

// sender returns who has sent a message, by the word of the kernel.
func sender(control []byte) (uid uint32, err error) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return 0, fmt.Errorf("read who has sent a message: %w", err)
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_CREDENTIALS {
			who, err := unix.ParseUnixCredentials(&m)
			if err != nil {
				return 0, fmt.Errorf("read who has sent a message: %w", err)
			}
			return who.Uid, nil
		}
	}
	return 0, errors.New("the kernel does not tell who has sent a message")
}
