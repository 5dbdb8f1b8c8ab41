package soak

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/policy"
)

// capacities fit into one segment of drop counters, so that the number of segments does not depend
// on the history.
var capacities = []int{31_000, 32_000}

const (
	hand       = "hand"
	perm       = "perm"
	small      = "small"
	bulk       = "bulk"
	largeList  = 24_000 // is staged on disk
	smallList  = 2_000  // is not staged
	overlap    = 5_000  // lists start within this: old and new must fit at the same time
	permanents = 50

	// A finite life ends soon, or long after the test.
	shortest, longest = 1, 4 // seconds
)

// driver makes random changes, and keeps the entries in perm in force.
type driver struct {
	*rand.Rand
	*host
	mayKill bool
	done    map[string]int // actions by name

	compared int
	probed   map[policy.Outcome]int
	passed   map[netip.Addr]int // packets, by source
}

type action struct {
	name   string
	weight int
	do     func(*driver, context.Context) error
}

func actions() []action {
	return []action{
		{"block", 40, (*driver).block},
		{"unblock", 15, (*driver).unblock},
		{"allow", 10, (*driver).allow},
		{"unallow", 5, (*driver).unallow},
		{"small import", 10, func(d *driver, ctx context.Context) error {
			return d.load(ctx, small, d.ttl(),
				d.IntN(smallList))
		}},
		{"large import", 3, func(d *driver, ctx context.Context) error {
			return d.load(ctx, bulk, d.ttl(), largeList-d.IntN(largeList/4))
		}},
		{"look", 10, (*driver).look},
		{"flap", 4, (*driver).flap},
		{"reload", 4, (*driver).change},
		{"kill", 2, (*driver).die},
		{"stop", 1, (*driver).rest},
	}
}

// churn performs actions until the deadline, and until at least one of them was a block.
func (d *driver) churn(ctx context.Context, until time.Time) error {
	var bag []action
	for _, a := range actions() {
		bag = append(bag, slices.Repeat([]action{a}, a.weight)...)
	}
	for time.Now().Before(until) || d.done["block"] == 0 {
		a := bag[d.IntN(len(bag))]
		if !d.mayKill && (a.name == "kill" || a.name == "stop") {
			continue
		}
		if err := a.do(d, ctx); err != nil {
			return fmt.Errorf("%s: %w", a.name, err)
		}
		d.done[a.name]++
	}
	return nil
}

// prefixes covers a few hundred hosts and the networks around them, so that entries overlap.
func (d *driver) prefixes() []string {
	var all []string
	for range 1 + d.IntN(5) {
		bits := 24 + d.IntN(9)
		a := netip.AddrFrom4([4]byte{198, 18, byte(d.IntN(4)), byte(d.IntN(64))})
		if d.IntN(3) == 0 {
			a, bits = netip.MustParseAddr(fmt.Sprintf("2001:db8:18:%x::%x", d.IntN(4), d.IntN(64))), 56+d.IntN(73)
		}
		all = append(all, netip.PrefixFrom(a, bits).Masked().String())
	}
	return all
}

func (d *driver) ttl() string {
	return []string{"", "24h", fmt.Sprintf("%ds", shortest+d.IntN(longest))}[d.IntN(3)]
}

func (d *driver) block(ctx context.Context) error {
	r := control.BlockRequest{Prefixes: d.prefixes(), Origin: hand, For: d.ttl(), Reason: "soak",
		Replace: d.IntN(2) == 0}
	switch d.IntN(4) {
	case 0:
		r.Action = "shadow"
	case 1:
		r.Rate = []string{"10/s", "1Mbit/s"}[d.IntN(2)]
	}
	_, err := d.client.Block(ctx, r)
	return err
}

func (d *driver) unblock(ctx context.Context) error {
	_, err := d.client.Unblock(ctx, control.UnblockRequest{Prefixes: d.prefixes(), Origin: hand})
	return err
}

func (d *driver) allow(ctx context.Context) error {
	_, err := d.client.Allow(ctx, control.AllowRequest{Prefixes: d.prefixes(), Origin: hand, For: d.ttl()})
	return err
}

func (d *driver) unallow(ctx context.Context) error {
	_, err := d.client.Unallow(ctx, control.UnallowRequest{Prefixes: d.prefixes(), Origin: hand})
	return err
}

