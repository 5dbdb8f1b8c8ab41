package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/paraxial/paraxial/tests/lab"
)

// A loadRow is the time and memory that a contender needs to load a list, from reading the file
// until the list is in force.
type loadRow struct {
	Contender string  `json:"contender"`
	Missing   string  `json:"missing,omitempty"`
	Entries   int     `json:"entries"`
	Seconds   float64 `json:"seconds"`
	Process   peak    `json:"process"`
	Kernel    int64   `json:"kernel_bytes"` // growth of Slab, vmalloc and per-CPU memory
}

// Names of Paraxial's own rows.
const (
	contenderImport = "paraxialctl import"
	smallEntries    = 100
)

func (r *report) measureLoads(ctx context.Context, quick bool, bin lab.Binaries, log logger) error {
	r.Load, r.Maps, r.Block = nil, nil, nil
	n := 1_000_000
	if quick {
		n = 100_000
	}
	dir, err := os.MkdirTemp("/run", "bench")
	if err != nil {
		return fmt.Errorf("make a folder for lists: %w", err)
	}
	defer os.RemoveAll(dir)
	mixed := newList(mixIPv4, n).prefixes
	for _, size := range []int{smallEntries, n} {
		log("load: %s, %d entries", contenderImport, size)
		if err := r.measureDaemon(ctx, bin, filepath.Join(dir, fmt.Sprint(size)), mixed[:size], size == n,
			quick); err != nil {
			return fmt.Errorf("measure the daemon with %d entries: %w", size, err)
		}
	}
	v, err := newVeth()
	if err != nil {
		return err
	}
	defer v.Close()
	hosts := newList(mixHosts, n).prefixes
	for _, l := range []loader{
		{nftHash.name, "nft", "nftables", []string{"-f"}, nftHash.script(hosts)},
		{nftInterval.name, "nft", "nftables", []string{"-f"}, nftInterval.script(mixed)},
		{ipsetName, "ipset", "ipset", []string{"restore", "-file"}, ipsetScript(mixed)},
	} {
		log("load: %s, %d entries", l.name, n)
		row, err := l.measure(ctx, filepath.Join(dir, "script"))
		if err != nil {
			return fmt.Errorf("load %s: %w", l.name, err)
		}
		row.Entries = n
		r.Load = append(r.Load, row)
	}
	return errors.Join(
		ignoreMissing(run(ctx, "", "nft", "flush", "ruleset")),
		ignoreMissing(run(ctx, "", "ipset", "destroy")))
}

func ignoreMissing(err error) error {
	if errors.Is(err, exec.ErrNotFound) {
		return nil
	}
	return err
}

// A loader is a tool that loads a script.
type loader struct {
	name, tool, pkg string
	args            []string
	script          string
}

func (l loader) measure(ctx context.Context, path string) (row loadRow, err error) {
	row = loadRow{Contender: l.name, Missing: notInstalled(l.tool, l.pkg)}
	if row.Missing != "" {
		return row, nil
	}
	if err := os.WriteFile(path, []byte(l.script), 0o600); err != nil {
		return row, err
	}
	before, err := kernelMemory()
	if err != nil {
		return row, err
	}
	var out strings.Builder
	cmd := exec.CommandContext(ctx, l.tool, append(l.args, path)...)
	cmd.Stdout, cmd.Stderr = &out, &out
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return row, err
	}
	stop := watchPeak(cmd.Process.Pid)
	err = cmd.Wait()
	row.Seconds, row.Process = time.Since(begin).Seconds(), stop()
	if err != nil {
		return row, fmt.Errorf("%s: %w: %.200s", l.tool, err, out.String())
	}
	after, err := kernelMemory()
	row.Kernel = after - before
	// Unload the list, so that the next contender starts from nothing.
	switch l.tool {
	case "nft":
		err = errors.Join(err, run(ctx, "", "nft", "flush", "ruleset"))
	case "ipset":
		err = errors.Join(err, run(ctx, "", "ipset", "destroy"))
	}
	return row, err
}

// measureDaemon runs the real daemon and the real command.
func (r *report) measureDaemon(ctx context.Context, bin lab.Binaries, dir string, prefixes []netip.Prefix, latency,
	quick bool) (err error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	file := filepath.Join(dir, "list")
	var b strings.Builder
	writePrefixes(&b, prefixes, "%s\n")
	if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
		return err
	}
	wire, err := lab.NewWire(hostName)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, wire.Close()) }()
	before, err := kernelMemory()
	if err != nil {
		return err
	}
	d := lab.NewDaemon(bin, filepath.Join(dir, "state"), wire.Host)
	p, err := d.Start(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Kill(), detach(ctx, d)) }()
	row := loadRow{Contender: contenderImport, Entries: len(prefixes)}
	stop := watchPeak(p.PID())
	begin := time.Now()
	result, err := d.Run(ctx, "import", file, "--origin", "bench")
	row.Seconds, row.Process = time.Since(begin).Seconds(), stop()
	if err != nil || result.Code != 0 {
		return fmt.Errorf("import: %w %s", err, result.Stderr)
	}
	after, err := kernelMemory()
	if err != nil {
		return err
	}
	row.Kernel = after - before
	r.Load = append(r.Load, row)
	costs, err := mapCosts(d.BPFFS, len(prefixes))
	if err != nil {
		return err
	}
	r.Maps = append(r.Maps, costs...)
	if latency {
		r.Block, err = measureBlocks(ctx, wire, d, quick)
	}
	return err
}

// detach removes filter and pins, so that their memory is not counted for the next contender.
func detach(ctx context.Context, d lab.Daemon) error {
	return run(context.WithoutCancel(ctx), "", d.Daemon, "detach", "--socket", d.Socket, "--state-dir", d.StateDir,
		"--bpffs", d.BPFFS)
}
