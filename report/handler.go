package report

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
	"strings"
	"sync"
	"time"

	"github.com/paraxial/paraxial/conns"
	"github.com/paraxial/paraxial/policy"
)

type handler struct {
	*Server
	table    *conns.Table[conns.Caller]
	stopping <-chan struct{}
	streams  sync.WaitGroup
}

// call is a request in progress.
type call struct {
	*handler
	conn   *conns.Conn[conns.Caller]
	w      http.ResponseWriter
	r      *http.Request
	rc     *http.ResponseController
	uid    uint32
	rights Rights
	query  url.Values
}

// ServeHTTP implements http.Handler.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	conn := h.table.Of(r)
	c := &call{handler: h, conn: conn, w: w, r: r, rc: http.NewResponseController(w), uid: conn.Peer.UID}
	defer c.recover()
	c.rc.SetWriteDeadline(time.Now().Add(h.opts.RequestTimeout + h.opts.StallTimeout))
	rights, ok := h.backend.Reporter(c.uid)
	if !ok {
		c.w.Header().Set("Connection", "close") // the body is not read
		c.fail(noReporter(c.uid))
		return
	}
	c.rights = rights
	// An answer may begin while the reporter is still sending.
	if err := c.rc.EnableFullDuplex(); err != nil {
		c.fail(err)
		return
	}
	if !conn.SetBusy(true) {
		c.fail(Errorf(CodeBusy, "connection closed: too many of %s", rights.Name))
		return
	}
	defer h.board.begin(rights.Name)()
	out, err := c.route()
	if err == errStreamed {
		return
	}
	if err != nil {
		c.fail(err)
		return
	}
	c.send(http.StatusOK, out)
}

func noReporter(uid uint32) *Error {
	return Errorf(CodeForbidden, "uid %d is no reporter: root names reporters in the configuration of paraxiald, "+
		"reports.reporters", uid)
}

// route carries the request out and returns the answer.
func (c *call) route() (any, error) {
	var err error
	if c.query, err = url.ParseQuery(c.r.URL.RawQuery); err != nil {
		return nil, invalid("query: %v", err)
	}
	path := strings.Split(strings.TrimPrefix(c.r.URL.Path, "/v1/"), "/")
	name := path[min(1, len(path)-1)]
	switch {
	case len(path) == 2 && path[0] == "sets":
		return c.only(http.MethodPut, func() (any, error) { return c.put(name) })
	case len(path) == 3 && path[0] == "sets" && path[2] == "renew":
		return c.only(http.MethodPost, func() (any, error) { return c.renew(name) })
	case len(path) == 3 && path[0] == "sets" && path[2] == "changes":
		return c.only(http.MethodPost, func() (any, error) { return c.change(name) })
	case len(path) == 1 && path[0] == "feeds":
		return c.only(http.MethodPut, c.tell)
	case len(path) == 1 && path[0] == "events":
		return c.only(http.MethodPost, c.events)
	case len(path) == 1 && path[0] == "rate":
		return c.only(http.MethodPost, c.rate)
	case len(path) == 1 && path[0] == "verdict":
		return c.only(http.MethodGet, c.verdict)
	case len(path) == 1 && path[0] == "verdicts":
		return c.only(http.MethodPost, c.verdicts)
	case len(path) == 1 && path[0] == "ban":
		return c.only(http.MethodPost, c.ban)
	case len(path) == 1 && path[0] == "stream":
		return c.only(http.MethodGet, c.stream)
	case len(path) == 1 && path[0] == "logs":
		return c.only(http.MethodPut, c.logs)
	case len(path) == 1 && path[0] == "commands":
		return c.only(http.MethodGet, c.command)
	case len(path) == 2 && path[0] == "commands":
		return c.only(http.MethodPost, func() (any, error) { return c.answer(name) })
	}
	return nil, Errorf(CodeNotFound, "no such path: %.128q", c.r.URL.Path)
}

