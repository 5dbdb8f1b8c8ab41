package report

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"syscall"
	"time"
)

// DefaultSocket is where the daemon listens for reporters, unless its configuration says otherwise.
const DefaultSocket = "/run/paraxial/report.sock"

// patience is longer than a daemon that works takes for an answer, apart from that to Put.
const patience = 2 * time.Minute

// Client is a reporter. It may be used by several goroutines at once. An error of the daemon
// is an *Error.
type Client struct {
	socket string
	http   *http.Client
}

// NewClient returns a client for the daemon that listens on socket. It does not connect yet.
func NewClient(socket string) *Client {
	return &Client{socket: socket, http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, socket) },
		// The daemon may close an idle connection at any time to make room, and connecting
		// again is cheap.
		DisableKeepAlives:  true,
		DisableCompression: true,
	}}}
}

// dialAgain is how long a client waits if too many connections wait for the daemon.
const dialAgain = 5 * time.Millisecond

// dial connects to a socket. A program that opens connections as fast as it can may fill the
// queue of the socket for moments, so it tries again then.
func dial(ctx context.Context, socket string) (net.Conn, error) {
	for {
		nc, err := new(net.Dialer).DialContext(ctx, "unix", socket)
		if !errors.Is(err, syscall.EAGAIN) {
			return nc, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(dialAgain):
		}
	}
}

// Put hands in a set. If Entries yields an error, nothing is changed, and Put returns that
// error.
func (c *Client) Put(ctx context.Context, s Set) (Result, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	list, w := io.Pipe()
	written := make(chan error, 1)
	go func() {
		err := writeSet(w, s)
		w.CloseWithError(err)
		written <- err
	}()
	query := url.Values{"generation": {strconv.FormatUint(s.Generation, 10)}}
	if s.Accept {
		query.Set("accept", "true")
	}
	var result Result
	err := c.exchange(ctx, http.MethodPut, "/v1/sets/"+s.Name, query, list, &result)
	list.CloseWithError(errAnswered)
	writeErr := <-written
	if writeErr != nil && !errors.Is(writeErr, errAnswered) && !errors.Is(writeErr, io.ErrClosedPipe) {
		return Result{}, fmt.Errorf("read the set %s: %w", s.Name, writeErr)
	}
	return result, err
}

// errAnswered ends the writing of a set that the daemon has refused.
var errAnswered = errors.New("the daemon has answered")

// writeSet writes one line for each entry, as policy.ReadDetailedList reads it.
func writeSet(w io.Writer, s Set) error {
	bw := bufio.NewWriterSize(w, 64<<10)
	var line []byte
	for e, err := range s.Entries {
		if err != nil {
			return err
		}
		line = e.appendTo(line[:0])
		if _, err := bw.Write(line); err != nil {
			return err
		}
	}
	return bw.Flush()
}

// appendTo appends the line of an entry.
func (e Entry) appendTo(line []byte) []byte {
	line = e.Prefix.AppendTo(line)
	if e.For > 0 {
		line = strconv.AppendInt(append(line, " for="...), int64((e.For+time.Second-1)/time.Second), 10)
		line = append(line, 's')
	}
	if e.Reason != "" {
		line = append(append(line, " reason="...), url.QueryEscape(e.Reason)...)
	}
	return append(line, '\n')
}

// Change changes a set that was put. The error is an ErrUnknown if the set has to be put.
func (c *Client) Change(ctx context.Context, s Changes) (Result, error) {
	var body []byte
	for _, e := range s.Put {
		body = e.appendTo(append(body, '+'))
	}
	for _, p := range s.Remove {
		body = append(p.AppendTo(append(body, '-')), '\n')
	}
	ctx, cancel := c.limit(ctx)
	defer cancel()
	query := url.Values{"generation": {strconv.FormatUint(s.Generation, 10)}}
	var result Result
	path := "/v1/sets/" + s.Name + "/changes"
	return result, c.exchange(ctx, http.MethodPost, path, query, bytes.NewReader(body), &result)
}

// Renew lets the entries of a set stay for another ttl. The error is an ErrUnknown if the
// set has to be put.
func (c *Client) Renew(ctx context.Context, name string, generation uint64) error {
	return c.send(ctx, http.MethodPost, "/v1/sets/"+name+"/renew", renewal{generation})
}

// Report tells the states of all feeds of the reporter.
func (c *Client) Report(ctx context.Context, states []State) error {
	return c.send(ctx, http.MethodPut, "/v1/feeds", states)
}

// Command waits for the next command. ok is false if none came for a while.
func (c *Client) Command(ctx context.Context) (command Command, ok bool, err error) {
	ctx, cancel := c.limit(ctx)
	defer cancel()
	err = c.exchange(ctx, http.MethodGet, "/v1/commands", url.Values{"wait": {MaxWait.String()}}, nil, &command)
	return command, command.ID != "", err
}

// Answer answers a command.
func (c *Client) Answer(ctx context.Context, id string, a Answer) error {
	return c.send(ctx, http.MethodPost, "/v1/commands/"+url.PathEscape(id), a)
}

func (c *Client) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, patience,
		fmt.Errorf("the daemon on %s has not answered for %s; see its log", c.socket, patience))
}

// send sends a body and reads an answer without fields.
func (c *Client) send(ctx context.Context, method, path string, in any) error {
	return c.ask(ctx, method, path, in, new(empty))
}

// ask sends a body and reads the answer.
func (c *Client) ask(ctx context.Context, method, path string, in, out any) error {
	data, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("encode the request: %w", err)
	}
	ctx, cancel := c.limit(ctx)
	defer cancel()
	return c.exchange(ctx, method, path, nil, bytes.NewReader(data), out)
}

// exchange sends a request and reads the answer into out.
func (c *Client) exchange(
	ctx context.Context, method, path string, query url.Values, body io.Reader, out any,
) error {
	u := url.URL{Scheme: "http", Host: "paraxiald", Path: path, RawQuery: query.Encode()}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), body)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if wrapped, ok := errors.AsType[*url.Error](err); ok {
			err = wrapped.Err // its URL adds nothing to the path of the socket
		}
		return fmt.Errorf("paraxiald's socket %s: %w", c.socket, err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 2*MaxBody))
	if err != nil {
		return fmt.Errorf("read the daemon's answer: %w", err)
	}
	if resp.StatusCode == http.StatusOK {
		if err := json.Unmarshal(data, out); err != nil {
			return fmt.Errorf("read the daemon's answer: %w", err)
		}
		return nil
	}
	var failed envelope
	if err := json.Unmarshal(data, &failed); err != nil || failed.Error == nil {
		return fmt.Errorf("unexpected answer from %s: HTTP %s; is it paraxiald's report socket?", c.socket, resp.Status)
	}
	failed.Error.Status = resp.StatusCode
	return failed.Error
}
