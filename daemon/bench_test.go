package daemon

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/paraxial/paraxial/config"
	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/control/broadcast"
	"github.com/paraxial/paraxial/control/wire"
	"github.com/paraxial/paraxial/engine"
	"github.com/paraxial/paraxial/guard"
	"github.com/paraxial/paraxial/ladder"
	"github.com/paraxial/paraxial/ladder/offenders"
	"github.com/paraxial/paraxial/policy"
	"github.com/paraxial/paraxial/store"
	"github.com/paraxial/paraxial/tags"
)

var errKernel = errors.New("kernel says no")

// fakeKernel is a kernel in a map. If it is full, it accepts no nodes.
type fakeKernel struct {
	nodes map[string]policy.Verdict
	full  bool
}

// nodeKey identifies a node in fakeKernel.
func nodeKey(n policy.Node) string { return n.Kind.String() + " " + n.Prefix.String() }

func (k *fakeKernel) Apply(_ context.Context, d policy.Delta) error {
	for _, n := range d.Put {
		if k.full {
			return errKernel
		}
		k.nodes[nodeKey(n)] = n.Verdict
	}
	for _, n := range d.Delete {
		delete(k.nodes, nodeKey(n))
	}
	return nil
}

func (k *fakeKernel) GrowHits(uint32) error    { return nil }
func (k *fakeKernel) ClearHits(uint32)         {}
func (k *fakeKernel) Hits(uint32) uint64       { return 0 }
func (k *fakeKernel) Sampled() (uint64, error) { return 0, nil }

// heapPublisher keeps indexes in ordinary memory.
type heapPublisher struct{}

type heapMemory []uint64

func (m heapMemory) Words() []uint64 { return m }
func (heapMemory) Close() error      { return nil }

func (heapPublisher) Allocate(_ policy.Family, lines uint32) (engine.Memory, error) {
	const wordsPerLine = 8
	return make(heapMemory, lines*wordsPerLine), nil
}

func (heapPublisher) Publish(policy.Family, engine.Memory) (engine.Memory, error) { return nil, nil }
func (heapPublisher) Unpublish(policy.Family) error                               { return nil }

// bench is a daemon with a real store and a fake kernel.
type bench struct {
	*testing.T
	*Daemon
	kernel *fakeKernel
}

func newBench(t *testing.T, limit int) *bench {
	t.Helper()
	k := &fakeKernel{nodes: map[string]policy.Verdict{}}
	return &bench{T: t, kernel: k, Daemon: newDaemonOver(t, k, filepath.Join(t.TempDir(), StoreFile), limit)}
}

// kernelAndDrops is the part of the loader that a daemon in a test needs.
type kernelAndDrops interface {
	engine.Kernel
	wire.DropCounters
}

// newDaemonOver returns a daemon with the given kernel and a store at path.
func newDaemonOver(tb testing.TB, k kernelAndDrops, path string, limit int) *Daemon {
	tb.Helper()
	clock, err := engine.NewClock()
	if err != nil {
		tb.Fatal(err)
	}
	st, err := store.Open(path, clock.Reading())
	if err != nil {
		tb.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	d := &Daemon{
		log: log, store: st, broadcast: broadcast.New(), detached: make(chan struct{}),
		offenders: offenders.In(filepath.Dir(path)), detection: &detection{}, nics: &nics{log: log},
		capacity: func() map[string]int { return nil },
		tags:     tags.New(filepath.Join(filepath.Dir(path), setsFolder)),
	}
	d.enforcer = &enforcer{d: d}
	d.ladder.Store(ladder.New(1000, 0))
	d.ruling = newRuling(d, log)
	d.reporting = &reporting{Daemon: d}
	d.guard = guard.NewReader(log, func() config.Guard { return d.settings().Guard })
	d.cfg.Store(&config.Config{MaxEntries: limit})
	d.engine = engine.New(engine.Options{
		Log: log, Clock: clock, Store: st, Kernel: k, Publisher: heapPublisher{},
		Room: policy.RoomFor(limit, limit), DropCounts: uint32(limit) + 1,
		Observe: func(time.Duration) {}, Saved: func(error) {},
	})
	d.wire = &wire.Converter{Log: log, Ledger: d.engine, Drops: k}
	tb.Cleanup(func() {
		d.engine.Close()
		st.Close()
		d.guard.Close()
	})
	return d
}

// request blocks as a client does.
func (b *bench) request(r control.Block) error {
	_, err := b.Block(b.Context(), control.Caller{UID: 7}, r)
	return err
}

// prefixes parses prefixes.
func prefixes(list ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, s := range list {
		p, _, err := policy.ParsePrefix(s)
		if err != nil {
			panic(err)
		}
		all = append(all, p)
	}
	return all
}

// shadow returns a request for shadow entries that do not expire.
func shadow(list ...string) control.Block {
	return control.Block{Prefixes: prefixes(list...), Action: policy.Shadow, For: policy.TTLForever, Origin: "cli"}
}

// allow allows prefixes without expiry.
func (b *bench) allow(list ...string) {
	b.Helper()
	r := control.Allow{Prefixes: prefixes(list...), For: policy.TTLForever, Origin: "cli"}
	if _, err := b.Allow(b.Context(), control.Caller{}, r); err != nil {
		b.Fatal(err)
	}
}

// copies counts the entries in the book and in the store, and the nodes in the kernel.
type copies struct{ book, stored, kernel int }

func (b *bench) copies() copies {
	b.Helper()
	c := copies{kernel: len(b.kernel.nodes)}
	b.engine.Read(func(book *policy.Book) {
		for _, n := range book.Counts() {
			c.book += n
		}
	})
	if _, err := b.store.Load(func(policy.Entry) error {
		c.stored++
		return nil
	}); err != nil {
		b.Fatal(err)
	}
	return c
}

// TestCodesOfRefusedChanges checks that each refusal of the engine has a code of its own.
func TestCodesOfRefusedChanges(t *testing.T) {
	b := newBench(t, 1)
	code := func() string {
		err := b.request(shadow("192.0.2.1", "192.0.2.2"))
		e, ok := errors.AsType[*control.Error](err)
		if !ok {
			t.Fatalf("error %v, want one with a code", err)
		}
		return e.Code
	}
	if got := code(); got != control.CodeTooLarge {
		t.Errorf("without room: code %s, want %s", got, control.CodeTooLarge)
	}
	if err := b.store.Close(); err != nil {
		t.Fatal(err)
	}
	err := b.request(shadow("192.0.2.1"))
	if e, ok := errors.AsType[*control.Error](err); !ok || e.Code != control.CodeStoreFailed {
		t.Errorf("without a disk: %v, want code %s", err, control.CodeStoreFailed)
	}
}

// restartRules puts the rules of the configuration in force, as a start or a reload does.
func (b *bench) restartRules() {
	limits := b.settings().Detection
	b.ladder.Store(ladder.New(limits.MaxBans, limits.Breaker.BansPerMinute))
	b.ruling.ready(b.settings())
	b.ruling.configure(b.settings(), b.engine.Now(), b.ladder.Load())
}
