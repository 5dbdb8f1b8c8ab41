package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/paraxial/paraxial/conns"
)

// route answers one path. The error of serve is sent to the client: as the answer,
// or as the last line of a stream that has begun.
type route struct {
	method string
	serve  func(*call) error
}

// call is a request in progress.
type call struct {
	*handler
	w      *reply
	r      *http.Request
	rc     *http.ResponseController
	conn   *conns.Conn[Caller]
	caller Caller
	query  url.Values
	passed []*conns.Gate // to leave when the work is done
}

// pass waits until the request may pass a gate.
func (c *call) pass(ctx context.Context, g *conns.Gate) error {
	if err := g.Enter(ctx, c.caller.UID); err != nil {
		return err
	}
	c.passed = append(c.passed, g)
	return nil
}

func (c *call) leave() {
	for _, g := range c.passed {
		g.Leave(c.caller.UID)
	}
	c.passed = nil
}

// reply records whether the answer has begun.
type reply struct {
	http.ResponseWriter
	begun bool
}

func (w *reply) WriteHeader(status int) {
	w.begun = true
	w.ResponseWriter.WriteHeader(status)
}

func (w *reply) Write(b []byte) (int, error) {
	w.begun = true
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController find the connection.
func (w *reply) Unwrap() http.ResponseWriter { return w.ResponseWriter }

type handler struct {
	*Server
	table    *conns.Table[Caller]
	stopping <-chan struct{}
	streams  *streamSlots
	routes   map[string]route
}

func newHandler(s *Server, table *conns.Table[Caller], stopping <-chan struct{}) *handler {
	b := s.backend
	return &handler{
		Server:   s,
		table:    table,
		stopping: stopping,
		streams:  newStreamSlots(s.opts.MaxStreams, s.opts.MaxUIDStreams),
		routes: map[string]route{
			"/v1/status":    {http.MethodGet, get(b.Status)},
			"/v1/stats":     {http.MethodGet, get(b.Stats)},
			"/v1/detectors": {http.MethodGet, get(b.Detectors)},
			"/v1/top":       {http.MethodGet, get(b.Top)},
			"/v1/why":       {http.MethodGet, (*call).why},
			"/v1/block":     {http.MethodPost, post[BlockRequest](b.Block)},
			"/v1/preview":   {http.MethodPost, post[BlockRequest](b.Preview)},
			"/v1/allow":     {http.MethodPost, post[AllowRequest](b.Allow)},
			"/v1/unblock":   {http.MethodPost, post[UnblockRequest](b.Unblock)},
			"/v1/unallow":   {http.MethodPost, post[UnallowRequest](b.Unallow)},
			"/v1/flush":     {http.MethodPost, post[FlushRequest](b.Flush)},
			"/v1/promote":   {http.MethodPost, post[PromoteRequest](b.Promote)},
			"/v1/confirm":   {http.MethodPost, post[ConfirmRequest](b.Confirm)},
			"/v1/detach":    {http.MethodPost, post[empty](detach(b))},
			"/v1/entries":   {http.MethodGet, (*call).entries},
			"/v1/watch":     {http.MethodGet, (*call).watch},
			"/v1/import":    {http.MethodPost, (*call).importList},
			"/v1/origins":   {http.MethodGet, get(b.Origins)},
			"/v1/feeds":     {http.MethodGet, get(b.Feeds)},
			"/v1/rules":     {http.MethodGet, (*call).rules},
			"/v1/forgive":   {http.MethodPost, post[ForgiveRequest](b.Forgive)},
			"/v1/logs":      {http.MethodGet, get(b.Logs)},

			"/v1/feeds/NAME/refresh":  {http.MethodPost, (*call).feedCommand},
			"/v1/feeds/NAME/accept":   {http.MethodPost, (*call).feedCommand},
			"/v1/feeds/NAME/rollback": {http.MethodPost, (*call).feedCommand},
			"/v1/feeds/NAME/pause":    {http.MethodPost, (*call).feedCommand},
			"/v1/feeds/NAME/resume":   {http.MethodPost, (*call).feedCommand},
			"/v1/feeds/NAME/diff":     {http.MethodGet, (*call).feedCommand},
		},
	}
}

// ServeHTTP implements http.Handler. Paths are compared exactly, so that no
// answer is a redirect or anything else that is not JSON.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	conn := h.table.Of(r)
	c := &call{
		handler: h, w: &reply{ResponseWriter: w}, r: r, rc: http.NewResponseController(w),
		conn: conn, caller: conn.Peer,
	}
	defer c.recover()
	defer c.leave()
	// The deadline of an earlier answer on this connection must not end this one.
	c.rc.SetWriteDeadline(time.Now().Add(h.opts.RequestTimeout + h.opts.StallTimeout))
	// An answer may begin while the client is still sending.
	if err := c.rc.EnableFullDuplex(); err != nil {
		c.fail(err)
		return
	}
	// The error is also sent if the context of the request has ended. The deadline
	// of a body ends it too, and then the client still reads.
	err := c.route()
	c.leave() // a client may be slow to read the error
	if err != nil && !errors.Is(err, errClientGone) {
		c.fail(err)
	}
}

func (c *call) route() error {
	route, ok := c.routes[routeOf(c.r.URL.Path)]
	if !ok {
		return Errorf(CodeNotFound, "no such path: %.128q", c.r.URL.Path)
	}
	if c.r.Method != route.method {
		c.w.Header().Set("Allow", route.method)
		return Errorf(CodeMethodNotAllowed, "%s takes %s, not %.32q", c.r.URL.Path, route.method, c.r.Method)
	}
	// net/http would close the connection because of an unread body, and not tell a
	// client that is sending its next request.
	if route.method == http.MethodGet && c.r.ContentLength != 0 {
		return invalid("%s takes no body", c.r.URL.Path)
	}
	query, err := url.ParseQuery(c.r.URL.RawQuery)
	if err != nil {
		return invalid("query: %v", err)
	}
	c.query = query
	return route.serve(c)
}

