package lab

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// alone tells a nested sandbox that it runs a single test.
const alone = "PARAXIAL_LAB_ALONE"

// MainEach is Main for tests that wait more than they compute. Each test runs in a sandbox of its
// own, inside the common one. Twice as many run at once as there are CPUs, or as many as -parallel
// says. They share nothing but /run/lab, which has what Once has made.
//
// With flags that MainEach does not know, such as those for profiles, it does what Main does.
func MainEach(m interface{ Run() int }) {
	flag.Parse()
	if os.Geteuid() != 0 || flagValue("test.list") != "" {
		os.Exit(m.Run())
	}
	status, err := Enter(func() int {
		if os.Getenv(alone) != "" || !canSplit() {
			return m.Run()
		}
		names, err := testNames()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		if len(names) < 2 {
			return m.Run()
		}
		return runEach(names)
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(status)
}

// passed are the flags that the process of a single test gets, too.
func passed() []string {
	return []string{"test.paniconexit0", "test.v", "test.count", "test.timeout", "test.short"}
}

// canSplit reports whether the result is the same if each test runs in a process of its own.
func canSplit() bool {
	// Without the log of files that a test opens, the go command does not cache the result.
	known := "test.run test.skip test.parallel test.testlogfile " + strings.Join(passed(), " ")
	can := !strings.Contains(flagValue("test.run")+flagValue("test.skip"), "/") && flagValue("test.parallel") != "1"
	flag.Visit(func(f *flag.Flag) {
		can = can && strings.Contains(known+" ", f.Name+" ")
	})
	return can
}

func flagValue(name string) string { return flag.Lookup(name).Value.String() }

// testNames returns the tests to run.
func testNames() ([]string, error) {
	pattern := flagValue("test.run")
	if pattern == "" {
		pattern = "."
	}
	out, err := exec.Command("/proc/self/exe", "-test.list="+pattern).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("list the tests: %w\n%s", err, out)
	}
	return without(strings.Fields(string(out)), flagValue("test.skip"))
}

// without returns the names that -skip leaves, which -test.list does not observe.
func without(names []string, skip string) ([]string, error) {
	if skip == "" {
		return names, nil
	}
	skipped, err := regexp.Compile(skip)
	if err != nil {
		return nil, fmt.Errorf("read -skip: %w", err)
	}
	return slices.DeleteFunc(names, skipped.MatchString), nil
}

// workers returns the number of tests that run at once.
func workers() (n int, err error) {
	n, err = strconv.Atoi(flagValue("test.parallel"))
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		n *= 2 // the usual value is the number of CPUs
	}
	return n, err
}

// runEach runs the tests, and returns the exit code of the test program.
func runEach(names []string) int {
	workers, err := workers()
	if err == nil {
		err = os.MkdirAll(sharedDir, 0o755)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	each := &each{out: os.Stdout}
	switch flagValue("test.v") {
	case "true":
		each.verbose = true
	case "test2json":
		each.verbose, each.marker = true, "\x16"
	}
	next := make(chan string)
	var running sync.WaitGroup
	for range workers {
		running.Go(func() {
			for name := range next {
				each.run(name)
			}
		})
	}
	for _, name := range names {
		next <- name
	}
	close(next)
	running.Wait()
	if each.failed {
		fmt.Fprintf(each.out, "%sFAIL\n", each.marker)
		return 1
	}
	fmt.Fprintf(each.out, "%sPASS\n", each.marker)
	return 0
}

// each prints what the tests print, one test after the other, as a test program does.
type each struct {
	verbose bool
	marker  string // of lines that go test -json reads

	mu     sync.Mutex
	out    io.Writer
	failed bool
}

// run runs a test in a sandbox of its own.
func (e *each) run(name string) {
	e.begin(name)
	args := []string{"-test.run=^" + name + "$"}
	for _, f := range passed() {
		args = append(args, "-"+f+"="+flagValue(f))
	}
	var out bytes.Buffer
	cmd := sandboxed(args...)
	cmd.Env = append(cmd.Env, alone+"=1")
	cmd.Stdout, cmd.Stderr = &out, &out
	status, err := wait(cmd)
	e.end(name, out.Bytes(), status, err)
}

func (e *each) begin(name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.verbose {
		fmt.Fprintf(e.out, "%s=== RUN   %s\n", e.marker, name)
	}
}

// end prints the output of a test that has ended.
func (e *each) end(name string, output []byte, status int, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.verbose {
		fmt.Fprintf(e.out, "%s=== NAME  %s\n", e.marker, name)
	}
	reported := false
	lines := bufio.NewReader(bytes.NewReader(output))
	for {
		line, end := lines.ReadString('\n')
		switch bare := strings.TrimSpace(strings.TrimPrefix(line, e.marker)); {
		case bare == "=== RUN   "+name, bare == "PASS", bare == "FAIL":
		default:
			reported = reported || strings.HasPrefix(bare, "--- FAIL: "+name+" ")
			if end != nil && line != "" {
				line += "\n"
			}
			io.WriteString(e.out, line)
		}
		if end != nil {
			break
		}
	}
	if err == nil && status == 0 {
		return
	}
	e.failed = true
	if !reported {
		err = errors.Join(err, fmt.Errorf("the process of the test has ended with status %d", status))
		fmt.Fprintf(e.out, "%s--- FAIL: %s (0.00s)\n    %v\n", e.marker, name, err)
	}
}
