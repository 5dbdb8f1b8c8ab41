package feeds

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/paraxial/paraxial/report"
)

// newEngine returns an engine that reads files, in a bubble with a clock of its own.
func newEngine(t *testing.T, dir string, d *fakeDaemon) *Engine {
	t.Helper()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	return New(Options{Dir: dir, Sender: d, Log: log, Agent: "test"})
}

func fileFeed(name, path string) Feed {
	return Feed{
		Name: name, URL: path, Every: time.Hour, TTL: 5 * time.Hour, Timeout: time.Minute, MaxBytes: 1 << 20,
		MaxEntries: 1000, MaxShrink: 0.5, MaxGrow: 3, MaxShare: 1,
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestEngine(t *testing.T) {
	dir, list := t.TempDir(), filepath.Join(t.TempDir(), "list")
	write(t, list, "198.51.100.9\n")
	synctest.Test(t, func(t *testing.T) {
		d := &fakeDaemon{commands: make(chan report.Command), answers: make(chan report.Answer)}
		e := newEngine(t, dir, d)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			e.Run(ctx)
		}()
		state := func() report.State {
			synctest.Wait()
			if all := e.States(); len(all) == 1 {
				return all[0]
			}
			t.Fatalf("%d feeds, want 1", len(e.States()))
			return report.State{}
		}
		time.Sleep(24 * time.Hour)
		if d.puts != 0 {
			t.Error("without feeds something is handed in")
		}
		f := fileFeed("x", list)
		if err := e.Configure(ctx, []Feed{f}); err != nil {
			t.Fatal(err)
		}
		if st := state(); st.Generation != 1 || d.puts != 1 {
			t.Errorf("after the start: %d puts, %+v", d.puts, st)
		}
		time.Sleep(10 * time.Hour)
		synctest.Wait()
		// With jitter, nine or ten in ten hours.
		if d.renewals < 9 || d.renewals > 10 || d.puts != 1 {
			t.Errorf("in ten hours %d renewals and %d puts", d.renewals, d.puts)
		}
		if d.reports < 600 {
			t.Errorf("in ten hours %d reports, want one a minute", d.reports)
		}

		command := func(verb report.Verb) report.Answer {
			d.commands <- report.Command{ID: "1", Verb: verb, Name: "x"}
			return <-d.answers
		}
		if a := command(report.Pause); a.Error != "" || !strings.HasPrefix(a.Text, "paused") {
			t.Errorf("pause: %+v", a)
		}
		renewals := d.renewals
		time.Sleep(6 * time.Hour)
		if st := state(); d.renewals != renewals || !st.Ended || !st.Paused || !st.NextAt.IsZero() {
			t.Errorf("paused for longer than the ttl: %d renewals, %+v", d.renewals-renewals, st)
		}
		command(report.Resume)
		if st := state(); st.Ended || d.puts != 2 {
			t.Errorf("resumed: %d puts, %+v", d.puts, st)
		}
		write(t, list, "198.51.100.9\n198.51.100.10\n")
		if a := command(report.Refresh); a.Error != "" || a.Text != "generation 2, 2 entries" {
			t.Errorf("refresh: %+v", a)
		}
		if a := command("dance"); a.Error == "" {
			t.Error("an unknown command is executed")
		}
		d.commands <- report.Command{ID: "1", Verb: report.Diff, Name: "y"}
		if a := <-d.answers; a.Error == "" || !strings.Contains(a.Error, `"y"`) {
			t.Errorf("unknown feed: %+v", a)
		}

		// A daemon that is down is asked again, and the set ends at its ttl.
		d.fails(errDown)
		os.Remove(list)
		time.Sleep(4 * time.Hour)
		if st := state(); st.Ended || !strings.Contains(st.Error, "no such file") {
			t.Errorf("four hours without the list: %+v", st)
		}
		time.Sleep(2 * time.Hour)
		if st := state(); !st.Ended || st.Entries != 0 {
			t.Errorf("six hours without the list: %+v", st)
		}
		d.fails(nil)
		write(t, list, "198.51.100.10\n")
		time.Sleep(2 * time.Hour)
		if st := state(); st.Ended || st.Generation != 3 || strings.Join(d.set, " ") != "198.51.100.10/32" {
			t.Errorf("the list is back: %q, %+v", d.set, st)
		}

		// A feed that stays keeps its loop; one that goes loses its state.
		g := fileFeed("y", list)
		puts := d.puts
		if err := e.Configure(ctx, []Feed{f, g}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if d.puts != puts+1 || len(e.States()) != 2 {
			t.Errorf("with a second feed: %d puts, %d feeds", d.puts-puts, len(e.States()))
		}
		if err := e.Configure(ctx, []Feed{g}); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(dir, "x")); err == nil || state().Name != "y" {
			t.Errorf("the state of a feed stays after its end (%v)", err)
		}
		if err := e.Configure(ctx, []Feed{{Name: "../z"}}); err == nil {
			t.Error("a feed has the name of another folder")
		}
		cancel()
		<-done
	})
}

// TestEngineRestart: a new engine goes on where the last one ended, and deletes what is not
// configured any more.
func TestEngineRestart(t *testing.T) {
	dir, list := t.TempDir(), filepath.Join(t.TempDir(), "list")
	write(t, list, text(addresses(100)))
	synctest.Test(t, func(t *testing.T) {
		d := &fakeDaemon{}
		run := func(feeds ...Feed) []report.State {
			ctx, cancel := context.WithCancel(t.Context())
			e := newEngine(t, dir, d)
			if err := e.Configure(ctx, feeds); err != nil {
				t.Fatal(err)
			}
			go e.Run(ctx)
			time.Sleep(time.Minute)
			synctest.Wait()
			cancel()
			synctest.Wait()
			return e.States()
		}
		x, y := fileFeed("x", list), fileFeed("y", list)
		run(x, y)
		if d.puts != 2 {
			t.Fatalf("%d puts, want 2", d.puts)
		}
		states := run(x)
		if d.puts != 2 || d.renewals != 0 || len(states) != 1 || states[0].Entries != 100 {
			t.Errorf("after a restart: %d puts, %d renewals, %+v", d.puts, d.renewals, states)
		}
		if _, err := os.Stat(filepath.Join(dir, "y")); err == nil {
			t.Error("the state of a feed of an earlier run stays")
		}
		write(t, filepath.Join(dir, "x", recordName), "{")
		if states := run(x); states[0].Entries != 100 || d.puts != 3 {
			t.Errorf("after a state that cannot be read: %d puts, %+v", d.puts, states)
		}
	})
}

// TestFeedsAreIndependent: lists that cannot be read do not keep another one from being read.
func TestFeedsAreIndependent(t *testing.T) {
	dir, list := t.TempDir(), filepath.Join(t.TempDir(), "list")
	write(t, list, "198.51.100.9\n")
	synctest.Test(t, func(t *testing.T) {
		e := newEngine(t, dir, &fakeDaemon{})
		ctx, cancel := context.WithCancel(t.Context())
		feeds := []Feed{fileFeed("good", list)}
		for n := range 5 {
			feeds = append(feeds, fileFeed(fmt.Sprint("bad", n), "/nowhere"))
		}
		if err := e.Configure(ctx, feeds); err != nil {
			t.Fatal(err)
		}
		go e.Run(ctx)
		time.Sleep(time.Minute)
		for _, st := range e.States() {
			if (st.Name == "good") != (st.Error == "" && st.Entries == 1) {
				t.Errorf("%+v", st)
			}
		}
		cancel()
		synctest.Wait()
	})
}
