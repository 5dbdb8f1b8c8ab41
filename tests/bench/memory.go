package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cilium/ebpf"
)

// kib reads fields whose unit is KiB, such as /proc/meminfo's, and returns bytes.
func kib(path string, names ...string) (int64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	var sum int64
	for line := range strings.Lines(string(b)) {
		name, rest, _ := strings.Cut(line, ":")
		if fields := strings.Fields(rest); slices.Contains(names, name) && len(fields) > 0 {
			n, err := strconv.ParseInt(fields[0], 10, 64)
			if err != nil {
				return 0, fmt.Errorf("%s: %s: %w", path, name, err)
			}
			sum += n << 10
		}
	}
	return sum, nil
}

// kernelMemory returns the memory that the kernel has allocated for itself, on the whole machine.
// Its growth is due to a contender if nothing else runs. The kernel frees memory with a delay, so
// the function waits until that is done.
func kernelMemory() (int64, error) {
	const (
		pause  = 100 * time.Millisecond
		rounds = 30
		still  = 512 << 10
	)
	var last int64
	for range rounds {
		now, err := kib("/proc/meminfo", "Slab", "VmallocUsed", "Percpu")
		if err != nil {
			return 0, fmt.Errorf("read the kernel's memory: %w", err)
		}
		if max(now-last, last-now) < still {
			return now, nil
		}
		last = now
		time.Sleep(pause)
	}
	return last, nil
}

// A peak is the highest memory use of a process.
type peak struct {
	Resident int64 `json:"resident_bytes"` // VmHWM, mapped kernel memory included
	Own      int64 `json:"own_bytes"`      // RssAnon + RssShmem, sampled
}

// watchPeak samples a process until stop is called or the process is gone.
func watchPeak(pid int) (stop func() peak) {
	const interval = 5 * time.Millisecond
	quit, done := make(chan struct{}), make(chan peak)
	path := fmt.Sprintf("/proc/%d/status", pid)
	go func() {
		var p peak
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for {
			// An error means that the process has ended: the values seen so far stand.
			resident, _ := kib(path, "VmHWM")
			own, _ := kib(path, "RssAnon", "RssShmem")
			p.Resident, p.Own = max(p.Resident, resident), max(p.Own, own)
			select {
			case <-quit:
				done <- p
				return
			case <-tick.C:
			}
		}
	}()
	return func() peak {
		close(quit)
		return <-done
	}
}

// A mapCost is the memory of one map of the daemon as reported by the kernel. For a trie it counts
// the elements without the rounding of the allocator.
type mapCost struct {
	Entries int    `json:"entries"` // in the book
	Map     string `json:"map"`
	Bytes   int64  `json:"bytes"`
}

// mapCosts reads them from the pins. Inner maps count for the map that holds them, whether they are
// pinned or not.
func mapCosts(bpffs string, entries int) ([]mapCost, error) {
	var rows []mapCost
	inner := make(map[string]bool)
	err := filepath.WalkDir(bpffs, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		m, err := ebpf.LoadPinnedMap(path, nil)
		if err != nil {
			return nil // a program or a link
		}
		defer m.Close()
		bytes, err := costOf(m, inner)
		rows = append(rows, mapCost{entries, d.Name(), bytes})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the memory of maps: %w", err)
	}
	rows = slices.DeleteFunc(rows, func(r mapCost) bool { return inner[r.Map] })
	slices.SortFunc(rows, func(a, b mapCost) int { return strings.Compare(a.Map, b.Map) })
	return rows, nil
}

// costOf returns the memory of m and of the maps in it, whose names it records in inner. An inner
// map counts once, however many slots it is in.
func costOf(m *ebpf.Map, inner map[string]bool) (int64, error) {
	sum, err := memlock(m)
	if err != nil || m.Type() != ebpf.ArrayOfMaps {
		return sum, err
	}
	seen := make(map[ebpf.MapID]bool)
	for i := range m.MaxEntries() {
		var id ebpf.MapID
		if m.Lookup(i, &id) != nil || seen[id] {
			continue // an empty slot, or already counted
		}
		seen[id] = true
		bytes, err := innerCost(id, inner)
		if err != nil {
			return 0, err
		}
		sum += bytes
	}
	return sum, nil
}

func innerCost(id ebpf.MapID, inner map[string]bool) (int64, error) {
	m, err := ebpf.NewMapFromID(id)
	if err != nil {
		return 0, err
	}
	defer m.Close()
	info, err := m.Info()
	if err != nil {
		return 0, err
	}
	inner[info.Name] = true
	return memlock(m)
}

func memlock(m *ebpf.Map) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", m.FD()))
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(b) {
		if value, ok := bytes.CutPrefix(line, []byte("memlock:")); ok {
			return strconv.ParseInt(string(bytes.TrimSpace(value)), 10, 64)
		}
	}
	return 0, fmt.Errorf("the kernel does not report the memory of %s", m)
}
