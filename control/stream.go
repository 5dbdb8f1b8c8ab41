package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/paraxial/paraxial/conns"
)

// streamSlots bounds the streams, which hold a connection for as long as the
// client likes. Of max, as many as one uid may have are for root alone.
type streamSlots struct {
	max, maxPerUID int

	mu     sync.Mutex
	others int // of uids other than root
	perUID map[uint32]int
}

func newStreamSlots(total, perUID int) *streamSlots {
	return &streamSlots{max: total, maxPerUID: perUID, perUID: map[uint32]int{}}
}

func (s *streamSlots) acquire(uid uint32) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	most := s.max - s.maxPerUID
	if s.perUID[uid] >= s.maxPerUID || uid != 0 && s.others >= most {
		return Errorf(CodeBusy, "too many lists, watches and imports at once: "+
			"uid %d has %d (at most %d), all users but root together %d (at most %d); end one and try again",
			uid, s.perUID[uid], s.maxPerUID, s.others, most)
	}
	if s.perUID[uid]++; uid != 0 {
		s.others++
	}
	return nil
}

func (s *streamSlots) release(uid uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if uid != 0 {
		s.others--
	}
	if s.perUID[uid]--; s.perUID[uid] == 0 {
		delete(s.perUID, uid)
	}
}

// stream runs f with a writer of NDJSON lines. If f returns an error, that is the
// last line.
func (c *call) stream(f func(context.Context, *lineWriter) error) error {
	if err := c.streams.acquire(c.caller.UID); err != nil {
		return err
	}
	defer c.streams.release(c.caller.UID)
	if err := c.begin(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(c.r.Context())
	defer cancel()
	go func() {
		select {
		case <-c.stopping:
			cancel()
		case <-ctx.Done():
		}
	}()
	lines := newLineWriter(c)
	err := f(ctx, lines)
	if errors.Is(err, context.Canceled) && c.isStopping() {
		err = Errorf(CodeBusy, "the daemon is stopping")
	}
	// Lines that were written before an error are sent before it.
	if err == nil || lines.begun {
		if flushErr := lines.flush(); err == nil {
			err = flushErr
		}
	}
	return err
}

func (c *call) isStopping() bool {
	select {
	case <-c.stopping:
		return true
	default:
		return false
	}
}

// errClientGone means that the client has disconnected, so that no error can be
// sent to it.
var errClientGone = errors.New("write to the client")

// lineWriter writes NDJSON. If the client stops reading, writes fail after the
// stall timeout.
type lineWriter struct {
	c     *call
	buf   *bufio.Writer
	enc   *json.Encoder
	begun bool // a line or the header was written
}

func newLineWriter(c *call) *lineWriter {
	c.w.Header().Set("Content-Type", "application/x-ndjson")
	l := &lineWriter{c: c}
	l.buf = bufio.NewWriterSize(stallWriter{c}, 64<<10)
	l.enc = json.NewEncoder(JSONWriter{l.buf})
	return l
}

func (l *lineWriter) line(v any) error {
	l.begun = true
	if err := l.enc.Encode(v); err != nil {
		return fmt.Errorf("%w: %v", errClientGone, err)
	}
	return nil
}

// flush sends the lines that were written, or only the header if there are none.
func (l *lineWriter) flush() error {
	l.begun = true
	if err := l.buf.Flush(); err != nil {
		return fmt.Errorf("%w: %v", errClientGone, err)
	}
	if !l.c.w.begun {
		l.c.w.WriteHeader(http.StatusOK)
	}
	l.c.rc.SetWriteDeadline(time.Now().Add(l.c.opts.StallTimeout))
	if err := l.c.rc.Flush(); err != nil {
		return fmt.Errorf("%w: %v", errClientGone, err)
	}
	return nil
}

type stallWriter struct{ c *call }

func (w stallWriter) Write(b []byte) (int, error) {
	w.c.rc.SetWriteDeadline(time.Now().Add(w.c.opts.StallTimeout))
	return w.c.w.Write(b)
}

func (c *call) entries() error {
	if err := knownParameters(c.query, "kind", "origin"); err != nil {
		return err
	}
	kind, err := parseKind(c.query.Get("kind"))
	if err != nil {
		return err
	}
	origin := c.query.Get("origin")
	if origin != "" {
		if err := checkOrigin(origin); err != nil {
			return err
		}
	}
	return c.stream(func(ctx context.Context, lines *lineWriter) error {
		return c.backend.Entries(ctx, kind, origin, func(e Entry) error { return lines.line(e) })
	})
}

func (c *call) watch() error {
	if err := knownParameters(c.query); err != nil {
		return err
	}
	return c.stream(func(ctx context.Context, lines *lineWriter) error {
		// The header tells the client that the watch has started.
		if err := lines.flush(); err != nil {
			return err
		}
		err := c.backend.Watch(ctx, func(e Event) error {
			if err := lines.line(e); err != nil {
				return err
			}
			return lines.flush()
		})
		if errors.Is(err, context.Canceled) {
			return nil
		}
		return err
	})
}

func (c *call) importList() error {
	req, err := parseImport(c.query)
	if err != nil {
		return err
	}
	if c.r.ContentLength > MaxList {
		return errTooLong(MaxList)
	}
	end := time.Now().Add(c.opts.ImportTimeout)
	return c.stream(func(ctx context.Context, lines *lineWriter) error {
		waiting, cancel := context.WithDeadline(ctx, end)
		defer cancel()
		if err := c.pass(waiting, c.imports); err != nil {
			return err
		}
		// A read that waits for the client does not notice the end of ctx.
		stop := context.AfterFunc(ctx, func() { c.rc.SetReadDeadline(time.Now()) })
		defer stop()
		body := io.NopCloser(&conns.Body{
			Context: ctx, Request: c.r.Body, Control: c.rc, Stopping: c.stopping, Stall: c.opts.StallTimeout,
			Total: c.opts.ImportTimeout, Rate: c.opts.ImportRate, Begun: time.Now(), End: end,
			Hint: "; write it to a file and import that",
			Fail: func(format string, args ...any) error { return invalid("read the list: "+format, args...) },
		})
		list := http.MaxBytesReader(c.w, body, MaxList)
		result, err := c.backend.Import(ctx, c.caller, req, list, func(p ImportProgress) {
			// If the client is gone, ctx ends too.
			if lines.line(progressLine{p}) == nil {
				lines.flush()
			}
		})
		if err != nil {
			return err
		}
		return lines.line(resultLine{result})
	})
}

// The lines of the answer to an import, besides errorLine.
type (
	progressLine struct {
		Progress ImportProgress `json:"progress"`
	}
	resultLine struct {
		Result ImportResult `json:"result"`
	}
)
