package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/paraxial/paraxial/report"
)

// Client drives a daemon over its socket. It may be used by several goroutines
// at once. An error of the daemon is an *Error. ErrUnreachable and ErrPermission
// are the errors of connecting to it.
type Client struct {
	socket   string
	http     *http.Client
	patience time.Duration // until an answer that is a single value is complete
}

// answerWithin is more than a daemon takes that works (Options.RequestTimeout and StallTimeout).
const answerWithin = 2 * time.Minute

// NewClient returns a client for the daemon that listens on socket. It does
// not connect yet.
func NewClient(socket string) *Client { return newClient(socket, socket) }

// NewRootClient is NewClient for a process of root. The client uses the socket for root alone, if
// the daemon has one.
func NewRootClient(socket string) *Client { return newClient(socket, RootSocket(socket), socket) }

// newClient returns a client that connects to the first of the paths on which a daemon listens.
func newClient(socket string, paths ...string) *Client {
	return &Client{socket: socket, patience: answerWithin, http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dialFirst(ctx, paths) },
		// The daemon may close an idle connection at any time to make room, and connecting again is
		// cheap.
		DisableKeepAlives:  true,
		DisableCompression: true,
	}}}
}

// dialFirst connects to the first of the paths on which a daemon listens and which this process may
// use. Without one the error is that of the last path.
func dialFirst(ctx context.Context, paths []string) (c net.Conn, err error) {
	for _, path := range paths {
		c, err = dial(ctx, path)
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ECONNREFUSED) && !errors.Is(err, fs.ErrPermission) {
			break
		}
	}
	return c, err
}

// dial connects. If the queue of the listener is full, it tries again for up to
// five seconds.
func dial(ctx context.Context, socket string) (net.Conn, error) {
	const (
		pause = 10 * time.Millisecond
		limit = 5 * time.Second
	)
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		c, err := new(net.Dialer).DialContext(ctx, "unix", socket)
		if !errors.Is(err, unix.EAGAIN) {
			return c, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(pause):
		}
	}
}

// Status returns the state of the daemon.
func (c *Client) Status(ctx context.Context) (Status, error) {
	return exchange[Status](ctx, c, http.MethodGet, "/v1/status", nil, nil)
}

// Stats returns the packet counters.
func (c *Client) Stats(ctx context.Context) (Stats, error) {
	return exchange[Stats](ctx, c, http.MethodGet, "/v1/stats", nil, nil)
}

// Detectors returns the state of the rate analysis.
func (c *Client) Detectors(ctx context.Context) (DetectorsStatus, error) {
	return exchange[DetectorsStatus](ctx, c, http.MethodGet, "/v1/detectors", nil, nil)
}

// Top returns what the tracked sources send now.
func (c *Client) Top(ctx context.Context) (TopResult, error) {
	return exchange[TopResult](ctx, c, http.MethodGet, "/v1/top", nil, nil)
}

// Block blocks prefixes.
func (c *Client) Block(ctx context.Context, r BlockRequest) (ChangeResult, error) {
	return exchange[ChangeResult](ctx, c, http.MethodPost, "/v1/block", nil, r)
}

// Preview returns what Block would do.
func (c *Client) Preview(ctx context.Context, r BlockRequest) (PreviewResult, error) {
	return exchange[PreviewResult](ctx, c, http.MethodPost, "/v1/preview", nil, r)
}

// Allow lets prefixes pass, even if they are blocked.
func (c *Client) Allow(ctx context.Context, r AllowRequest) (ChangeResult, error) {
	return exchange[ChangeResult](ctx, c, http.MethodPost, "/v1/allow", nil, r)
}

// Unblock removes blocks.
func (c *Client) Unblock(ctx context.Context, r UnblockRequest) (RemoveResult, error) {
	return exchange[RemoveResult](ctx, c, http.MethodPost, "/v1/unblock", nil, r)
}

// Unallow removes allows.
func (c *Client) Unallow(ctx context.Context, r UnallowRequest) (RemoveResult, error) {
	return exchange[RemoveResult](ctx, c, http.MethodPost, "/v1/unallow", nil, r)
}

