package loader

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
	"github.com/paraxial/paraxial/track"
	"golang.org/x/sys/unix"
)

// DefaultTrackCapacity is the number of sources that can be tracked unless Options has
// another. They need 3.8 MiB while classes are set.
const DefaultTrackCapacity = 1 << 15

// sampleRing is the size of the ring of samples. It holds 26,000 samples, twice what
// arrives between two reads.
const sampleRing = 1 << 20

// Level and Class are types of package track.
type (
	Level = track.Level
	Class = track.Class
)

// A Tracker turns accounting on and reads its results: samples of the packets that pass,
// and exact counters of the tracked sources. It makes no decisions. Its methods may be
// called from several goroutines.
type Tracker struct {
	maps     mapSet
	lines    *ebpf.MapSpec // of the inner map of tracked
	rings    *ebpf.MapSpec // of the inner map of samples
	capacity uint32
	control  []byte

	mu       sync.Mutex
	levels   []Level
	classes  []Class
	sampling uint32
	on       *tracking // nil without classes
}

// tracking has the resources that exist only while classes are set.
type tracking struct {
	table  *track.Table
	lines  *ebpf.Map
	memory []byte
	ring   *ebpf.Map
	reader *ringbuf.Reader
	record ringbuf.Record
}

func newTracker(maps mapSet, spec *ebpf.CollectionSpec, capacity uint32) (*Tracker, error) {
	control, err := mapMemory(maps[plainMapTracking])
	if err != nil {
		return nil, err
	}
	t := &Tracker{
		maps: maps, capacity: capacity, control: control,
		lines: spec.Maps[plainMapTracked].InnerMap, rings: spec.Maps[plainMapSamples].InnerMap.Copy(),
	}
	t.rings.MaxEntries = sampleRing
	return t, nil
}

// Tracker returns the Tracker of the filter.
func (l *Loader) Tracker() *Tracker { return l.tracker }

// SetClasses sets the levels and classes by which packets are accounted: at most
// track.Levels and track.Detectors of them. Without classes accounting is off and needs no
// memory. After a change no source is tracked any more, because its counters would mean
// something else. During a change nothing is accounted for about 40 ms, so that no packet
// meets a partial configuration. After an error accounting may be off until classes are
// set again.
func (t *Tracker) SetClasses(levels []Level, classes []Class) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.setClasses(levels, classes); err != nil {
		return fmt.Errorf("account for %d classes: %w", len(classes), explain(err))
	}
	return nil
}

func (t *Tracker) setClasses(levels []Level, classes []Class) error {
	if len(classes) == 0 {
		return t.turnOff()
	}
	if err := track.Check(levels, classes); err != nil {
		return err
	}
	if t.on == nil {
		if err := t.turnOn(); err != nil {
			return errors.Join(err, t.turnOff())
		}
	} else if slices.Equal(t.levels, levels) && reflect.DeepEqual(t.classes, classes) {
		return nil
	}
	// An error from here on leaves accounting stopped. A caller that then sets the
	// previous classes again must not be told that they are in force.
	t.levels, t.classes = nil, nil
	if err := t.quiesce(); err != nil {
		return err
	}
	t.levels, t.classes = slices.Clone(levels), slices.Clone(classes)
	t.on.table.SetSampling(t.sampling)
	return t.on.table.Configure(levels, classes)
}

// quiesce waits until no program runs that has seen accounting on, and discards the
// samples in the ring. Writing an element of a map of maps waits for all programs, even
// if it has the same map already.
func (t *Tracker) quiesce() error {
	t.on.table.Stop()
	if err := t.maps[plainMapTracked].Put(uint32(0), t.on.lines); err != nil {
		return fmt.Errorf("put memory into map %s: %w", plainMapTracked, err)
	}
	return t.on.read(func(Sample) {})
}

// turnOn allocates the memory. Nothing is accounted yet.
func (t *Tracker) turnOn() (err error) {
	t.on = &tracking{}
	if t.on.ring, err = ebpf.NewMap(t.rings); err != nil {
		return fmt.Errorf("make a ring for samples: %w", err)
	}
	if t.on.reader, err = ringbuf.NewReader(t.on.ring); err != nil {
		return fmt.Errorf("open the ring of samples: %w", err)
	}
	t.on.reader.SetDeadline(time.Unix(1, 0)) // in the past: a read never waits
	if t.on.lines, err = ebpf.NewMap(t.lines); err != nil {
		kib := track.Lines(t.capacity) * track.LineSize / 1024
		return fmt.Errorf("make memory for %d sources, %d KiB: %w", t.capacity, kib, err)
	}
	if t.on.memory, err = mapMemory(t.on.lines); err != nil {
		return err
	}
	if t.on.table, err = track.New(t.control, t.on.memory, t.capacity); err != nil {
		return err
	}
	if err := t.maps[plainMapSamples].Put(uint32(0), t.on.ring); err != nil {
		return fmt.Errorf("put a ring into map %s: %w", plainMapSamples, err)
	}
	return nil // quiesce puts the lines into their map
}