func (c *call) only(method string, serve func() (any, error)) (any, error) {
	if c.r.Method != method {
		c.w.Header().Set("Allow", method)
		return nil, Errorf(CodeMethodNotAllowed, "%.128q takes %s, not %.32q", c.r.URL.Path, method, c.r.Method)
	}
	return serve()
}

// mayPut returns an error unless the reporter may hand in the set.
func (c *call) mayPut(name string) error {
	if policy.ValidOrigin(policy.OriginFeed+name) != nil {
		return invalid("%.128q is not the name of a set", name)
	}
	if !c.rights.MayPut(name) {
		return Errorf(CodeForbidden, "the reporter %s may not hand in the set %s: root names its sets in the "+
			"configuration of paraxiald, reports.reporters", c.rights.Name, name)
	}
	return nil
}

func (c *call) put(name string) (any, error) {
	if err := c.mayPut(name); err != nil {
		return nil, err
	}
	set := Set{Name: name}
	var err error
	if set.Generation, err = c.generation(); err != nil {
		return nil, err
	}
	if c.query.Has("accept") {
		if set.Accept, err = strconv.ParseBool(c.query.Get("accept")); err != nil {
			return nil, invalid("accept: want true or false")
		}
	}
	if c.r.ContentLength > MaxSet {
		return nil, Errorf(CodeTooLarge, "body: longer than %d MiB", MaxSet>>20)
	}
	end := time.Now().Add(c.opts.SetTimeout)
	waiting, cancel := context.WithDeadline(c.r.Context(), end)
	defer cancel()
	if err := c.sets.Enter(waiting, c.uid); err != nil {
		return nil, err
	}
	defer c.sets.Leave(c.uid)
	body := io.NopCloser(&conns.Body{
		Context: c.r.Context(), Request: c.r.Body, Control: c.rc, Stopping: c.stopping, Stall: c.opts.StallTimeout,
		Total: c.opts.SetTimeout, Rate: c.opts.SetRate, Begun: time.Now(), End: end,
		Fail: func(format string, args ...any) error { return invalid("read the set: "+format, args...) },
	})
	return c.backend.Put(c.r.Context(), c.rights.Name, set, http.MaxBytesReader(c.w, body, MaxSet))
}

func (c *call) generation() (uint64, error) {
	n, err := strconv.ParseUint(c.query.Get("generation"), 10, 64)
	if err != nil {
		return 0, invalid("generation: want a number")
	}
	return n, nil
}

func (c *call) change(name string) (any, error) {
	if err := c.mayPut(name); err != nil {
		return nil, err
	}
	changes := Changes{Name: name}
	var err error
	if changes.Generation, err = c.generation(); err != nil {
		return nil, err
	}
	data, leave, err := c.read(MaxChangesBody)
	if err != nil {
		return nil, err
	}
	defer leave()
	list, err := splitChanges(data, &changes)
	if err != nil {
		return nil, err
	}
	return c.backend.Change(c.r.Context(), c.rights.Name, changes, bytes.NewReader(list))
}

// splitChanges returns the lines of prefixes to put, without their "+", and adds the prefixes to
// remove.
func splitChanges(data []byte, c *Changes) (list []byte, err error) {
	n := 0
	for line := range bytes.Lines(data) {
		switch n++; {
		case n > MaxChanges:
			return nil, Errorf(CodeTooLarge, "more than %d changes", MaxChanges)
		case line[0] == '+':
			list = append(list, line[1:]...)
		case line[0] == '-':
			p, _, err := policy.ParsePrefix(string(bytes.TrimSpace(line[1:])))
			if err != nil {
				return nil, invalid("line %d: %v", n, err)
			}
			c.Remove = append(c.Remove, p)
		default:
			return nil, invalid("line %d: want + or - and a prefix", n)
		}
	}
	return list, nil
}

func (c *call) renew(name string) (any, error) {
	if err := c.mayPut(name); err != nil {
		return nil, err
	}
	var in renewal
	leave, err := c.begin(&in)
	if err != nil {
		return nil, err
	}
	defer leave()
	return empty{}, c.backend.Renew(c.r.Context(), c.rights.Name, name, in.Generation)
}