// load imports a list that is partly old and partly new.
func (d *driver) load(ctx context.Context, origin, ttl string, size int) error {
	start := d.IntN(overlap)
	var list strings.Builder
	for i := range size {
		n := start + i
		fmt.Fprintf(&list, "100.%d.%d.%d\n", 64+n>>16, n>>8&255, n&255)
	}
	_, err := d.client.Import(ctx, control.ImportRequest{Origin: origin, For: ttl, Accept: true},
		strings.NewReader(list.String()),
		func(control.ImportProgress) {})
	return err
}

// look reads everything that can be read, and sometimes stops half-way.
func (d *driver) look(ctx context.Context) error {
	short, cancel := context.WithTimeout(ctx, time.Duration(1+d.IntN(100))*time.Millisecond)
	defer cancel()
	_ = d.client.Watch(short, func(control.Event) error { return nil })
	gaveUp := errors.New("given up")
	left := d.IntN(largeList)
	err := d.client.Entries(ctx, "", "", func(control.Entry) error {
		if left--; left < 0 {
			return gaveUp
		}
		return nil
	})
	if errors.Is(err, gaveUp) {
		err = nil
	}
	_, statsErr := d.client.Stats(ctx)
	_, topErr := d.client.Top(ctx)
	return errors.Join(err, statsErr, topErr)
}

// flap sets an interface down and up, or removes and recreates it.
func (d *driver) flap(context.Context) error {
	pause := func() { time.Sleep(time.Duration(d.IntN(100)) * time.Millisecond) }
	if d.IntN(2) == 0 {
		if err := d.setFlapping(false); err != nil {
			return err
		}
		pause()
		return d.setFlapping(true)
	}
	if err := d.removeFlapping(); err != nil {
		return err
	}
	pause()
	return d.addFlapping()
}

// change changes the configuration.
func (d *driver) change(context.Context) error {
	d.config.flap = d.IntN(3) > 0
	d.config.guarded = d.IntN(2) == 0
	d.config.detect = d.IntN(2) == 0
	return d.reload()
}

// die kills the daemon with kill -9, when it is idle or busy, and starts it again.
func (d *driver) die(ctx context.Context) error {
	if d.IntN(2) == 0 {
		going := make(chan error, 1)
		begun := *d
		begun.Rand = rand.New(rand.NewPCG(d.Uint64(), 0))
		origin, size := []string{bulk, small}[d.IntN(2)], 1+d.IntN(largeList)
		go func() { going <- begun.load(ctx, origin, "", size) }()
		time.Sleep(time.Duration(d.IntN(60)) * time.Millisecond)
		defer func() { <-going }()
	}
	if err := d.kill(); err != nil {
		return err
	}
	return d.startAgain(ctx)
}

// rest stops the daemon in order. It compares the contents of the kernel and of the disk before the
// next start.
func (d *driver) rest(ctx context.Context) error {
	listed, err := d.list(ctx)
	if err != nil {
		return err
	}
	if err := d.stop(ctx); err != nil {
		return err
	}
	if err := d.compare(listed); err != nil {
		return err
	}
	return d.startAgain(ctx)
}

func (d *driver) startAgain(ctx context.Context) error {
	if d.IntN(2) == 0 {
		d.config.capacity = capacities[d.IntN(len(capacities))]
	}
	return d.start(ctx)
}

// prepare adds the entries that exist from the beginning to the end.
func (d *driver) prepare(ctx context.Context) error {
	var all []string
	for i := range permanents {
		all = append(all, permanent(i).String())
	}
	all = append(all, blockedSource)
	_, err := d.client.Block(ctx, control.BlockRequest{Prefixes: all, Origin: perm})
	return err
}

func permanent(i int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}), 32)
}

// settle removes the entries that churn has added, and imports a list of constant length, so that
// the result does not depend on the history.
func (d *driver) settle(ctx context.Context) error {
	d.config = settings{flap: true, capacity: d.config.capacity}
	if err := d.reload(); err != nil {
		return err
	}
	listed, err := d.list(ctx)
	if err != nil {
		return err
	}
	for _, e := range listed {
		if e.Origin != hand {
			continue
		}
		if e.Kind == "allow" {
			_, err = d.client.Unallow(ctx, control.UnallowRequest{Prefixes: []string{e.Prefix}, Origin: hand})
		} else {
			_, err = d.client.Unblock(ctx, control.UnblockRequest{Prefixes: []string{e.Prefix}, Origin: hand})
		}
		if err != nil {
			return err
		}
	}
	if err := errors.Join(d.load(ctx, small, "", 0), d.load(ctx, bulk, "", largeList)); err != nil {
		return err
	}
	_, err = d.client.Why(ctx, blockedSource)
	return errors.Join(err, d.protected(ctx))
}
