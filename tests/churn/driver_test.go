package churn

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/policy"
)

const (
	// An entry "for a day" does not end during the test.
	day = "24h"
	// slack is how long the kernel may enforce an entry after its end. Ends are rounded up.
	slack = 2 * time.Second

	stayFocused = 100 // changes in one neighbourhood before moving to the next
	mostInFocus = 40  // entries of a neighbourhood before some are removed
	mostAtOnce  = 8   // prefixes in one request
	importEvery = 500 * time.Millisecond
	killOneIn   = 400 // one kill per this many changes
	fewestKills = 2   // during imports
)

// listSizes returns the sizes of the lists that are imported in turn. They grow in small steps,
// which are patched into the index until it is full, and in large ones, for which it is rebuilt,
// and shrink again. The large step is larger in long runs.
func listSizes(cases uint64) []int {
	if cases > defaultCases {
		return []int{300, 4_000, 14_000, 28_000, 220_000, 1_000}
	}
	return []int{300, 4_000, 14_000, 28_000, 90_000, 1_000}
}

// driver makes changes one after the other, knows the effect of each on every source, and kills the
// daemon in between.
type driver struct {
	*rand.Rand
	world   *world
	checker *checker
	host    *host
	client  *control.Client
	model   model
	pool    []netip.Prefix
	sizes   []int // of the lists, in turn
	next    int   // position in sizes
	since   time.Time
	recent  []string // the last requests and their results

	changes, imports, lapses, killsInImport int
}

func newDriver(h *host, w *world, c *checker, cases, seed uint64) *driver {
	sizes := listSizes(cases)
	return &driver{
		Rand: rand.New(rand.NewPCG(seed, 2)), world: w, checker: c, host: h, model: model{},
		client: control.NewClient(h.daemon.Socket), sizes: sizes, pool: w.bulk(slices.Max(sizes) + 10_000),
	}
}

// prepare adds the entries that stay listed throughout, before the first look-up.
func (d *driver) prepare(ctx context.Context) error {
	for _, e := range d.world.start {
		r := request{kind: e.Kind, action: e.Action, origin: e.Origin, prefixes: []netip.Prefix{e.Prefix}}
		if err := r.send(ctx, d.client); err != nil {
			return err
		}
		d.model = d.model.after(r.change(time.Now()))
	}
	r := d.nextList()
	if err := r.send(ctx, d.client); err != nil {
		return err
	}
	d.model = d.model.after(r.change(time.Now()))
	for i, s := range d.world.sources {
		known := d.model.known(s.addr)
		if s.class != checkClassCHANGING && known != s.class.known() {
			return fmt.Errorf("%s is not %s at the start", s.addr, s.class)
		}
		d.checker.settle(i, known)
	}
	return nil
}

// drive starts the daemon on the given CPUs and makes changes until enough is done.
func (d *driver) drive(ctx context.Context, cpus unix.CPUSet, prepared chan<- bool) error {
	// The daemon inherits the CPUs. Never unlocked, so that the thread ends.
	runtime.LockOSThread()
	if err := unix.SchedSetaffinity(0, &cpus); err != nil {
		return fmt.Errorf("leave the CPU of the look-ups: %w", err)
	}
	if err := d.host.start(ctx, false); err != nil {
		return err
	}
	if err := d.prepare(ctx); err != nil {
		return err
	}
	close(prepared)
	return d.run(ctx)
}