// tell takes the states of feeds. Those that the reporter may not hand in are an error.
func (c *call) tell() (any, error) {
	var states []State
	leave, err := c.begin(&states)
	if err != nil {
		return nil, err
	}
	defer leave()
	if len(states) > MaxStates {
		return nil, Errorf(CodeTooLarge, "%d states; at most %d", len(states), MaxStates)
	}
	for _, s := range states {
		if err := c.mayPut(s.Name); err != nil {
			return nil, err
		}
	}
	c.board.tell(c.rights.Name, states)
	return empty{}, nil
}

// command waits for the next command. Without one the answer has no id.
func (c *call) command() (any, error) {
	wait := MaxWait
	if s := c.query.Get("wait"); s != "" {
		var err error
		if wait, err = time.ParseDuration(s); err != nil || wait < 0 {
			return nil, invalid("wait: want a duration of at most %s", MaxWait)
		}
	}
	ctx, cancel := context.WithTimeout(c.r.Context(), min(wait, MaxWait))
	defer cancel()
	go func() {
		select {
		case <-c.stopping:
			cancel()
		case <-ctx.Done():
		}
	}()
	command, _ := c.board.next(ctx, c.rights.Name)
	c.rc.SetWriteDeadline(time.Now().Add(c.opts.StallTimeout))
	return command, nil
}

func (c *call) answer(id string) (any, error) {
	var a Answer
	leave, err := c.begin(&a)
	if err != nil {
		return nil, err
	}
	defer leave()
	if !c.board.answer(c.rights.Name, id, a) {
		return nil, Errorf(CodeNotFound, "nobody waits for the answer to the command %.64q", id)
	}
	return empty{}, nil
}

// begin reads the body of a request into v, and waits until the request may be worked on.
func (c *call) begin(v any) (leave func(), err error) {
	data, leave, err := c.read(MaxBody)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, v); err != nil {
		leave()
		return nil, invalid("read body: %v", err)
	}
	return leave, nil
}

// read waits until the request may be worked on, and returns its body.
func (c *call) read(most int64) (data []byte, leave func(), err error) {
	ctx, cancel := context.WithTimeout(c.r.Context(), c.opts.RequestTimeout)
	defer cancel()
	if err := c.work.Enter(ctx, c.uid); err != nil {
		return nil, nil, err
	}
	c.rc.SetReadDeadline(time.Now().Add(c.opts.StallTimeout))
	data, err = io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, most))
	c.rc.SetReadDeadline(time.Time{})
	if err == nil {
		return data, func() { c.work.Leave(c.uid) }, nil
	}
	c.work.Leave(c.uid)
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return nil, nil, err
	}
	return nil, nil, invalid("read body: %v", err)
}

// empty is an answer without fields.
type empty struct{}

func (c *call) send(status int, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		c.fail(fmt.Errorf("encode the answer: %w", err))
		return
	}
	c.rc.SetWriteDeadline(time.Now().Add(c.opts.StallTimeout))
	c.w.Header().Set("Content-Type", "application/json")
	c.w.WriteHeader(status)
	c.w.Write(append(data, '\n')) // the client may be gone
}

func (c *call) fail(err error) {
	e := wireError(err)
	if e.Code == CodeInternal {
		c.opts.Log.Error("report: request failed", "path", c.r.URL.Path, "reporter", c.rights.Name, "error", err)
	}
	c.send(e.Status, envelope{e})
	if c.rights.Name == "" {
		return
	}
	// A reporter that is still sending when the connection is closed would not see the
	// error, so its body is read.
	c.rc.Flush()
	c.rc.SetReadDeadline(time.Now().Add(c.opts.StallTimeout))
	io.Copy(io.Discard, io.LimitReader(c.r.Body, MaxSet))
}

func (c *call) recover() {
	p := recover()
	if p == nil {
		return
	}
	c.opts.Log.Error("report: panic", "path", c.r.URL.Path, "panic", p, "stack", string(debug.Stack()))
	panic(http.ErrAbortHandler)
}
