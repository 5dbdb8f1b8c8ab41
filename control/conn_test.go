package control

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestKeptConnection: after any kind of bad request, the next request on the same connection is
// answered.
func TestKeptConnection(t *testing.T) {
	socket := serve(t, &fake{}, Options{})
	// An http.Client may connect again if it is slow to note that its request was sent.
	conn, err := dial(t.Context(), socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answers := bufio.NewReader(conn)
	for range 500 {
		for _, r := range []struct {
			method, path string
			status       int
		}{{"GET", "/v1/status", 400}, {"POST", "/v1/status", 405}, {"POST", "/v1/block", 400}, {"POST", "/v2", 404},
			{"GET", "/v1/entries", 400}, {"GET", "/v1/watch", 400}} {
			req, err := http.NewRequest(r.method, "http://x"+r.path, strings.NewReader("abc"))
			if err != nil {
				t.Fatal(err)
			}
			if err := req.Write(conn); err != nil {
				t.Fatal(err)
			}
			answer, err := http.ReadResponse(answers, req)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, answer.Body); err != nil || answer.StatusCode != r.status {
				t.Fatalf("%s %s: %s, %v", r.method, r.path, answer.Status, err)
			}
			answer.Body.Close()
			if answer.Close {
				t.Fatalf("%s %s: the answer ends the connection", r.method, r.path)
			}
		}
	}
}

func TestBackendErrors(t *testing.T) {
	f := &fake{}
	c := NewClient(serve(t, f, Options{}))
	tests := []struct {
		name string
		err  error
		want Error
	}{
		{"guard", Errorf(CodeRefused, "192.0.2.0/24 covers this host"),
			Error{CodeRefused, "192.0.2.0/24 covers this host", 409}},
		{"wrapped", fmt.Errorf("block 192.0.2.1: %w", Errorf(CodeStoreFailed, "disk full")),
			Error{CodeStoreFailed, "block 192.0.2.1: disk full", 500}},
		{"without a status", &Error{Code: CodeBusy, Message: "later"}, Error{CodeBusy, "later", 503}},
		{"code of a newer daemon", &Error{Code: "moon_phase", Message: "wait"}, Error{"moon_phase", "wait", 500}},
		{"unexpected", errBroken, Error{CodeInternal, errBroken.Error(), 500}},
		{"too slow", context.DeadlineExceeded,
			Error{CodeBusy, "the daemon could not answer in time: context deadline exceeded; try again", 503}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f.block = func(context.Context, Block) (ChangeResult, error) { return ChangeResult{}, tt.err }
			_, err := c.Block(t.Context(), BlockRequest{Prefixes: []string{"192.0.2.1"}})
			got, ok := errors.AsType[*Error](err)
			if !ok {
				t.Fatalf("got %T %v", err, err)
			}
			if diff := cmp.Diff(tt.want, *got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestPanicIsAnAnswer(t *testing.T) {
	f := &fake{
		block: func(context.Context, Block) (ChangeResult, error) { panic("off by one") },
		list: func(_ context.Context, yield func(Entry) error) error {
			for range 1000 {
				if err := yield(entry); err != nil {
					return err
				}
			}
			panic("off by one")
		},
	}
	c := NewClient(serve(t, f, Options{}))
	_, err := c.Block(t.Context(), BlockRequest{Prefixes: []string{"192.0.2.1"}})
	if e, ok := errors.AsType[*Error](err); !ok || e.Code != CodeInternal ||
		!strings.Contains(e.Message, "off by one") {
		t.Errorf("got %v", err)
	}
	// A stream that has begun must not look complete.
	if err := c.Entries(t.Context(), "", "", func(Entry) error { return nil }); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("list: got %v", err)
	}
	if _, err := c.Status(t.Context()); err != nil {
		t.Errorf("the server is gone: %v", err)
	}
}
