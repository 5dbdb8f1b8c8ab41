package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/paraxial/paraxial/control"
)

func TestWatch(t *testing.T) {
	want := outcome{1, lines(
		`12:00:00.000  added      block 192.0.2.1/32 origin cli by uid:1000 expires in 59m30s "ssh \x1b[2Jbrute force"`,
		`12:00:00.000  added      block 203.0.113.99/32 origin detector:syn-flood by detector:syn-flood `+
			`expires in 10m "412/s, limit 200/s over 5s"`,
		"12:00:00.000  imported   ipsum: 14,210 added, 0 removed, 0 unchanged, 0 refused",
		"12:00:00.000  drop       eth0: tcp from [2001:db8::1]:4242 to port 22, 74 bytes (block)",
		"12:00:00.000  shadow     eth0: gre from 192.0.2.1, 1,500 bytes (shadow)",
		"12:00:00.000  interface  eth0: NOT protected: device gone",
		"12:00:00.000  lost       1,000 events were not shown: too many at once",
	), "paraxialctl: paraxiald has stopped\n"}
	if diff := cmp.Diff(want, invoke(t.Context(), serve(t, &fake{events: events}), "", "watch")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	got := invoke(t.Context(), serve(t, &fake{events: events}), "", "watch", "-o", "json")
	var all []control.Event
	for line := range strings.Lines(got.Stdout) {
		var e control.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Errorf("%q: %v", line, err)
		}
		all = append(all, e)
	}
	if diff := cmp.Diff(events, all); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// endless is a daemon that sends events without end.
type endless struct {
	control.Backend
	after func() // called when it has sent many more events than a connection holds
}

func (e *endless) Watch(ctx context.Context, yield func(control.Event) error) error {
	const much = 10_000
	for n := 0; ; n++ {
		if n == much {
			e.after()
		}
		if err := yield(events[0]); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

// TestWatchInterrupted: an interrupted watch is a success.
func TestWatchInterrupted(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	if got := invoke(ctx, serve(t, &endless{after: interrupt}), "", "watch"); got.Code != exitDone ||
		got.Stderr != "" || got.Stdout == "" {
		t.Errorf("code %d, stderr %q, %d bytes", got.Code, got.Stderr, len(got.Stdout))
	}
}

type closedPipe struct{}

func (closedPipe) Write([]byte) (int, error) {
	return 0, fmt.Errorf("write /dev/stdout: %w", syscall.EPIPE)
}

// TestReaderGone: `paraxialctl watch | head` ends without a message.
func TestReaderGone(t *testing.T) {
	var stderr bytes.Buffer
	socket := serve(t, &endless{after: func() {}})
	code := run(t.Context(), []string{"watch", "--socket", socket}, environment{
		stdout: closedPipe{}, stderr: &stderr, getenv: os.Getenv, now: time.Now,
	})
	if code != exitFailed || stderr.Len() > 0 {
		t.Errorf("code %d, stderr %q", code, stderr.String())
	}
}
