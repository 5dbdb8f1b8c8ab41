// Package loader puts Paraxial's packet filter into the kernel and keeps it there. It loads
// and pins programs and maps, attaches them to interfaces, replaces them without a gap,
// attests that they are in force, applies changes to the tries, and reads counters and
// events.
//
// All objects that have to outlive the daemon are pinned on a BPF file system:
//
//	DIR/links/IFACE        the bpf_link, at a path that never changes
//	DIR/gen-N/MAP          the maps of generation N
//	DIR/gen-N/hits_S       segments of the drop counters, and limits_S of the limits
//	DIR/gen-N/prog_IFACE   the programs of generation N
//
// A generation never changes once a link points into it, except that programs are added.
// The link decides: its program is in exactly one generation, and that generation is in
// force. So a start after a crash at any point finds the generation that filters, and
// removes all others.
//
// One Loader at a time can be open over a directory: it holds a lock.
package loader

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"
	"github.com/paraxial/paraxial/policy"
	"github.com/paraxial/paraxial/track"
)

// DefaultBPFFS is the directory of the pins unless Options has another.
const DefaultBPFFS = "/sys/fs/bpf/paraxial"

// Options of Open.
type Options struct {
	// BPFFS is the directory of the pins, DefaultBPFFS if empty. It must be on a
	// mounted BPF file system. Its last element is made if it is missing.
	BPFFS string
	// MaxEntries is the capacity of each trie.
	MaxEntries uint32
	// TrackCapacity is the number of sources that can be tracked,
	// DefaultTrackCapacity if 0. They need memory only while classes are set.
	TrackCapacity uint32
	// Tunnels are those that the program looks into, besides the outer source.
	Tunnels Tunnels
	// Log gets messages about pins. If it is nil, they are discarded.
	Log *slog.Logger
}

// A Loader holds the filter of one pin directory. Its methods may be called
// from several goroutines, but none after Close.
//
// Lock order: asking, then mu. No method holds two others of the locks at a time. Attach
// holds mu while the verifier works, and Ask does not. mu guards what is attached. Each
// publishedIndex and each segmented has a lock of its own. It is held while the kernel
// waits for the readers of a map, which takes one or more grace periods. Attest, Glance
// and Ask take none of these. The Tracker has a lock of its own too, and takes none of the
// others.
type Loader struct {
	log     *slog.Logger
	pins    pinDir
	gen     generation // made by this Loader
	reused  bool
	specs   map[build]*ebpf.CollectionSpec
	maps    mapSet
	elder   mapSet // maps of the previous generation that were not taken over
	tries   []table
	hits    *segmented
	limits  *segmented
	credit  words
	tracker *Tracker

	indexes map[policy.Family]*publishedIndex // the map is never changed after Open

	asking sync.Mutex       // guards twins, and is held by Ask
	twins  map[uint32]*twin // by slot, of those that Ask was called for

	mu       sync.Mutex      // guards what follows, pins and elder
	moved    map[uint32]bool // slots that count in maps, and no longer in elder
	attached map[string]*attached
}

// Open prepares a new generation. It takes over the maps of the running filter that have
// the right shape and capacity, and makes new ones in place of the others (inherit.go). The
// running filter stays in force: nothing changes on any interface before Attach. Open
// removes the remains of crashes.
//
// It needs CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON, or root.
func Open(o Options) (*Loader, error) {
	if o.MaxEntries == 0 {
		return nil, errors.New("open filter: max_entries must be at least 1")
	}
	if o.TrackCapacity == 0 {
		o.TrackCapacity = DefaultTrackCapacity
	}
	if o.TrackCapacity > track.MaxCapacity {
		return nil, fmt.Errorf("open filter: track %d sources: want %d at most", o.TrackCapacity, track.MaxCapacity)
	}
	if o.BPFFS == "" {
		o.BPFFS = DefaultBPFFS
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, fmt.Errorf("open filter: %w; before Linux 5.11 also LimitMEMLOCK=infinity", explain(err))
	}
	pins, err := openPinDir(o.BPFFS)
	if err != nil {
		return nil, fmt.Errorf("open filter: %w", explain(err))
	}
	specs, err := loadSpecs(o.MaxEntries, o.TrackCapacity, o.Tunnels)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open filter: %w", err), pins.unlock())
	}
	l := &Loader{
		log: o.Log, pins: pins, specs: specs,
		indexes: map[policy.Family]*publishedIndex{}, moved: map[uint32]bool{}, twins: map[uint32]*twin{},
		attached: map[string]*attached{},
	}
	if err := l.open(o.TrackCapacity); err != nil {
		_ = errors.Join(l.closeMaps(), l.pins.unlock())
		return nil, fmt.Errorf("open filter: %w", explain(err))
	}
	return l, nil
}

func (l *Loader) open(trackCapacity uint32) error {
	last, err := l.pins.tidy(l.log)
	if err != nil {
		return err
	}
	if err := l.takeMaps(last.inForce); err != nil {
		return err
	}
	l.tries = l.maps.tables()
	if err := l.openIndexes(); err != nil {
		return err
	}
	if l.credit, err = mapWords(l.maps[plainMapEventCredit]); err != nil {
		return err
	}
	if l.tracker, err = newTracker(l.maps, l.specs[plain], trackCapacity); err != nil {
		return err
	}
	if l.gen, err = l.pins.nextGeneration(last.highest); err != nil {
		return err
	}
	if err := l.gen.ensure(l.maps); err != nil {
		return err
	}
	if err := l.growSegments(l.hits, 1); err != nil {
		return err
	}
	return errors.Join(l.hits.pin(l.gen), l.limits.pin(l.gen))
}

// Reused tells whether all maps were taken over from a running filter. If not, the tries
// may be empty, and must be filled before Attach to leave no gap.
func (l *Loader) Reused() bool { return l.reused }

// Capacity returns the number of elements that each map can hold, by the name of the map.
// For hits and limits it is the number of ids, for tracked the number of sources.
func (l *Loader) Capacity() map[string]int {
	c := make(map[string]int, len(l.maps))
	for name, m := range l.maps {
		c[name] = int(m.MaxEntries())
	}
	for _, a := range []*segmented{l.hits, l.limits} {
		c[a.name] = int(a.capacity)
	}
	c[plainMapTracked] = l.tracker.Capacity()
	return c
}

// Commit removes the generations that no link points into any more, and closes their maps.
// Call it once every interface is attached.
func (l *Loader) Commit() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.pins.removeOldGenerations(l.gen); err != nil {
		return fmt.Errorf("remove old generations: %w", err)
	}
	return l.forgetElder()
}

// Close closes the file descriptors and releases the memory of the index. The filter stays
// in force.
func (l *Loader) Close() error {
	var errs []error
	for _, x := range l.indexes {
		errs = append(errs, x.close())
	}
	l.asking.Lock()
	defer l.asking.Unlock()
	for slot := range l.twins {
		l.closeTwin(slot)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.attached {
		errs = append(errs, a.close())
	}
	clear(l.attached)
	return errors.Join(append(errs, l.closeMaps(), l.pins.unlock())...)
}

func (l *Loader) closeMaps() error {
	return errors.Join(l.tracker.close(), l.hits.close(), l.limits.close(), l.maps.close(), l.elder.close())
}
