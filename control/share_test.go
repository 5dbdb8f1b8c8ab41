package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/paraxial/paraxial/conns"
	"github.com/paraxial/paraxial/tests/testenv"
)

// Streams of other users leave root as many as one uid may have.
func TestRootHasStreamsLeft(t *testing.T) {
	s := newStreamSlots(8, 2)
	for uid := uint32(1); uid <= 3; uid++ {
		for range 2 {
			if err := s.acquire(uid); err != nil {
				t.Fatalf("uid %d: %v", uid, err)
			}
		}
	}
	if err := s.acquire(4); err == nil {
		t.Error("a seventh stream of users other than root was admitted")
	}
	for range 2 {
		if err := s.acquire(0); err != nil {
			t.Errorf("root: %v", err)
		}
	}
	if err := s.acquire(0); err == nil {
		t.Error("root has no bound of its own")
	}
	s.release(1)
	if err := s.acquire(4); err != nil {
		t.Errorf("after one has ended: %v", err)
	}
}

// member sends a request as another user, in a process of its own, and leaves when it
// is killed.
func member(t *testing.T, socket string, env ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Open("/proc/self/exe") // the build directory may be closed to others
	if err != nil {
		t.Fatal(err)
	}
	defer exe.Close()
	cmd := exec.Command("/proc/self/fd/3")
	cmd.ExtraFiles, cmd.Dir, cmd.Env = []*os.File{exe}, "/", append(env, childSocket+"="+socket)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Credential: &syscall.Credential{Uid: nobody, Gid: nobody, Groups: []uint32{1}},
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd
}

// One user has few requests at work at a time, and root's are served meanwhile. A
// request whose client has gone while it waited is never begun.
func TestWorkOfOneUser(t *testing.T) {
	testenv.Root(t)
	socket := filepath.Join(openDir(t), "s")
	l, err := Listen(socket, "daemon")
	if err != nil {
		t.Fatal(err)
	}
	var begun atomic.Int32
	started, finish := make(chan struct{}, 100), make(chan struct{})
	f := &fake{block: func(context.Context, Block) (ChangeResult, error) {
		begun.Add(1)
		started <- struct{}{}
		<-finish
		return ChangeResult{}, nil
	}}
	server := NewServer(f, Options{MaxUIDWork: 2, Log: slog.New(slog.DiscardHandler)})
	run(t, server, l)
	for range 2 {
		member(t, socket)
		waitFor(t, started, "a request of the member")
	}
	third := member(t, socket)
	expect(t, server.work, 1)
	if _, err := NewClient(socket).Status(t.Context()); err != nil {
		t.Errorf("status of root: %v", err)
	}
	third.Process.Kill()
	expect(t, server.work, 0)
	close(finish)
	if n := begun.Load(); n != 2 {
		t.Errorf("%d requests of the member were begun, want 2", n)
	}
}

// Members have one large request at work at a time. Those that wait take no place of small
// ones, and root's are served meanwhile.
func TestLargeRequests(t *testing.T) {
	testenv.Root(t)
	socket := filepath.Join(openDir(t), "s")
	l, err := Listen(socket, "daemon")
	if err != nil {
		t.Fatal(err)
	}
	started, finish := make(chan int, 100), make(chan struct{})
	f := &fake{block: func(_ context.Context, b Block) (ChangeResult, error) {
		started <- len(b.Prefixes)
		<-finish
		return ChangeResult{}, nil
	}}
	server := NewServer(f, Options{MaxUIDWork: 4, Log: slog.New(slog.DiscardHandler)})
	run(t, server, l)
	const large = childLarge + "=1"
	member(t, socket, large)
	waitFor(t, started, "a large request of the member")
	for range 3 {
		member(t, socket, large)
	}
	expect(t, server.large, 3)
	for range 3 {
		member(t, socket)
		waitFor(t, started, "a small request of the member")
	}
	root := make(chan error, 1)
	go func() { root <- second(NewClient(socket).Block(context.Background(), largeRequest())) }()
	waitFor(t, started, "a large request of root")
	close(finish)
	if err := waitFor(t, root, "the answer to root"); err != nil {
		t.Error(err)
	}
	for range 3 {
		waitFor(t, started, "a large request that waited")
	}
}

func second[T any](_ T, err error) error { return err }

// expect waits until n requests wait at the gate.
func expect(t *testing.T, g *conns.Gate, n int) {
	t.Helper()
	for deadline := time.Now().Add(soon); g.Waiting() != n; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d requests wait, want %d", g.Waiting(), n)
		}
	}
}

// A request that has waited for its turn until its time was over says so, and is not
// begun.
func TestWaitingEndsInTime(t *testing.T) {
	f := &fake{}
	socket := filepath.Join(t.TempDir(), "s")
	l, err := Listen(socket, "")
	if err != nil {
		t.Fatal(err)
	}
	server := NewServer(f, Options{
		RequestTimeout: 50 * time.Millisecond, MaxConnsPerUID: 1, Log: slog.New(slog.DiscardHandler),
	})
	run(t, server, l)
	if err := server.work.Enter(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	_, err = NewClient(socket).Block(t.Context(), BlockRequest{Prefixes: []string{"192.0.2.1"}})
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Code != CodeBusy || !strings.Contains(e.Message, "nothing was done") {
		t.Errorf("got %v", err)
	}
	if calls := f.taken(); len(calls) > 0 {
		t.Errorf("reached the backend: %v", calls)
	}
}

// drip sends one line after the other, for ever.
func drip(t *testing.T, every time.Duration) io.Reader {
	list, w := io.Pipe()
	t.Cleanup(func() { list.Close() })
	go func() {
		for i := 0; ; i++ {
			if _, err := fmt.Fprintf(w, "192.0.2.%d\n", i%256); err != nil {
				return
			}
			time.Sleep(every)
		}
	}()
	return list
}

// A list that never ends is given up, though it makes progress.
func TestImportEnds(t *testing.T) {
	c := NewClient(serve(t, &fake{}, Options{ImportTimeout: 200 * time.Millisecond}))
	_, err := c.Import(t.Context(), ImportRequest{Origin: "x"}, drip(t, time.Millisecond), nil)
	if e, ok := errors.AsType[*Error](err); !ok || !strings.Contains(e.Message, "not complete after 200ms") {
		t.Errorf("got %v", err)
	}
}

// Few lists are in memory at a time; the others wait.
func TestImportsWait(t *testing.T) {
	started, finish := make(chan struct{}, 10), make(chan struct{})
	f := &fake{load: func(context.Context, io.Reader) (ImportResult, error) {
		started <- struct{}{}
		<-finish
		return ImportResult{}, nil
	}}
	c := NewClient(serve(t, f, Options{MaxImports: 1}))
	done := make(chan error, 2)
	for range 2 {
		go func() {
			_, err := c.Import(t.Context(), ImportRequest{Origin: "x"}, strings.NewReader("192.0.2.1\n"), nil)
			done <- err
		}()
	}
	waitFor(t, started, "an import")
	select {
	case <-started:
		t.Error("two lists are in memory")
	case <-time.After(50 * time.Millisecond):
	}
	finish <- struct{}{}
	waitFor(t, started, "the other import")
	finish <- struct{}{}
	for range 2 {
		if err := waitFor(t, done, "an import to end"); err != nil {
			t.Error(err)
		}
	}
}