// run makes changes until both the checker and the driver have done enough.
func (d *driver) run(ctx context.Context) error {
	for !d.checker.enough.Load() || !d.enough() {
		if err := d.step(ctx); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}

// enough reports whether every event that the test needs has happened.
func (d *driver) enough() bool {
	return d.imports > len(d.sizes) && d.killsInImport >= fewestKills && d.host.killedStarts > 0 &&
		d.checker.mapSets.Load() > 1 && d.lapses > 0 && d.host.resized > 0
}

func (d *driver) step(ctx context.Context) error {
	if gone := d.model.lapsed(time.Now()); len(gone.remove) > 0 {
		d.lapses += len(gone.remove)
		d.acknowledged(gone)
	}
	if d.changes%stayFocused == 0 {
		d.checker.focus.Store(int64(d.IntN(len(d.world.neighbourhoods))))
	}
	if time.Since(d.since) > importEvery {
		defer func() { d.since = time.Now() }()
		d.imports++
		missing := d.killsInImport < fewestKills || d.checker.mapSets.Load() < 2
		return d.perform(ctx, d.nextList(), missing || d.IntN(4) == 0)
	}
	r, ok := d.propose()
	if !ok {
		return nil
	}
	d.changes++
	return d.perform(ctx, r, d.IntN(killOneIn) == 0)
}

// asked marks the sources whose verdict may change from now on.
func (d *driver) asked(c change) {
	var covered []int
	for i, s := range d.world.sources {
		if !c.covers(s.addr) {
			continue
		}
		if covered = append(covered, i); s.class == checkClassCHANGING {
			d.checker.settle(i, checkSettledUNSETTLED)
		}
	}
	if len(covered) > 0 {
		d.checker.hot.Store(int64(covered[d.IntN(len(covered))]))
	}
}

// acknowledged records a change, and the verdicts that are known from now on.
func (d *driver) acknowledged(c change) {
	d.model = d.model.after(c)
	for i, s := range d.world.sources {
		if s.class == checkClassCHANGING && c.covers(s.addr) {
			d.checker.settle(i, d.model.known(s.addr))
		}
	}
}

// perform sends a request until it is acknowledged. If kill is set, the daemon is killed at a
// random moment around the first attempt.
func (d *driver) perform(ctx context.Context, r request, kill bool) error {
	d.note("%s", r)
	d.asked(r.change(time.Now()))
	if kill {
		if done, err := d.performKilled(ctx, r); done || err != nil {
			return err
		}
	}
	if err := r.send(ctx, d.client); err != nil {
		return fmt.Errorf("%s: %w", r, err)
	}
	d.acknowledged(r.change(time.Now()))
	return nil
}

// performKilled reports whether the request was acknowledged before the daemon was killed. When it
// returns, the next daemon runs and look-ups use its program.
func (d *driver) performKilled(ctx context.Context, r request) (done bool, err error) {
	killed := make(chan error, 1)
	time.AfterFunc(r.moment(d.Rand), func() { killed <- d.host.kill() })
	unanswered := r.send(ctx, d.client)
	d.note("kill -9, answer: %v", unanswered)
	if unanswered == nil {
		d.acknowledged(r.change(time.Now()))
	} else if r.list != nil {
		d.killsInImport++
	}
	if err := <-killed; err != nil {
		return false, err
	}
	if err := d.host.restart(ctx, d.Rand); err != nil {
		return false, err
	}
	d.note("restarted")
	return unanswered == nil, d.checker.waitTurn(ctx)
}

// explain logs what was changed around a source whose verdict was wrong.
func (d *driver) explain(t *testing.T, source netip.Addr) {
	t.Helper()
	for _, h := range d.model {
		if h.Prefix.Contains(source) {
			t.Logf("the daemon has acknowledged: %s %s %s of %s, over %s", h.Kind, h.Action, h.Prefix, h.Origin, h.over)
		}
	}
	t.Logf("the last requests: %q", d.recent)
}

// note keeps the last requests for the failure report.
func (d *driver) note(format string, args ...any) {
	const most = 10
	if len(d.recent) == most {
		d.recent = d.recent[1:]
	}
	d.recent = append(d.recent, time.Now().Format(time.StampMilli)+" "+fmt.Sprintf(format, args...))
}

// propose returns a change in the focused neighbourhood that keeps the listed sources listed and
// the unlisted ones unlisted, if it finds one.
func (d *driver) propose() (request, bool) {
	const tries = 20
	n := d.world.neighbourhoods[d.checker.focus.Load()]
	for range tries {
		r := d.random(n)
		c := r.change(time.Now())
		if len(r.prefixes) > 0 && !d.world.reliesOn(c) && d.model.keeps(d.world, c) {
			return r, true
		}
	}
	return request{}, false
}

// random returns any change in a neighbourhood.
func (d *driver) random(n neighbourhood) request {
	here := d.entriesIn(n)
	choice := d.IntN(10)
	if len(here) > mostInFocus {
		choice = 0
	}
	if choice < 4 && len(here) > 0 {
		e := here[d.IntN(len(here))]
		r := request{kind: e.Kind, action: e.Action, origin: e.Origin, prefixes: []netip.Prefix{e.Prefix}}
		if choice < 3 {
			r.remove = true
		} else {
			r.ttl = d.ttl()
		}
		return r
	}
	r := request{kind: policy.Block, action: policy.Drop, origin: []string{originAlways, "hand", "other"}[d.IntN(3)],
		ttl: d.ttl()}
	switch d.IntN(4) {
	case 0:
		r.action = policy.Shadow
	case 1:
		r.kind, r.action = policy.Allow, policy.NoAction
	}
	count := 1
	if d.IntN(2) == 0 {
		count += d.IntN(mostAtOnce)
	}
	for range count {
		r.prefixes = append(r.prefixes, d.prefixIn(n))
	}
	return r
}

// prefixIn returns a source, or a prefix of any length that covers one or is next to one.
func (d *driver) prefixIn(n neighbourhood) netip.Prefix {
	s := d.world.sources[n.first+d.IntN(n.count)]
	for d.IntN(2) == 0 && s.class != checkClassCHANGING {
		s = d.world.sources[n.first+d.IntN(n.count)]
	}
	bits := d.world.bits
	if d.IntN(2) == 0 {
		bits -= d.IntN(d.world.bits - d.world.widest + 1)
	}
	if d.IntN(8) == 0 {
		return prefix(d.world.inside(prefix(s.addr, d.world.near)), bits)
	}
	return prefix(s.addr, bits)
}

func (d *driver) entriesIn(n neighbourhood) []held {
	var here []held
	for _, h := range d.model {
		if h.Origin != originFeed && (h.Prefix.Overlaps(n.listed) || h.Prefix.Overlaps(n.near) ||
			h.Prefix.Overlaps(n.sibling)) {
			here = append(here, h)
		}
	}
	return here
}

// ttl returns forever, a time longer than the test, or a short time.
func (d *driver) ttl() string {
	return []string{"", "", day, fmt.Sprintf("%dh", 25+d.IntN(100)), fmt.Sprintf("%ds", 1+d.IntN(2))}[d.IntN(5)]
}

// nextList returns an import of the next size: the part of the pool that is in every list, and a
// random choice of the rest as long as it is not needed.
func (d *driver) nextList() request {
	size := d.sizes[d.next%len(d.sizes)]
	d.next++
	start := d.IntN(len(d.pool) - size)
	r := request{kind: policy.Block, action: policy.Drop, origin: originFeed, prefixes: slices.Clone(d.world.feed),
		ttl: []string{"", "", day}[d.IntN(3)]}
	for _, both := range d.world.either {
		i := d.IntN(2)
		d.leaveOut(&r, both[i], both[1-i])
	}
	for _, p := range d.world.feedable {
		if d.IntN(2) == 0 {
			d.leaveOut(&r, p)
		} else {
			r.prefixes = append(r.prefixes, p)
		}
	}
	r.list = new(strings.Builder)
	for _, p := range r.prefixes {
		fmt.Fprintln(r.list, p)
	}
	for _, p := range d.pool[start : start+size] {
		fmt.Fprintln(r.list, p)
	}
	return r
}

// leaveOut removes a prefix from a list and adds others, if the sources that must be listed stay
// listed. Otherwise it adds all of them.
func (d *driver) leaveOut(r *request, p netip.Prefix, in ...netip.Prefix) {
	without := *r
	without.prefixes = append(slices.Clone(r.prefixes), in...)
	without.gone = append(slices.Clone(r.gone), p)
	if d.model.keeps(d.world, without.change(time.Now())) {
		*r = without
		return
	}
	r.prefixes = append(append(r.prefixes, in...), p)
}
