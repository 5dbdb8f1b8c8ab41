// Command vm tests the packet filter on other kernels, in virtual machines: every program is
// loaded, the packet corpus and the differential test run, and the daemon filters frames that come
// in from outside.
//
//	go run ./tests/vm [-kernel NAME]... [-docs docs]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "vm:", err)
		os.Exit(1)
	}
}

// A kernel is an entry of the list.
type kernel struct {
	name, suite, pkg string
	card             string
	queues           int
	tries            string // filter or devices
}

// The things to try on a kernel.
const (
	triesFilter  = "filter"
	triesDevices = "devices"
)

func run() error {
	var names []string
	flag.Func("kernel", "only the kernel of this `NAME`; may be repeated", func(s string) error {
		names = append(names, strings.Fields(s)...)
		return nil
	})
	list := flag.String("list", "tests/vm/kernels.txt", "the kernels")
	docs := flag.String("docs", "", "renew the rows of `DIR`/kernels.md")
	brief := flag.Bool("brief", false,
		"of the packet corpus, run the tests that look at all of the program, and not those of its parts")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()

	all, err := readList(*list)
	if err != nil {
		return err
	}
	for _, n := range names {
		if !slices.ContainsFunc(all, func(k kernel) bool { return k.name == n }) {
			return fmt.Errorf("%s has no kernel %q", *list, n)
		}
	}
	kernels := slices.DeleteFunc(slices.Clone(all), func(k kernel) bool {
		return len(names) > 0 &&
			!slices.Contains(names, k.name)
	})
	cache, err := cacheDir()
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "paraxial-vm-")
	if err != nil {
		return err
	}
	l := &laboratory{cache: cache, work: work, brief: *brief}
	if l.tools, err = buildTools(ctx, work); err != nil {
		return err
	}
	var rows []row
	var failed []error
	for _, k := range kernels {
		start := time.Now()
		r, err := l.try(ctx, k)
		if err != nil {
			failed = append(failed, fmt.Errorf("kernel %s: %w", k.name, err))
			fmt.Printf("FAIL %-8s %5.1fs  %v\n%s", k.name, time.Since(start).Seconds(), err,
				consoleEnd(filepath.Join(work, k.name)))
			continue
		}
		if k.tries == triesFilter {
			rows = append(rows, r)
		}
		fmt.Printf("ok   %-8s %5.1fs  %s\n", k.name, time.Since(start).Seconds(), r)
	}
	if len(failed) > 0 {
		return fmt.Errorf("%w\nthe consoles' logs are kept in %s", errors.Join(failed...), work)
	}
	if *docs != "" {
		if err := renew(filepath.Join(*docs, "kernels.md"), all, rows); err != nil {
			return err
		}
	}
	return os.RemoveAll(work)
}

// consoleEnd returns the last part of a machine's console output, if there is any.
func consoleEnd(dir string) string {
	b, err := os.ReadFile(filepath.Join(dir, consoleLog))
	if err != nil || len(b) == 0 {
		return ""
	}
	const last = 10
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return "its console ends with\n  " + strings.Join(lines[max(0, len(lines)-last):], "\n  ") + "\n"
}

// cacheDir is where kernels are kept between runs: PARAXIAL_VM_CACHE, or the user's cache.
func cacheDir() (string, error) {
	if dir := os.Getenv("PARAXIAL_VM_CACHE"); dir != "" {
		return dir, nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the cache folder for kernels (set PARAXIAL_VM_CACHE to choose one): %w", err)
	}
	return filepath.Join(dir, "paraxial-vm"), nil
}

const columns = 6

func readList(path string) ([]kernel, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the list of kernels: %w", err)
	}
	var all []kernel
	for i, line := range strings.Split(string(b), "\n") {
		f := strings.Fields(line)
		if len(f) == 0 || strings.HasPrefix(f[0], "#") {
			continue
		}
		if len(f) != columns {
			return nil, fmt.Errorf("%s:%d: %d columns, not %d", path, i+1, len(f), columns)
		}
		queues, err := strconv.Atoi(f[4])
		if err != nil || queues < 1 {
			return nil, fmt.Errorf("%s:%d: %q is not a number of queues", path, i+1, f[4])
		}
		if f[5] != triesFilter && f[5] != triesDevices {
			return nil, fmt.Errorf("%s:%d: %q is neither %s nor %s", path, i+1, f[5], triesFilter, triesDevices)
		}
		all = append(all, kernel{f[0], f[1], f[2], f[3], queues, f[5]})
	}
	return all, nil
}
