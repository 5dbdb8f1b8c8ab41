// Package journal follows the journal of systemd. It runs journalctl, which reads all versions of
// the format of the files and knows when they are rotated.
//
// Entries are chosen by unit and user, which the kernel tells about the sender. The name of a
// program in an entry is the sender's own choice, so it does not count.
package journal

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Options say what is followed.
type Options struct {
	Units  []string
	UIDs   []int
	Cursor string // of the last entry that was read; empty: begin with the next one
	// Command is journalctl and arguments for all its runs; default journalctl.
	Command []string
	// Silence is how long no entry may come before another journalctl looks for one; default 5 min.
	Silence time.Duration
	// Pause is the time before journalctl is started again after it has failed; it doubles up to
	// a minute; default 1 s.
	Pause time.Duration
}

// Stats count what happened since the Follower was made.
type Stats struct {
	Starts  int    // of journalctl
	Gaps    int    // how often the entry to go on from was gone
	Foreign int    // entries of other units or users
	Problem string // why no entries come; empty if there is no reason
}

// Follower follows the journal.
type Follower struct {
	opts    Options
	entries chan Entry

	mu     sync.Mutex
	stats  Stats
	cursor string // of the last entry that came
	begin  string // the cursor after which the first run has begun
}

// queued is the number of entries that wait to be read. journalctl waits when there are more.
const queued = 256

// New returns a Follower. Run starts it.
func New(opts Options) *Follower {
	if len(opts.Command) == 0 {
		opts.Command = []string{"journalctl"}
	}
	opts.Silence = cmp.Or(opts.Silence, 5*time.Minute)
	opts.Pause = cmp.Or(opts.Pause, time.Second)
	return &Follower{opts: opts, entries: make(chan Entry, queued), cursor: opts.Cursor, begin: opts.Cursor}
}

// Entries returns the channel of entries, in the order of the journal.
func (f *Follower) Entries() <-chan Entry { return f.entries }

// Stats returns the counters.
func (f *Follower) Stats() Stats {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.stats
}

// Run follows the journal until ctx is done.
func (f *Follower) Run(ctx context.Context) {
	pause := f.opts.Pause
	for ctx.Err() == nil {
		begun := time.Now()
		err := f.start(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(begun) > time.Minute {
			pause = f.opts.Pause
		}
		f.note(func(s *Stats) { s.Problem = err.Error() })
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, time.Minute)
	}
}

func (f *Follower) note(change func(*Stats)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(&f.stats)
}

// Begin returns the cursor of the entry after which the Follower has begun, or empty if that is
// not known yet.
func (f *Follower) Begin() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.begin
}

func (f *Follower) last() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.cursor
}

// nothing is the problem of a journal without entries. journalctl does not fail for a user that may
// read none of its files.
const nothing = "the journal has no entry that this user may read: add the user of paraxial-agent to the group " +
	"systemd-journal"

