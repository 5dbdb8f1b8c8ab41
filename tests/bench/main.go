// Bench measures the cost of Paraxial and compares it, in the same run, with the alternatives: the
// same filter without its index, nft sets and ipset. docs/performance.md explains the method.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/paraxial/paraxial/tests/lab"
)

// limit bounds a run, so that a hung tool does not hang the benchmark.
const limit = 10 * time.Minute

const allParts = "packets,account,veth,changes,load"

type options struct {
	quick bool
	bin   string
	json  string
	docs  string
	from  string // show the results in this file
	only  string // the parts to measure
}

func main() {
	var o options
	flag.BoolVar(&o.quick, "quick", false, "fewer sizes and repeats: a minute, to see that it works")
	flag.StringVar(&o.bin, "bin", "bin", "folder with paraxiald and paraxialctl")
	flag.StringVar(&o.json, "json", "bench.json", "write the result to this file")
	flag.StringVar(&o.docs, "docs", "",
		"also put table and plot into performance.md of this folder, which is made if it is not there")
	flag.StringVar(&o.from, "from", "", "do not measure; print, and with -docs write, the result in this JSON file")
	flag.StringVar(&o.only, "only", allParts, "parts to measure; the others are kept from the JSON file")
	flag.Parse()
	if o.docs != "" {
		if err := preparePage(o.docs); err != nil {
			exit(err)
		}
	}
	if o.from != "" {
		exit(o.again())
	}
	if os.Geteuid() != 0 {
		exit(fmt.Errorf("loading programs and making interfaces needs root: use sudo, or make bench"))
	}
	status, err := lab.Enter(func() int { exit(o.run()); return 0 })
	if err != nil {
		exit(err)
	}
	os.Exit(status)
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// logger reports progress.
type logger func(format string, args ...any)

func (o options) run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	begin := time.Now()
	log := func(format string, args ...any) {
		fmt.Fprintf(os.Stderr, "%4.0fs  %s\n", time.Since(begin).Seconds(), fmt.Sprintf(format, args...))
	}
	r, err := measure(ctx, o, log)
	if err != nil {
		return err
	}
	r.Seconds = time.Since(begin).Seconds()
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the result: %w", err)
	}
	if err := os.WriteFile(o.json, append(b, '\n'), 0o644); err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	return o.show(r)
}

func measure(ctx context.Context, o options, log logger) (*report, error) {
	bin, err := filepath.Abs(o.bin)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", o.bin, err)
	}
	r := &report{}
	if o.only != allParts {
		// The parts that are not measured keep their earlier results.
		if r, err = read(o.json); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	r.Quick = o.quick
	if r.Machine, err = thisMachine(); err != nil {
		return nil, err
	}
	for _, part := range []struct {
		name    string
		measure func() error
	}{
		{"packets", func() (err error) { r.Memory, r.Packets, err = measurePackets(ctx, o.quick, log); return err }},
		{"account", func() (err error) { r.Account, err = measureAccounts(ctx, o.quick, log); return err }},
		{"veth", func() (err error) { r.Veth, err = measureVeth(ctx, o.quick, log); return err }},
		{"changes", func() error { return r.measureChanges(ctx, o.quick, lab.InDir(bin), log) }},
		{"load", func() error { return r.measureLoads(ctx, o.quick, lab.InDir(bin), log) }},
	} {
		if !slices.Contains(strings.Split(o.only, ","), part.name) {
			continue
		}
		if err := part.measure(); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// again shows a result that was measured earlier.
func (o options) again() error {
	r, err := read(o.from)
	if err != nil {
		return err
	}
	return o.show(r)
}

// read returns an empty report together with an error.
func read(path string) (*report, error) {
	r := &report{}
	b, err := os.ReadFile(path)
	if err != nil {
		return r, fmt.Errorf("read an earlier result: %w", err)
	}
	if err := json.Unmarshal(b, r); err != nil {
		return r, fmt.Errorf("read %s: %w", path, err)
	}
	return r, nil
}

func (o options) show(r *report) error {
	if err := r.write(os.Stdout); err != nil || o.docs == "" {
		return err
	}
	return r.document(o.docs)
}
