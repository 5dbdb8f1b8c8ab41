package soak

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/loader"
	"github.com/paraxial/paraxial/policy"
	"github.com/paraxial/paraxial/store"
)

const (
	probes = 1000 // number of sources to run through the program in force

	// An entry that ends soon may be in only one of the two lists. Lives are much shorter than
	// this, or much longer.
	doubt = time.Minute
)

// list returns the daemon's entries.
func (d *driver) list(ctx context.Context) ([]control.Entry, error) {
	var all []control.Entry
	err := d.client.Entries(ctx, "", "", func(e control.Entry) error {
		all = append(all, e)
		return nil
	})
	return all, err
}

// protected waits until the interfaces match the configuration.
func (d *driver) protected(ctx context.Context) error {
	return within(settled, func() error {
		status, err := d.client.Status(ctx)
		if err != nil {
			return err
		}
		for _, i := range status.Interfaces {
			if !i.Protected {
				return fmt.Errorf("%s is not protected: %s", i.Name, i.Note)
			}
		}
		return nil
	})
}

// compare runs while no daemon does. It checks that the entries that the daemon listed last are on
// disk, that the tries in force hold the nodes compiled from them, and that the program in force,
// with the index it was left with, decides as the model does.
func (d *driver) compare(listed []control.Entry) error {
	stored, err := d.stored()
	if err != nil {
		return err
	}
	if diff := differ(listedNames(listed), storedNames(stored)); diff != "" {
		return fmt.Errorf("the listed entries (-) and those on disk (+) differ:\n%s", diff)
	}
	held, err := d.held()
	if err != nil {
		return err
	}
	if err := compareNodes(stored, held); err != nil {
		return err
	}
	d.compared++
	return d.probe(stored)
}

func (d *driver) stored() (entries []policy.Entry, err error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return nil, err
	}
	s, err := store.Open(filepath.Join(d.daemon.StateDir, "state.db"),
		store.Reading{BootID: strings.TrimSpace(string(id)), Boot: bootTime(), Wall: time.Now()})
	if err != nil {
		return nil, err
	}
	_, err = s.Load(func(e policy.Entry) error {
		entries = append(entries, e)
		return nil
	})
	return entries, errors.Join(err, s.Close())
}

// held reads the tries in force.
func (d *driver) held() (nodes []policy.Node, err error) {
	l, err := loader.Open(loader.Options{BPFFS: d.daemon.BPFFS, MaxEntries: uint32(d.config.capacity)})
	if err != nil {
		return nil, err
	}
	defer l.Close()
	if !l.Reused() {
		return nil, errors.New("the maps in force were not taken over: the layout differs")
	}
	for _, kind := range []policy.Kind{policy.Allow, policy.Block} {
		for n, err := range l.Nodes(kind) {
			if err != nil {
				return nil, err
			}
			nodes = append(nodes, n)
		}
	}
	return nodes, nil
}

// compareNodes checks that the tries have a node for every entry, and that every node has the
// deadlines that follow from the entries that cover it. There may be more nodes, for entries that
// have ended and were not swept yet.
func compareNodes(entries []policy.Entry, held []policy.Node) error {
	b := policy.NewBook(1)
	for _, e := range entries {
		b.Load(e)
	}
	type place struct {
		kind   policy.Kind
		prefix netip.Prefix
	}
	there := map[place]bool{}
	now := bootTime()
	for _, n := range held {
		there[place{n.Kind, n.Prefix}] = true
		want := toCome(verdictOf(b.Covering(n.Kind, n.Prefix)), now)
		if got := toCome(n.Verdict, now); got != want {
			return fmt.Errorf("%s %s in the tries is %+v, want %+v by the entries on disk", n.Kind, n.Prefix, got, want)
		}
	}
	for _, e := range entries {
		if !there[place{e.Kind, e.Prefix}] && e.Live(now) {
			return fmt.Errorf("%s %s of %s is on disk and not in the tries", e.Kind, e.Prefix, e.Origin)
		}
	}
	return nil
}

func verdictOf(entries iter.Seq[policy.Entry]) (v policy.Verdict) {
	for e := range entries {
		until := &v.Allow
		switch e.Action {
		case policy.Drop:
			until = &v.Drop
		case policy.Limit:
			until = &v.Limit
		case policy.Shadow:
			until = &v.Shadow
		}
		*until = max(*until, e.Deadline.Tick())
	}
	if v.Shadow <= v.Drop || v.Shadow <= v.Limit {
		v.Shadow = policy.TickNever // a stronger action decides all the time
	}
	return v
}

