package daemon

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/detect"
	"github.com/paraxial/paraxial/metrics"
)

// crowded returns the enforcer of a bench with room for 8 prefixes in each trie, of which 4
// are reserved and 1 of these for root. A list has taken the other 4.
func crowded(t *testing.T) (*bench, *enforcer, *bytes.Buffer) {
	t.Helper()
	b := newBench(t, 8)
	b.Daemon.metrics = metrics.New(b.Daemon, metrics.Build{})
	log := new(bytes.Buffer)
	b.Daemon.log = slog.New(slog.NewTextHandler(log, nil))
	list := control.Block{Prefixes: prefixes("10.0.0.1/32", "10.0.0.2/32", "10.0.0.3/32", "10.0.0.4/32"),
		Origin: "list"}
	list.Action, list.For = decidedAction(detect.Block), time.Hour
	if _, err := b.Block(t.Context(), control.Caller{}, list); err != nil {
		t.Fatal(err)
	}
	return b, b.enforcer, log
}

func (b *bench) decide(kind detect.Kind, n int) []detect.Decision {
	d := b.decision(kind, detect.Block)
	d.Prefix = netip.MustParsePrefix(fmt.Sprintf("198.51.100.%d/32", n))
	return []detect.Decision{d}
}

// A full list leaves room for detectors. When they have used it, they try again with
// pauses and one line of the log, extend what they have, and leave room for root.
func TestDetectorsWithoutRoom(t *testing.T) {
	b, v, log := crowded(t)
	for n := range 3 {
		if failed := v.act(t.Context(), 0, b.decide(detect.New, n)); len(failed) > 0 {
			t.Fatalf("ban %d: no room: %s", n, log)
		}
	}
	for range 100 {
		both := append(b.decide(detect.New, 3), b.decide(detect.Extended, 1)...)
		if failed := v.act(t.Context(), 0, both); len(failed) != 1 || failed[0].Kind != detect.New {
			t.Fatalf("failed: %v, want the new one", failed)
		}
	}
	if n := strings.Count(log.String(), "level=ERROR"); n != 1 {
		t.Errorf("%d errors in the log, want 1:\n%.2000s", n, log)
	}
	if got := v.full.pause; got != firstPause {
		t.Errorf("the pause is %v, so more than one attempt was made", got)
	}
	if err := v.noRoom(); err == nil || !strings.Contains(err.Error(), "reserved for commands of root") {
		t.Errorf("cause: %v", err)
	}
	root := control.Block{Prefixes: prefixes("203.0.113.1/32"), Origin: "cli", Action: decidedAction(detect.Block),
		For: time.Hour}
	if _, err := b.Block(t.Context(), control.Caller{}, root); err != nil {
		t.Errorf("root: %v", err)
	}
	removal := control.Removal{Prefixes: prefixes("203.0.113.1/32", "10.0.0.1/32")}
	if _, err := b.Unblock(t.Context(), control.Caller{}, removal); err != nil {
		t.Fatal(err)
	}
	v.full.until = time.Now() // the pause is over
	if failed := v.act(t.Context(), 0, b.decide(detect.New, 3)); len(failed) > 0 || v.noRoom() != nil {
		t.Errorf("with room again: %v, %v", failed, v.noRoom())
	}
}

// The pauses between attempts grow up to a bound.
func TestPausesGrow(t *testing.T) {
	var r fullRoom
	now := time.Now()
	for _, want := range []time.Duration{2, 4, 8, 16, 30, 30} {
		r.close(now, errors.New("full"))
		if r.pause != want*time.Second {
			t.Errorf("pause %v, want %v", r.pause, want*time.Second)
		}
		if !r.waits(now.Add(r.pause-1)) || r.waits(now.Add(r.pause)) {
			t.Errorf("the pause of %v does not end in time", r.pause)
		}
	}
	if !r.open() || r.waits(now) || r.open() {
		t.Error("it does not end with a success")
	}
}
