package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/paraxial/paraxial/tests/lab/frame"
)

// snapLength is enough to include the source address behind any VLAN tags.
const snapLength = 128

// A Capture counts the frames that arrive at one end of a wire.
type Capture struct {
	socket *socket
	done   chan struct{}

	mu      sync.Mutex
	sources map[netip.Addr]int
	other   int
	synced  uint64
	err     error
}

func startCapture(s *socket) (*Capture, error) {
	// A timeout, so that Close does not race with the reader for the file descriptor.
	timeout := unix.NsecToTimeval(int64(20 * time.Millisecond))
	if err := unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
		return nil, errors.Join(fmt.Errorf("set receive timeout: %w", err), s.Close())
	}
	c := &Capture{socket: s, done: make(chan struct{}), sources: make(map[netip.Addr]int)}
	go c.run()
	return c, nil
}

func (c *Capture) run() {
	defer close(c.done)
	buf := make([]byte, snapLength)
	for {
		n, err := unix.Read(c.socket.fd, buf)
		c.mu.Lock()
		switch {
		case err == nil:
			c.add(buf[:n])
		case !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) && c.err == nil:
			c.err = fmt.Errorf("read captured frames: %w", err)
		}
		stop := c.err != nil
		c.mu.Unlock()
		if stop {
			return
		}
	}
}

func (c *Capture) add(b []byte) {
	if n, ok := syncNumber(b); ok {
		c.synced = max(c.synced, n)
		return
	}
	if source, ok := frame.Source(b); ok {
		c.sources[source]++
		return
	}
	c.other++
}

// errClosed makes the reader of a capture stop.
var errClosed = errors.New("capture is closed")

// Close ends the capture.
func (c *Capture) Close() error {
	c.mu.Lock()
	if c.err == nil {
		c.err = errClosed
	}
	c.mu.Unlock()
	<-c.done
	return c.socket.Close()
}

// Sources returns the number of IP frames from each source. It returns an error if the capture
// could not keep up.
//
// GRO may merge TCP segments of one flow: count with UDP.
func (c *Capture) Sources() (map[netip.Addr]int, error) {
	lost, err := c.socket.lost()
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if lost > 0 {
		return nil, fmt.Errorf("capture lost %d frames: its buffer was full", lost)
	}
	return maps.Clone(c.sources), c.err
}

// Other returns the number of frames that are not IP.
func (c *Capture) Other() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.other
}

// Reset sets the counts to zero.
func (c *Capture) Reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.sources)
	c.other = 0
}

func (c *Capture) waitSync(ctx context.Context, number uint64) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		c.mu.Lock()
		seen, err := c.synced >= number, c.err
		c.mu.Unlock()
		if seen || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for what was sent to arrive: %w", ctx.Err())
		case <-tick.C:
		}
	}
}

// syncMagic distinguishes our sync frames from other frames of the experimental EtherType.
const syncMagic = 0x7061726178696131

func syncFrame(to, from frame.MAC, number uint64) []byte {
	b := binary.BigEndian.AppendUint64(nil, syncMagic)
	return frame.Of(to, from, frame.Local, binary.BigEndian.AppendUint64(b, number))
}

func syncNumber(b []byte) (uint64, bool) {
	const size = frame.EthernetSize + 16
	if len(b) < size || binary.BigEndian.Uint16(b[12:]) != frame.Local || binary.BigEndian.Uint64(b[14:]) != syncMagic {
		return 0, false
	}
	return binary.BigEndian.Uint64(b[22:]), true
}