// fail sends err, as the last line if a stream has begun.
func (c *call) fail(err error) {
	e := wireError(err)
	if e.Code == CodeInternal && !errors.Is(err, context.Canceled) {
		c.opts.Log.Error("control: request failed", "path", c.r.URL.Path, "author", c.caller.Author(), "error", err)
	}
	var line bytes.Buffer
	json.NewEncoder(&line).Encode(errorLine{e}) // cannot fail: two strings
	c.rc.SetWriteDeadline(time.Now().Add(c.opts.StallTimeout))
	if !c.w.begun {
		c.w.Header().Set("Content-Type", "application/json")
		// With a length, the client has the whole error before it has sent its body.
		c.w.Header().Set("Content-Length", strconv.Itoa(line.Len()))
		c.w.WriteHeader(e.Status)
	}
	c.w.Write(line.Bytes())
	c.rc.Flush()
	if c.isStopping() {
		return
	}
	// A client that is still sending when the connection is closed would not see
	// the error, so its body is read.
	c.rc.SetReadDeadline(time.Now().Add(c.opts.StallTimeout))
	io.Copy(io.Discard, io.LimitReader(c.r.Body, MaxList))
}

// errorLine is the wire form of an error.
type errorLine struct {
	Error *Error `json:"error"`
}

// recover turns a panic into an answer. If an answer has begun, it is cut off, so
// that the client does not take it for complete.
func (c *call) recover() {
	p := recover()
	if p == nil {
		return
	}
	c.opts.Log.Error("control: panic", "path", c.r.URL.Path, "panic", p, "stack", string(debug.Stack()))
	if c.w.begun {
		panic(http.ErrAbortHandler)
	}
	c.fail(Errorf(CodeInternal, "the daemon failed on this request: %v; its log says more", p))
}

// begin marks the connection as busy. If it was closed to make room, the client
// would not see the answer, so the request fails.
func (c *call) begin() error {
	if !c.conn.SetBusy(true) {
		return Errorf(CodeBusy, "connection closed: too many of uid %d", c.caller.UID)
	}
	return nil
}

func (c *call) timeout() (context.Context, context.CancelFunc) {
	return context.WithTimeout(c.r.Context(), c.opts.RequestTimeout)
}

func (c *call) send(v any) error {
	c.rc.SetWriteDeadline(time.Now().Add(c.opts.StallTimeout))
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	c.w.Header().Set("Content-Type", "application/json")
	c.w.Write(append(escapeHidden(data), '\n'))
	return nil
}

// smallBody is the length of a body, in bytes, that may be in memory for every
// connection.
const smallBody = 64 << 10

// body reads the whole body, of at most MaxBody bytes.
func (c *call) body() ([]byte, error) {
	body := http.MaxBytesReader(c.w, c.r.Body, MaxBody)
	data, err := c.readBody(nil, io.LimitReader(body, smallBody))
	if err != nil || len(data) < smallBody {
		return data, err
	}
	ctx, cancel := c.timeout()
	defer cancel()
	if err := c.pass(ctx, c.bodies); err != nil {
		return nil, err
	}
	return c.readBody(data, body)
}

// readBody appends the rest of a body to data.
func (c *call) readBody(data []byte, body io.Reader) ([]byte, error) {
	c.rc.SetReadDeadline(time.Now().Add(c.opts.StallTimeout))
	buf := bytes.NewBuffer(data)
	if _, err := buf.ReadFrom(body); err != nil {
		if e := wireError(err); e.Code == CodeTooLarge {
			return nil, e
		}
		return nil, invalid("read body: %v", err)
	}
	// A deadline that passes later would end the context of the request.
	c.rc.SetReadDeadline(time.Time{})
	return buf.Bytes(), nil
}

// get answers with the result of f.
func get[Out any](f func(context.Context) (Out, error)) func(*call) error {
	return func(c *call) error {
		if err := knownParameters(c.query); err != nil {
			return err
		}
		return sendResult(c, f)
	}
}

// sendResult sends what f returns, once the request may be worked on.
func sendResult[Out any](c *call, f func(context.Context) (Out, error)) error {
	if err := c.begin(); err != nil {
		return err
	}
	ctx, cancel := c.timeout()
	defer cancel()
	if err := c.pass(ctx, c.work); err != nil {
		return err
	}
	out, err := f(ctx)
	if err != nil {
		return err
	}
	return c.send(out)
}

// parser is the wire form of a request. parse checks it and fills in defaults.
type parser[In, Parsed any] interface {
	*In
	parse(Caller) (Parsed, error)
}

// post answers a body of type In with the result of f.
func post[In, Parsed, Out any, P parser[In, Parsed]](
	f func(context.Context, Caller, Parsed) (Out, error),
) func(*call) error {
	return func(c *call) error {
		if err := knownParameters(c.query); err != nil {
			return err
		}
		data, err := c.body()
		if err != nil {
			return err
		}
		if err := c.begin(); err != nil {
			return err
		}
		ctx, cancel := c.timeout()
		defer cancel()
		// First, so that a request that waits here takes no place of small ones.
		if len(data) > smallBody {
			if err := c.pass(ctx, c.large); err != nil {
				return err
			}
		}
		if err := c.pass(ctx, c.work); err != nil {
			return err
		}
		var in In
		if err := decode(data, &in); err != nil {
			return err
		}
		parsed, err := P(&in).parse(c.caller)
		if err != nil {
			return err
		}
		out, err := f(ctx, c.caller, parsed)
		if err != nil {
			return err
		}
		return c.send(out)
	}
}