// start finds out where to go on, and follows the journal until journalctl ends.
func (f *Follower) start(ctx context.Context) error {
	f.note(func(s *Stats) { s.Starts++ })
	var from []string
	if cursor := f.last(); cursor != "" {
		from = []string{"--after-cursor=" + cursor}
		e, err := f.one(ctx, "--cursor="+cursor)
		if err == nil && e.Cursor != cursor {
			f.note(func(s *Stats) { s.Gaps++ })
		}
		if err == nil && e.Cursor == "" {
			f.note(func(s *Stats) { s.Problem = nothing })
		}
	} else {
		e, err := f.one(ctx)
		switch {
		case err != nil:
			return err
		case e.Cursor == "":
			f.note(func(s *Stats) { s.Problem = nothing })
		default:
			from = []string{"--after-cursor=" + e.Cursor}
			f.note(func(*Stats) { f.cursor, f.begin = e.Cursor, e.Cursor })
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	alive := make(chan struct{}, 1)
	go f.watch(ctx, alive, cancel)
	args := append([]string{"--follow", "--no-tail"}, from...)
	err := f.run(ctx, append(args, f.matches()...), func(e Entry) error { return f.pass(ctx, e, alive) })
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if err == nil {
		err = errors.New("journalctl has ended")
	}
	return err
}

// matches are the arguments that choose the entries.
func (f *Follower) matches() (args []string) {
	for _, u := range f.opts.Units {
		args = append(args, "_SYSTEMD_UNIT="+u)
	}
	for _, uid := range f.opts.UIDs {
		args = append(args, "_UID="+strconv.Itoa(uid))
	}
	return args
}

// pass hands an entry over, if it is one that was asked for.
func (f *Follower) pass(ctx context.Context, e Entry, alive chan<- struct{}) error {
	select {
	case alive <- struct{}{}:
	default:
	}
	wanted := slices.Contains(f.opts.Units, e.Unit) && slices.Contains(f.opts.UIDs, e.UID)
	f.note(func(s *Stats) {
		s.Problem = ""
		f.cursor = e.Cursor
		if !wanted {
			s.Foreign++
		}
	})
	if !wanted {
		return nil
	}
	select {
	case f.entries <- e:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// watch ends a journalctl that tells nothing although there are entries.
func (f *Follower) watch(ctx context.Context, alive <-chan struct{}, end context.CancelCauseFunc) {
	silence := time.NewTimer(f.opts.Silence)
	defer silence.Stop()
	missed := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-alive:
			missed = ""
		case <-silence.C:
			cursor := f.last()
			e, err := f.one(ctx, append([]string{"--after-cursor=" + cursor}, f.matches()...)...)
			there := err == nil && e.Cursor != "" && cursor != "" && len(f.entries) < queued
			if there && missed == cursor {
				end(errors.New("journalctl does not tell of new entries; it is started again"))
				return
			}
			missed = ""
			if there {
				missed = cursor
			}
		}
		silence.Reset(f.opts.Silence)
	}
}

// one returns the first entry, or without arguments the last one.
func (f *Follower) one(ctx context.Context, args ...string) (first Entry, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if len(args) == 0 {
		args = []string{"--lines=1"}
	}
	found := errors.New("found")
	err = f.run(ctx, args, func(e Entry) error {
		first = e
		return found
	})
	if errors.Is(err, found) {
		err = nil
	}
	return first, err
}

// exitTime is how long journalctl may take to exit after it has closed its output.
const exitTime = 10 * time.Second

// run runs journalctl and calls each for the entries, until it ends or each returns an error.
// The kernel ends journalctl with this process.
func (f *Follower) run(ctx context.Context, args []string, each func(Entry) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	all := append(slices.Clone(f.opts.Command[1:]), "--output=export", "--all", "--quiet", "--no-pager",
		"--output-fields=MESSAGE,_SYSTEMD_UNIT,_UID")
	cmd := exec.CommandContext(ctx, f.opts.Command[0], append(all, args...)...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var said saying
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	// Pdeathsig is about the thread that starts the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start journalctl: %w", err)
	}
	err = readAll(newReader(out), each)
	if errors.Is(err, io.EOF) {
		// It has closed its output, and ends by itself; to kill it now would look like a failure.
		defer time.AfterFunc(exitTime, cancel).Stop()
	} else {
		cancel()
	}
	if failed := cmd.Wait(); errors.Is(err, io.EOF) {
		err = nil
		if failed != nil && said.String() != "" {
			err = fmt.Errorf("journalctl: %s", said.String())
		} else if failed != nil {
			err = fmt.Errorf("journalctl: %w", failed)
		}
	}
	return err
}

func readAll(r *reader, each func(Entry) error) error {
	for {
		e, err := r.next()
		if err == nil {
			err = each(e)
		}
		if err != nil {
			return err
		}
	}
}

// saying keeps the beginning of what a program says.
type saying struct{ text []byte }

func (b *saying) Write(p []byte) (int, error) {
	b.text = append(b.text, p[:min(len(p), max(0, 512-len(b.text)))]...)
	return len(p), nil
}

func (b *saying) String() string {
	return strings.Join(strings.Fields(string(b.text)), " ")
}
