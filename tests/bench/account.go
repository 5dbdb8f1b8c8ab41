package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"github.com/paraxial/paraxial/policy"
	"github.com/paraxial/paraxial/track"
)

// An accountRow is the cost, in nanoseconds, that accounting for the detectors adds to a packet
// that passes.
type accountRow struct {
	Mix     mix     `json:"mix"`
	Sources int     `json:"sources"` // 0: spoofed, no source repeats
	Tracked int     `json:"tracked"`
	Theirs  bool    `json:"theirs"` // the packets come from tracked sources
	Levels  int     `json:"levels"`
	Off     float64 `json:"off_ns"`
	On      float64 `json:"on_ns"`
	Naive   float64 `json:"naive_ns"`
}

const (
	accountEntries  = 10_000    // on the block list
	accountCapacity = 1 << 15   // size of the tracking table, the default
	accountSampling = 1000      // one packet in this many
	accountRing     = 512 << 10 // bytes
)

// accountClasses resemble those of the example in docs/config.md: of the benchmark's UDP packets,
// two of them count one.
func accountClasses() []track.Class {
	return []track.Class{
		{},
		{Proto: track.TCP, Set: track.SYN, Clear: track.ACK},
		{Proto: track.UDP},
		{Proto: track.TCP, Ports: []uint16{80, 443}, Bytes: true},
	}
}

func accountCases(quick bool) []accountRow {
	var rows []accountRow
	for _, m := range []mix{mixIPv4, mixUniform} {
		for _, n := range []int{100, 10_000, 1_000_000, 0} {
			rows = append(rows, accountRow{Mix: m, Sources: n, Tracked: 100, Levels: 1})
		}
		rows = append(rows, accountRow{Mix: m, Sources: 100, Tracked: 100, Theirs: true, Levels: 1})
		if quick || m != mixIPv4 {
			continue
		}
		rows = append(rows,
			accountRow{Mix: m, Sources: 0, Tracked: 30_000, Levels: 1},
			accountRow{Mix: m, Sources: 0, Tracked: 100, Levels: 2},
			accountRow{Mix: m, Sources: 10_000, Tracked: 10_000, Theirs: true, Levels: 1})
	}
	return rows
}

// measureAccounts measures the same program with accounting off and on, and a variant that uses an
// LRU hash instead.
func measureAccounts(ctx context.Context, quick bool, log logger) ([]accountRow, error) {
	unpin, err := pin(0)
	if err != nil {
		return nil, err
	}
	defer unpin()
	const repeats = 8
	rows := accountCases(quick)
	var full *accountTables
	defer func() { full.Close() }()
	for i := range rows {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		row := &rows[i]
		log("account: %s, %d sources, %d tracked", row.Mix, row.Sources, row.Tracked)
		if full == nil || full.list.mix != row.Mix {
			full.Close()
			if full, err = newAccountTables(row.Mix); err != nil {
				return nil, err
			}
		}
		if err := full.measure(row, repeats); err != nil {
			return nil, fmt.Errorf("measure accounting for %d sources of %s: %w", row.Sources, row.Mix, err)
		}
	}
	return rows, nil
}

// accountTables are the full maps of a filter, and the sources of the packets.
type accountTables struct {
	*tables
	list           *list
	clean, blocked []netip.Addr
}

func newAccountTables(m mix) (*accountTables, error) {
	l := newList(m, accountEntries)
	t, err := newTables(l.prefixes, policy.Forever, tuning{floor: floorReasonREASON_NOT_LISTED})
	if err != nil {
		return nil, err
	}
	return &accountTables{tables: t, list: l, clean: l.clean(), blocked: l.blocked()}, nil
}

// Close frees the maps.
func (t *accountTables) Close() {
	if t != nil {
		t.tables.Close()
	}
}

