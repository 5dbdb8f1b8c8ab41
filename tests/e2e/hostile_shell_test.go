package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/paraxial/paraxial/tests/lab"
)

// shellLoop runs the lines of its standard input, and prints for each the exit code and the times of
// its begin and end, in seconds since 1970.
const shellLoop = `while IFS= read -r line; do
	begin=$EPOCHREALTIME
	eval "$line" >out 2>err </dev/null
	code=$?
	echo "$code $begin $EPOCHREALTIME"
done`

// rootShell is a shell of root, which measures its commands itself. The attackers are goroutines of the
// process of the test. A goroutine that starts a command there, and waits for its end, competes
// with them within one process, which no operator does.
type rootShell struct {
	dir     string
	cmd     *exec.Cmd
	in      io.WriteCloser
	answers chan string // closed when the shell has ended
}

func newRootShell(t *testing.T) *rootShell {
	t.Helper()
	s := &rootShell{dir: t.TempDir(), answers: make(chan string)}
	s.cmd = exec.Command("bash", "-c", shellLoop)
	s.cmd.Dir = s.dir
	s.cmd.Env = append(os.Environ(), "LC_ALL=C")
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // so that its command ends with it
	var err error
	s.in, err = s.cmd.StdinPipe()
	check(t, err)
	out, err := s.cmd.StdoutPipe()
	check(t, err)
	check(t, s.cmd.Start())
	read := make(chan struct{})
	go func() {
		defer close(read)
		defer close(s.answers)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			s.answers <- lines.Text()
		}
	}()
	t.Cleanup(func() {
		s.kill()
		for range s.answers {
		}
		<-read
		_ = s.cmd.Wait() // it was killed
	})
	return s
}

func (s *rootShell) kill() { _ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL) }

// run runs a command line, and returns how long it took. If it takes longer than ctx allows, the shell
// is killed, and can run no further one.
func (s *rootShell) run(ctx context.Context, line string) (r lab.Result, took time.Duration, err error) {
	begin := time.Now()
	if _, err := fmt.Fprintln(s.in, line); err != nil {
		return r, 0, fmt.Errorf("root's shell has ended: %w", err)
	}
	var answer string
	select {
	case answer = <-s.answers:
	case <-ctx.Done():
		s.kill()
		return r, time.Since(begin), ctx.Err()
	}
	var from, to float64
	if _, err := fmt.Sscan(answer, &r.Code, &from, &to); err != nil {
		return r, 0, fmt.Errorf("root's shell says %q: %w", answer, err)
	}
	stdout, outErr := os.ReadFile(filepath.Join(s.dir, "out"))
	stderr, errErr := os.ReadFile(filepath.Join(s.dir, "err"))
	r.Stdout, r.Stderr = string(stdout), string(stderr)
	return r, time.Duration((to - from) * float64(time.Second)), errors.Join(outErr, errErr)
}

// quoted writes a command as a line of a shell. No word has a quote.
func quoted(words ...string) string { return "'" + strings.Join(words, "' '") + "'" }