// Flush removes all entries of an origin, or counts them.
func (c *Client) Flush(ctx context.Context, r FlushRequest) (FlushResult, error) {
	return exchange[FlushResult](ctx, c, http.MethodPost, "/v1/flush", nil, r)
}

// Promote arms shadow entries.
func (c *Client) Promote(ctx context.Context, r PromoteRequest) (ChangeResult, error) {
	return exchange[ChangeResult](ctx, c, http.MethodPost, "/v1/promote", nil, r)
}

// Confirm keeps the entries of a Block with Confirm.
func (c *Client) Confirm(ctx context.Context, r ConfirmRequest) (ChangeResult, error) {
	return exchange[ChangeResult](ctx, c, http.MethodPost, "/v1/confirm", nil, r)
}

// Why returns what happens to packets from address.
func (c *Client) Why(ctx context.Context, address string) (WhyResult, error) {
	return exchange[WhyResult](ctx, c, http.MethodGet, "/v1/why", url.Values{"address": {address}}, nil)
}

// Rules returns the state of all rules, or of the one with a name.
func (c *Client) Rules(ctx context.Context, name string) (RulesStatus, error) {
	query := url.Values{}
	if name != "" {
		query.Set("name", name)
	}
	return exchange[RulesStatus](ctx, c, http.MethodGet, "/v1/rules", query, nil)
}

// Forgive forgets what is held against an address.
func (c *Client) Forgive(ctx context.Context, r ForgiveRequest) (ForgiveResult, error) {
	return exchange[ForgiveResult](ctx, c, http.MethodPost, "/v1/forgive", nil, r)
}

// Feeds returns the state of the feeds.
func (c *Client) Feeds(ctx context.Context) (FeedsStatus, error) {
	return exchange[FeedsStatus](ctx, c, http.MethodGet, "/v1/feeds", nil, nil)
}

// Logs returns the state of the logs.
func (c *Client) Logs(ctx context.Context) (LogsStatus, error) {
	return exchange[LogsStatus](ctx, c, http.MethodGet, "/v1/logs", nil, nil)
}

// FeedCommand gives a command to the reporter of a feed.
func (c *Client) FeedCommand(ctx context.Context, r FeedCommand) (FeedAnswer, error) {
	method, query := http.MethodPost, url.Values{}
	if r.Command == string(report.Diff) {
		method = http.MethodGet
	}
	if r.Generation != 0 {
		query.Set("generation", strconv.FormatUint(r.Generation, 10))
	}
	path := "/v1/feeds/" + r.Name + "/" + r.Command
	return exchange[FeedAnswer](ctx, c, method, path, query, nil)
}

// Origins sums up the entries by origin.
func (c *Client) Origins(ctx context.Context) (OriginsResult, error) {
	return exchange[OriginsResult](ctx, c, http.MethodGet, "/v1/origins", nil, nil)
}

// Detach detaches the filter from all interfaces.
func (c *Client) Detach(ctx context.Context) error {
	_, err := exchange[empty](ctx, c, http.MethodPost, "/v1/detach", nil, empty{})
	return err
}

// Entries yields the entries of one kind ("block" or "allow") and origin, or all of them if these
// are empty. It ends with the error that yield returns.
func (c *Client) Entries(ctx context.Context, kind, origin string, yield func(Entry) error) error {
	query := url.Values{}
	if kind != "" {
		query.Set("kind", kind)
	}
	if origin != "" {
		query.Set("origin", origin)
	}
	return c.stream(ctx, http.MethodGet, "/v1/entries", query, nil, yieldLines(yield))
}

// Watch yields events until ctx is done or the daemon stops, which is not an error.
func (c *Client) Watch(ctx context.Context, yield func(Event) error) error {
	return c.stream(ctx, http.MethodGet, "/v1/watch", nil, nil, yieldLines(yield))
}

func yieldLines[T any](yield func(T) error) func([]byte) error {
	return func(line []byte) error {
		var v T
		if err := json.Unmarshal(line, &v); err != nil {
			return fmt.Errorf("read the daemon's answer: %w", err)
		}
		return yield(v)
	}
}