func (t *accountTables) measure(row *accountRow, repeats int) error {
	addrs := slices.Clone(t.clean)
	if row.Sources > 0 {
		for i := range addrs {
			addrs[i] = addrs[i%min(row.Sources, len(addrs))]
		}
	}
	if err := t.setSources(addrs); err != nil {
		return err
	}
	tracked := addrs
	if !row.Theirs {
		tracked = t.blocked
	}
	a := &accounting{}
	defer a.Close()
	if err := t.load(a, row.Sources == 0); err != nil {
		return err
	}
	if err := errors.Join(a.turnOn(row), a.track(row, tracked)); err != nil {
		return err
	}
	return a.measure(row, template(addrs[0]), repeats)
}

// accounting is the filter with accounting on, and its contender.
type accounting struct {
	off, on, naive *ebpf.Collection
	ring           *ringbuf.Reader
	table          *track.Table
	memory         [][]byte
	inner          []*ebpf.Map
}

func (t *accountTables) load(a *accounting, spoofing bool) error {
	for _, c := range []struct {
		of   **ebpf.Collection
		spec func() (*ebpf.CollectionSpec, error)
	}{{&a.off, loadShipped}, {&a.on, loadShipped}, {&a.naive, loadNaive}} {
		spec, err := c.spec()
		if err != nil {
			return err
		}
		if *c.of, err = t.loadVaried(spec, spoofing); err != nil {
			return fmt.Errorf("load the filter: %w", err)
		}
	}
	return nil
}

// loadVaried loads the one measured program, over the full maps.
func (t *accountTables) loadVaried(spec *ebpf.CollectionSpec, spoofing bool) (*ebpf.Collection, error) {
	maps.DeleteFunc(spec.Programs, func(name string, _ *ebpf.ProgramSpec) bool { return name != shippedProgVaried })
	spec.Maps[shippedMapTracked].InnerMap.MaxEntries = track.Lines(accountCapacity)
	for _, name := range []string{shippedMapBlockV4, shippedMapBlockV6} {
		spec.Maps[name].MaxEntries = t.index.Maps[name].MaxEntries()
	}
	if spoofing {
		if err := spec.Variables[shippedVarSpoofing].Set(uint32(1)); err != nil {
			return nil, fmt.Errorf("set spoofing: %w", err)
		}
	}
	return t.beside(spec, append([]string{shippedMapIndexV4, shippedMapIndexV6}, shared...))
}

func (a *accounting) turnOn(row *accountRow) error {
	lines, err := a.putInner(shippedMapTracked, track.Lines(accountCapacity))
	if err != nil {
		return err
	}
	ring, err := a.putInner(shippedMapSamples, accountRing)
	if err != nil {
		return err
	}
	if a.ring, err = ringbuf.NewReader(ring); err != nil {
		return fmt.Errorf("read samples: %w", err)
	}
	a.ring.SetDeadline(time.Unix(1, 0)) // in the past: read what is there, never wait
	memory, err := a.mapMemory(lines)
	if err != nil {
		return err
	}
	control, err := a.mapMemory(a.on.Maps[shippedMapTracking])
	if err != nil {
		return err
	}
	if a.table, err = track.New(control, memory, accountCapacity); err != nil {
		return err
	}
	levels, classes := []track.Level{{IPv4: 32, IPv6: 64}}, accountClasses()
	if row.Levels > 1 {
		levels = append(levels, track.Level{IPv4: 24, IPv6: 48})
		classes = append(classes, track.Class{Level: 1})
	}
	a.table.SetSampling(accountSampling)
	return a.table.Configure(levels, classes)
}

// track tracks the first different sources of those given.
func (a *accounting) track(row *accountRow, sources []netip.Addr) error {
	bits := 32
	if row.Mix.ipv6() {
		bits = 64
	}
	for i := 0; a.table != nil && a.table.Used() < row.Tracked; i++ {
		if _, err := a.table.Track(0, prefixOf(sources[i], bits)); err != nil {
			return fmt.Errorf("track %s: %w", sources[i], err)
		}
	}
	return nil
}

