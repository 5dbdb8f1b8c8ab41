// Command progress runs go test -json and reports progress: each package as soon as it is done, and
// regularly the tests that are running. It prints the output only of tests that fail or are
// skipped.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// interval is the time between two lines about running tests.
const interval = 30 * time.Second

func main() {
	code, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "progress:", err)
	}
	os.Exit(code)
}

// run runs the command and returns its exit code.
func run(args []string) (code int, err error) {
	if len(args) == 0 {
		return 2, errors.New("name a command, such as: progress go test -json ./... -count=1")
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin, cmd.Stderr = os.Stdin, os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 2, err
	}
	if err := cmd.Start(); err != nil {
		return 2, fmt.Errorf("run %s: %w", args[0], err)
	}
	r := newReport(os.Stdout, time.Now)
	follow(r, out)
	err = cmd.Wait()
	r.summary()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return max(1, exit.ExitCode()), nil
	}
	if err != nil {
		return 2, fmt.Errorf("run %s: %w", args[0], err)
	}
	return 0, nil
}

// follow passes events on to the report until there are no more.
func follow(r *report, in io.Reader) {
	lines := make(chan []byte)
	go func() {
		defer close(lines)
		b := bufio.NewReader(in)
		for {
			line, err := b.ReadBytes('\n')
			if len(line) > 0 {
				lines <- line
			}
			if err != nil {
				return
			}
		}
	}()
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case line, ok := <-lines:
			if !ok {
				return
			}
			var e event
			if err := json.Unmarshal(line, &e); err != nil {
				fmt.Fprintf(r.out, "%s", line) // not an event, but a message of the go command
				continue
			}
			r.add(e)
		case <-tick.C:
			r.underWay()
		}
	}
}