// Import makes list the whole set of blocks of r.Origin, or of its allows. progress is called
// from Import's goroutine.
func (c *Client) Import(
	ctx context.Context, r ImportRequest, list io.Reader, progress func(ImportProgress),
) (ImportResult, error) {
	query := url.Values{"origin": {r.Origin}}
	for name, value := range map[string]string{
		"kind": r.Kind, "action": r.Action, "rate": r.Rate, "replies": r.Replies, "for": r.For, "reason": r.Reason,
	} {
		if value != "" {
			query.Set(name, value)
		}
	}
	for name, value := range map[string]bool{
		"skip_invalid": r.SkipInvalid, "force": r.Force, "wide": r.Wide, "accept": r.Accept, "dry_run": r.DryRun,
	} {
		if value {
			query.Set(name, strconv.FormatBool(value))
		}
	}
	src := &source{Reader: list}
	var result *ImportResult
	type answer struct {
		Progress *ImportProgress
		Result   *ImportResult
	}
	err := c.stream(ctx, http.MethodPost, "/v1/import", query, src, yieldLines(func(line answer) error {
		if line.Progress != nil && progress != nil {
			progress(*line.Progress)
		}
		if line.Result != nil {
			result = line.Result
		}
		return nil
	}))
	if readErr := src.err(); readErr != nil {
		return ImportResult{}, fmt.Errorf("read the list: %w", readErr)
	}
	if err == nil && result == nil {
		err = errors.New("import: the daemon ended its answer without a result; see its log")
	}
	if err != nil {
		return ImportResult{}, err
	}
	return *result, nil
}

// source records why a list could not be read. The transport reports that as if
// the connection had failed.
type source struct {
	io.Reader
	failed atomic.Pointer[error]
}

func (s *source) Read(b []byte) (int, error) {
	n, err := s.Reader.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		s.failed.Store(&err)
	}
	return n, err
}

func (s *source) err() error {
	if p := s.failed.Load(); p != nil {
		return *p
	}
	return nil
}

// exchange sends a request and reads the answer, a single value.
func exchange[Out any](ctx context.Context, c *Client, method, path string, query url.Values, in any) (Out, error) {
	var out Out
	silent := fmt.Errorf("%w: the daemon on %s has not answered for %s. "+
		"It may have been stopped, or wait for the disk or the kernel; see its log",
		ErrUnreachable, c.socket, c.patience)
	ctx, cancel := context.WithTimeoutCause(ctx, c.patience, silent)
	defer cancel()
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return out, fmt.Errorf("encode the request: %w", err)
		}
		body = bytes.NewReader(data)
	}
	resp, err := c.do(ctx, method, path, query, body)
	if err != nil {
		return out, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
		if ctx.Err() != nil {
			return out, context.Cause(ctx)
		}
		return out, fmt.Errorf("read the daemon's answer: %w", err)
	}
	return out, nil
}

// stream sends a request and passes every line of the answer to yield. It returns
// the error of a line that has one.
func (c *Client) stream(
	ctx context.Context, method, path string, query url.Values, body io.Reader, yield func([]byte) error,
) error {
	resp, err := c.do(ctx, method, path, query, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	br := bufio.NewReaderSize(resp.Body, 64<<10)
	for {
		line, err := br.ReadBytes('\n')
		if len(line) > 0 && err == nil {
			if e := errorOf(line); e != nil {
				return e
			}
			if err := yield(line); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return fmt.Errorf("the daemon broke off its answer: %w", err)
		}
	}
}

// errorOf returns the error that data holds, or nil if it holds something else.
func errorOf(data []byte) *Error {
	if !bytes.HasPrefix(data, []byte(`{"error":`)) {
		return nil
	}
	var line errorLine
	if err := json.Unmarshal(data, &line); err != nil {
		return nil
	}
	return line.Error
}

// do sends a request. It returns an error if the answer is one.
func (c *Client) do(
	ctx context.Context, method, path string, query url.Values, body io.Reader,
) (*http.Response, error) {
	u := url.URL{Scheme: "http", Host: "paraxiald", Path: path, RawQuery: query.Encode()}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), body)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.explain(ctx, err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, MaxBody))
	if e := errorOf(data); e != nil {
		e.Status = resp.StatusCode
		return nil, e
	}
	unexpected := fmt.Errorf("unexpected answer from %s: HTTP %s; is it paraxiald's socket?", c.socket, resp.Status)
	return nil, errors.Join(unexpected, err)
}
