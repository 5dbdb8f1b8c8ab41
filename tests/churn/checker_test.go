package churn

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/paraxial/paraxial/tests/lab/frame"
)

const (
	// runs is the number of checker runs between two checks of the attached program.
	runs = 25

	xdpDrop = 1
	xdpPass = 2
)

// checker looks up all sources in the program that the link of an interface runs, continuously on
// one CPU, and compares the verdicts with the expected ones.
type checker struct {
	link    string // pin
	cases   uint64 // look-ups to do, of listed sources and of unlisted sources each
	world   *world
	sources []checkJudged // shared with the program
	spec    *ebpf.CollectionSpec
	own     map[string]*ebpf.Map
	force   inForce
	rand    *rand.Rand
	close   []func() error

	focus   atomic.Int64 // the neighbourhood where changes are being made
	hot     atomic.Int64 // a source that the current change affects
	turns   atomic.Uint64
	enough  atomic.Bool
	mapSets atomic.Int64 // number of map sets in force so far
	tallies [checkClassJUDGED_CLASSES]checkTally

	took          time.Duration
	programs      int
	seen          map[ebpf.MapID]bool // map sets seen
	attachedAsked int
}

func newChecker(w *world, link string, cases, seed uint64) (c *checker, err error) {
	c = &checker{link: link, cases: cases, world: w, own: map[string]*ebpf.Map{}, rand: rand.New(rand.NewPCG(seed, 1)),
		seen: map[ebpf.MapID]bool{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	if c.spec, err = loadCheck(); err != nil {
		return nil, err
	}
	delete(c.spec.Programs, checkProgParaxial) // that program is in the other collection
	for _, name := range []string{checkMapSources, checkMapTallies, checkMapWrongs} {
		m, err := ebpf.NewMap(c.spec.Maps[name])
		if err != nil {
			return nil, fmt.Errorf("make map %s: %w", name, err)
		}
		c.own[name] = m
		c.close = append(c.close, m.Close)
	}
	return c, c.shareSources()
}

// shareSources writes the sources into memory that the program reads.
func (c *checker) shareSources() error {
	m := c.own[checkMapSources]
	size := int(m.MaxEntries() * m.ValueSize())
	b, err := unix.Mmap(m.FD(), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("share the sources: %w", err)
	}
	c.close = append(c.close, func() error { return unix.Munmap(b) })
	shared := unsafe.Slice((*checkJudged)(unsafe.Pointer(&b[0])), m.MaxEntries())
	if len(c.world.sources) > len(shared) {
		return fmt.Errorf("%d sources, but room for %d", len(c.world.sources), len(shared))
	}
	c.sources = shared[:len(c.world.sources)]
	for i, s := range c.world.sources {
		copy(c.sources[i].Addr.In6U.U6Addr8[:], s.addr.AsSlice())
		c.sources[i].Class = uint64(s.class)
	}
	return nil
}

func (c *checker) Close() error {
	errs := []error{c.force.Close()}
	for _, f := range slices.Backward(c.close) {
		errs = append(errs, f())
	}
	return errors.Join(errs...)
}

// settle tells the program the expected verdict on a source from now on.
func (c *checker) settle(i int, known checkSettled) {
	const shift = 2
	number := c.sources[i].Known>>shift + 1
	atomic.StoreUint64(&c.sources[i].Known, number<<shift|uint64(known))
}

// run looks up until ctx is done. It returns an error at the first wrong verdict.
func (c *checker) run(ctx context.Context, cpu int) error {
	// Never unlocked: the thread stays on its CPU and ends with the goroutine.
	runtime.LockOSThread()
	var set unix.CPUSet
	set.Set(cpu)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("stay on CPU %d: %w", cpu, err)
	}
	for ctx.Err() == nil {
		if err := c.round(); err != nil {
			return err
		}
	}
	return nil
}

// round does some runs over the program that is attached when it starts.
func (c *checker) round() error {
	changed, err := c.force.follow(c.link, c.spec, c.own)
	if err != nil {
		return err
	}
	c.turns.Add(1)
	if changed {
		c.programs++
		c.seen[c.force.mapSet] = true
		c.mapSets.Store(int64(len(c.seen)))
	}
	begin := time.Now()
	for range runs {
		if err := c.runOnce(); err != nil {
			return err
		}
	}
	c.took += time.Since(begin)
	if err := c.askAttached(); err != nil {
		return err
	}
	return c.readTallies()
}

// window returns the sources to look up next: all, or those of the neighbourhood where changes are
// being made, or one that the current request affects. A verdict that is wrong for a few
// nanoseconds is seen only by continuous look-ups of that source.
func (c *checker) window() (first, count int) {
	switch c.rand.IntN(3) {
	case 0:
		n := c.world.neighbourhoods[c.focus.Load()]
		return n.first, n.count
	case 1:
		return int(c.hot.Load()), 1
	}
	return 0, len(c.sources)
}

func (c *checker) runOnce() error {
	first, count := c.window()
	err := errors.Join(
		c.force.checker.Variables[checkVarFirstSource].Set(uint32(first)),
		c.force.checker.Variables[checkVarSourceCount].Set(uint32(count)))
	if err != nil {
		return fmt.Errorf("choose the sources: %w", err)
	}
	program := c.force.checker.Programs[checkProgCheck]
	action, err := program.Run(&ebpf.RunOptions{Data: c.world.packet(c.world.sources[first].addr)})
	if err != nil {
		return fmt.Errorf("run the checker: %w", err)
	}
	if action != xdpPass {
		return fmt.Errorf("the checker does not find its sources: XDP action %d", action)
	}
	return nil
}

// askAttached asks the attached program itself about some of the sources. This takes one call per
// packet.
func (c *checker) askAttached() error {
	const questions = 50
	first, count := c.window()
	for range questions {
		i := first + c.rand.IntN(count)
		known := atomic.LoadUint64(&c.sources[i].Known)
		action, err := c.force.attached.Run(&ebpf.RunOptions{Data: c.world.packet(c.world.sources[i].addr)})
		if err != nil {
			return fmt.Errorf("run the attached program: %w", err)
		}
		if known != atomic.LoadUint64(&c.sources[i].Known) {
			continue
		}
		switch state := checkSettled(known & 3); {
		case state == checkSettledUNSETTLED:
		case action != wanted(state):
			return c.wrong("by the attached program", checkWrong{Source: uint32(i), Known: known, Action: action})
		default:
			c.attachedAsked++
		}
	}
	return nil
}

func wanted(s checkSettled) uint32 {
	if s == checkSettledDROPS {
		return xdpDrop
	}
	return xdpPass
}

// readTallies returns an error if a verdict was wrong.
func (c *checker) readTallies() error {
	wrong := uint64(0)
	for class := range c.tallies {
		if err := c.own[checkMapTallies].Lookup(uint32(class), &c.tallies[class]); err != nil {
			return fmt.Errorf("read the tallies: %w", err)
		}
		wrong += c.tallies[class].Wrong
	}
	c.enough.Store(c.tallies[checkClassLISTED].Right >= c.cases && c.tallies[checkClassUNLISTED].Right >= c.cases)
	if wrong == 0 {
		return nil
	}
	var first [3]checkWrong
	n := min(int(wrong), len(first))
	for i := range n {
		if err := c.own[checkMapWrongs].Lookup(uint32(i), &first[i]); err != nil {
			return fmt.Errorf("read the wrong verdicts: %w", err)
		}
	}
	return c.wrong(fmt.Sprintf("%d in one round", wrong), first[:n]...)
}

// wrongError reports wrong verdicts.
type wrongError struct {
	source netip.Addr // of the first wrong verdict
	text   string
}

func (e *wrongError) Error() string { return "wrong verdicts, " + e.text }

// wrong also tells whether the verdicts have stayed wrong, and which layer they come from: the index
// if the tries alone give another one, else the tries if the daemon reports another one, else the model
// of this test.
func (c *checker) wrong(how string, list ...checkWrong) error {
	e := &wrongError{source: c.world.sources[list[0].Source].addr, text: how}
	tries, err := c.force.triesAlone(c.own)
	if err != nil {
		return errors.Join(e, err)
	}
	defer tries.Close()
	for _, w := range list {
		source := c.world.sources[w.Source]
		e.text += fmt.Sprintf("; %s, %s: XDP action %d at boot time %s, want %d (change %d of it); asked again: %s, "+
			"the tries alone: %s", source.addr, source.class, w.Action, time.Duration(w.Time),
			wanted(checkSettled(w.Known&3)), w.Known>>2, c.flood(c.force.attached, source.addr),
			c.flood(tries.Programs[checkProgParaxial], source.addr))
	}
	return e
}

// flood returns the action for the last of many packets. While drops are few, the program looks up the
// tries, which hides a wrong answer of the index.
func (c *checker) flood(p *ebpf.Program, source netip.Addr) string {
	action, err := p.Run(&ebpf.RunOptions{Data: c.world.packet(source), Repeat: 5000})
	if err != nil {
		return err.Error()
	}
	return fmt.Sprint(action)
}

func (c checkClass) String() string {
	return [...]string{"listed throughout", "unlisted throughout", "changing"}[c]
}

// waitTurn returns once look-ups use the program that is attached now.
func (c *checker) waitTurn(ctx context.Context) error {
	for from := c.turns.Load(); c.turns.Load() < from+2; {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(time.Millisecond):
		}
	}
	return nil
}

// packet returns the smallest valid packet from a source.
func (w *world) packet(src netip.Addr) []byte {
	return frame.IP(src, src).Raw(frame.NoNextHeader, nil)
}
