package conns

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"syscall"
	"time"
)

// lastRead is the time that a read may take beyond the end of a body.
const lastRead = time.Second

// Body reads a long body. Each part of it must come within Stall, and all of it within
// Total. After two Stalls it must have come with Rate or more, because a body that is being
// read keeps others from being read.
type Body struct {
	Context  context.Context
	Request  io.Reader // the body of the request
	Control  *http.ResponseController
	Stopping <-chan struct{} // closed when the server stops
	Stall    time.Duration
	Total    time.Duration
	Rate     int       // bytes per second
	Begun    time.Time // when the read begins
	End      time.Time // when the body must be complete

	Hint string // what to do about a slow body, added to the error
	// Fail returns the error for a body that is too slow or cut off.
	Fail func(format string, args ...any) error

	got int // bytes
}

// Read implements io.Reader.
func (r *Body) Read(b []byte) (int, error) {
	now := time.Now()
	if err := r.slow(now); err != nil {
		return 0, err
	}
	if !now.Before(r.End) {
		return 0, r.stalled()
	}
	// A deadline that passes breaks the body, and the client may then not get the error. So
	// it is later than the end, which the next read finds.
	stalled := now.Add(r.Stall)
	if last := r.End.Add(lastRead); last.Before(stalled) {
		stalled = last
	}
	r.Control.SetReadDeadline(stalled)
	if err := r.Context.Err(); err != nil {
		return 0, err
	}
	n, err := r.Request.Read(b)
	r.got += n
	if errors.Is(err, io.EOF) {
		// A deadline that passes later would end the context of the request.
		r.Control.SetReadDeadline(time.Time{})
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return n, r.stalled()
	}
	// A client that exits without having read its answer resets the connection.
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) {
		return n, r.Fail("it is cut off")
	}
	return n, err
}

// stalled returns the error of a read whose deadline has passed.
func (r *Body) stalled() error {
	select {
	case <-r.Stopping:
		return context.Canceled
	default:
	}
	if !time.Now().Before(r.End) {
		return r.Fail("it is not complete after %v%s", r.Total, r.Hint)
	}
	return r.Fail("nothing came for %v", r.Stall)
}

// slow returns an error if the body comes too slowly.
func (r *Body) slow(now time.Time) error {
	if after := now.Sub(r.Begun) - 2*r.Stall; float64(r.got) < float64(r.Rate)*after.Seconds() {
		return r.Fail("it comes with fewer than %d bytes per second%s", r.Rate, r.Hint)
	}
	return nil
}