// turnOff frees the memory.
func (t *Tracker) turnOff() error {
	if t.on == nil {
		return nil
	}
	var errs []error
	if t.on.table != nil {
		t.on.table.Stop()
	}
	// Each waits until no program uses the inner map.
	for _, name := range []string{plainMapTracked, plainMapSamples} {
		if err := t.maps[name].Delete(uint32(0)); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			errs = append(errs, fmt.Errorf("empty map %s: %w", name, err))
		}
	}
	errs = append(errs, t.on.close())
	t.on, t.levels, t.classes = nil, nil, nil
	return errors.Join(errs...)
}

func (o *tracking) close() error {
	var errs []error
	if o.reader != nil {
		errs = append(errs, o.reader.Close())
	}
	if o.memory != nil {
		errs = append(errs, unix.Munmap(o.memory))
	}
	for _, m := range []*ebpf.Map{o.ring, o.lines} {
		if m != nil {
			errs = append(errs, m.Close())
		}
	}
	return errors.Join(errs...)
}

// close ends accounting, because nobody would read the results. A process that is killed
// leaves it on. That does no harm: the ring fills up, and nothing grows.
func (t *Tracker) close() error {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.control == nil {
		return nil // closed before
	}
	err := errors.Join(t.turnOff(), unix.Munmap(t.control))
	t.control = nil
	return err
}

// SetSampling reports one in n packets, at random. 0, the initial value, reports none.
func (t *Tracker) SetSampling(n uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sampling = n
	if t.on != nil {
		t.on.table.SetSampling(n)
	}
}

// Track counts the packets of a source from now on. The source must have the length of its
// level. Tracking it twice changes nothing. The error is track.ErrFull if there is no room.
func (t *Tracker) Track(level int, source netip.Prefix) (slot uint32, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.on == nil {
		return 0, fmt.Errorf("track %s: accounting is off: set classes first", source)
	}
	if slot, err = t.on.table.Track(level, source); err != nil {
		return 0, fmt.Errorf("track %s: %w", source, err)
	}
	return slot, nil
}

// Untrack stops counting the packets of a source. It is not an error if it was not tracked.
func (t *Tracker) Untrack(level int, source netip.Prefix) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.on == nil {
		return nil
	}
	if err := t.on.table.Untrack(level, source); err != nil {
		return fmt.Errorf("end tracking %s: %w", source, err)
	}
	return nil
}

// Counts calls f for every tracked source with the counters of its slot, one for each class
// in their order: packets or bytes since Track, modulo 2^32. f must not keep the counters
// and must not call the Tracker.
func (t *Tracker) Counts(f func(slot uint32, level int, source netip.Prefix, counters *[track.Detectors]uint32)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.on != nil {
		t.on.table.Counts(f)
	}
}

// Capacity returns how many sources can be tracked.
func (t *Tracker) Capacity() int { return int(t.capacity) }

// InUse returns how many sources are tracked.
func (t *Tracker) InUse() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.on == nil {
		return 0
	}
	return t.on.table.Used()
}

// LostSamples returns how many samples were lost because the ring was full or missing.
func (t *Tracker) LostSamples() uint64 {
	return track.Lost(t.control)
}

// Samples calls f with the samples in the ring, and does not wait for more. f must not call
// the Tracker.
func (t *Tracker) Samples(f func(Sample)) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.on == nil {
		return nil
	}
	return t.on.read(f)
}

// read stops after as many samples as the ring can hold, because under a flood there is
// always another one.
func (o *tracking) read(f func(Sample)) error {
	const most = sampleRing / (sampleSize + 8) // eight bytes of header each
	for range most {
		err := o.reader.ReadInto(&o.record)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read samples: %w", err)
		}
		s, err := decodeSample(o.record.RawSample)
		if err != nil {
			return fmt.Errorf("read samples: %w", err)
		}
		f(s)
	}
	return nil
}