// toCome returns a verdict without the deadlines that have passed.
func toCome(v policy.Verdict, now policy.Deadline) policy.Verdict {
	until := func(t policy.Tick) policy.Tick {
		if t <= now.Tick() {
			return policy.TickNever
		}
		return t
	}
	return policy.Verdict{Drop: until(v.Drop), Limit: until(v.Limit), Shadow: until(v.Shadow), Allow: until(v.Allow)}
}

func listedNames(entries []control.Entry) map[string]bool {
	names := map[string]bool{}
	for _, e := range entries {
		if e.Expires == nil || time.Until(*e.Expires) > doubt {
			names[fmt.Sprintf("%s %s %s%s of %s, %q by %s, forever %t", e.Kind, e.Prefix, e.Action, e.Rate, e.Origin,
				e.Reason, e.Author, e.Expires == nil)] = true
		}
	}
	return names
}

func storedNames(entries []policy.Entry) map[string]bool {
	names := map[string]bool{}
	for _, e := range entries {
		rate := ""
		if e.Action == policy.Limit {
			rate = e.Rate.String()
		}
		if e.Deadline-bootTime() > policy.Deadline(doubt) {
			names[fmt.Sprintf("%s %s %s%s of %s, %q by %s, forever %t", e.Kind, e.Prefix, e.Action, rate, e.Origin,
				e.Reason, e.Author, e.Deadline == policy.Forever)] = true
		}
	}
	return names
}

// differ returns the elements that are in only one of two sets, limited to what fits a screen.
func differ(want, got map[string]bool) string {
	const most = 20
	var lines []string
	for _, side := range []struct {
		sign     string
		all, not map[string]bool
	}{{"-", want, got}, {"+", got, want}} {
		for _, name := range slices.Sorted(maps.Keys(side.all)) {
			if !side.not[name] {
				lines = append(lines, side.sign+name)
			}
		}
	}
	if len(lines) > most {
		lines = append(lines[:most], fmt.Sprintf("and %d more", len(lines)-most))
	}
	return strings.Join(lines, "\n")
}

// probe runs the attached program on packets from listed sources and from sources beside them.
func (d *driver) probe(entries []policy.Entry) error {
	p, err := d.attached()
	if err != nil {
		return err
	}
	defer p.Close()
	const drop = 1 // XDP_DROP
	for range probes {
		src := d.source(entries)
		begin := bootTime()
		action, err := p.Run(&ebpf.RunOptions{Data: d.frame(src)})
		if err != nil {
			return err
		}
		// An entry that ends at this moment may be decided either way.
		before := policy.Decide(entries, src, begin-policy.Deadline(time.Second))
		after := policy.Decide(entries, src, bootTime())
		if before != after || after == policy.Limited {
			continue
		}
		d.probed[after]++
		if (action == drop) != (after == policy.Blocked) {
			return fmt.Errorf("the program in force returns %d for %s, want %s as by the model", action, src, after)
		}
	}
	return nil
}

func (d *driver) source(entries []policy.Entry) netip.Addr {
	if len(entries) == 0 || d.IntN(4) == 0 {
		return netip.AddrFrom4([4]byte{198, 18, byte(d.IntN(5)), byte(d.IntN(80))})
	}
	p := entries[d.IntN(len(entries))].Prefix
	if d.IntN(2) == 0 { // there are few entries made by hand
		if hands := slices.IndexFunc(entries, func(e policy.Entry) bool { return e.Origin == hand }); hands >= 0 {
			p = entries[hands].Prefix
		}
	}
	a := p.Addr().AsSlice()
	a[len(a)-1] ^= byte(d.IntN(4))
	src, _ := netip.AddrFromSlice(a)
	return src
}

// attached opens the program that the pinned link runs.
func (d *driver) attached() (*ebpf.Program, error) {
	pins, err := filepath.Glob(filepath.Join(d.daemon.BPFFS, "gen-*", "prog_"+wireName))
	if err != nil {
		return nil, err
	}
	id, err := linkedProgram(filepath.Join(d.daemon.BPFFS, "links", wireName))
	if err != nil {
		return nil, err
	}
	for _, pin := range pins {
		p, err := ebpf.LoadPinnedProgram(pin, nil)
		if err != nil {
			return nil, err
		}
		info, err := p.Info()
		if err != nil {
			return nil, errors.Join(err, p.Close())
		}
		if have, _ := info.ID(); have == id {
			return p, nil
		}
		if err := p.Close(); err != nil {
			return nil, err
		}
	}
	return nil, cmp.Or(err, fmt.Errorf("none of %d pinned programs is program %d, the program of the link", len(pins),
		id))
}

func bootTime() policy.Deadline {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic(err)
	}
	return policy.Deadline(ts.Nano())
}