// putInner makes an inner map and puts it into the map of maps.
func (a *accounting) putInner(outer string, entries uint32) (*ebpf.Map, error) {
	spec, err := loadShipped()
	if err != nil {
		return nil, err
	}
	inner := spec.Maps[outer].InnerMap
	inner.MaxEntries = entries
	m, err := ebpf.NewMap(inner)
	if err != nil {
		return nil, fmt.Errorf("make a map of %s: %w", outer, err)
	}
	a.inner = append(a.inner, m)
	if err := a.on.Maps[outer].Put(uint32(0), m); err != nil {
		return nil, fmt.Errorf("put a map into %s: %w", outer, err)
	}
	return m, nil
}

func (a *accounting) mapMemory(m *ebpf.Map) ([]byte, error) {
	b, err := unix.Mmap(m.FD(), 0, int(m.MaxEntries()*m.ValueSize()), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map the memory of %s: %w", m, err)
	}
	a.memory = append(a.memory, b)
	return b, nil
}

// Close frees the maps.
func (a *accounting) Close() {
	for _, c := range []*ebpf.Collection{a.off, a.on, a.naive} {
		if c != nil {
			c.Close()
		}
	}
	for _, b := range a.memory {
		_ = unix.Munmap(b)
	}
	for _, m := range a.inner {
		_ = m.Close()
	}
	if a.ring != nil {
		_ = a.ring.Close()
	}
}

func (a *accounting) measure(row *accountRow, frame []byte, repeats int) error {
	runs := []struct {
		ns      *float64
		program *ebpf.Program
		best    stopwatch
	}{
		{ns: &row.Off, program: a.off.Programs[shippedProgVaried]},
		{ns: &row.On, program: a.on.Programs[shippedProgVaried]},
		{ns: &row.Naive, program: a.naive.Programs[naiveProgVaried]},
	}
	samples := 0
	begin := time.Now()
	for round := range repeats {
		if round >= 2 && time.Since(begin) > rowBudget {
			break
		}
		for i := range runs {
			if err := runs[i].best.run(runs[i].program, frame); err != nil {
				return err
			}
		}
		n, err := a.drain()
		if err != nil {
			return err
		}
		samples += n
	}
	for i := range runs {
		*runs[i].ns = runs[i].best.ns()
	}
	return a.check(row, samples)
}

// drain empties the ring, as the daemon would.
func (a *accounting) drain() (n int, err error) {
	var record ringbuf.Record
	for {
		err := a.ring.ReadInto(&record)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return n, nil
		}
		if err != nil {
			return n, fmt.Errorf("read samples: %w", err)
		}
		n++
	}
}

// check makes sure that the measured program did its work.
func (a *accounting) check(row *accountRow, samples int) error {
	packets, err := reasonPackets(a.on.Maps[shippedMapCounters], shippedReasonREASON_NOT_LISTED)
	if err != nil {
		return err
	}
	var counted uint64
	a.table.Counts(func(_ uint32, _ int, _ netip.Prefix, counters *[track.Detectors]uint32) {
		counted += uint64(counters[0])
	})
	if want := map[bool]uint64{true: packets}[row.Theirs]; counted != want {
		return fmt.Errorf("%d packets were counted, want %d", counted, want)
	}
	if want := int(packets) / accountSampling; samples < want*8/10 || samples > want*12/10 ||
		track.Lost(a.memory[1]) > 0 {
		return fmt.Errorf("%d samples, and %d lost, want about %d", samples, track.Lost(a.memory[1]), want)
	}
	return nil
}

func reasonPackets(counters *ebpf.Map, reason shippedReason) (packets uint64, err error) {
	var perCPU []shippedCounter
	if err := counters.Lookup(uint32(reason), &perCPU); err != nil {
		return 0, fmt.Errorf("read the counters: %w", err)
	}
	for _, c := range perCPU {
		packets += c.Packets
	}
	return packets, nil
}
