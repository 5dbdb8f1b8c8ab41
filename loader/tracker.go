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

// DefaultTrackCapacity is how many sources can be tracked unless Options say
// otherwise: 3.8 MiB while classes are set.
const DefaultTrackCapacity = 1 << 15

// sampleRing is the size of the ring of samples: for 26,000 of them, twice what is
// asked for between two looks.
const sampleRing = 1 << 20

// Level and Class are those of package track.
type (
	Level = track.Level
	Class = track.Class
)

// A Tracker turns accounting on and reads what it gives: samples of the packets
// that pass, and exact counters of the sources that are tracked. It decides
// nothing. Its methods may be called from several goroutines.
type Tracker struct {
	maps     mapSet
	lines    *ebpf.MapSpec // of what goes into tracked
	rings    *ebpf.MapSpec // of what goes into samples
	capacity uint32
	control  []byte

	mu       sync.Mutex
	levels   []Level
	classes  []Class
	sampling uint32
	on       *tracking // nil without classes
}

// tracking is what exists only while classes are set.
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

// Tracker returns what accounts for packets that pass.
func (l *Loader) Tracker() *Tracker { return l.tracker }

// SetClasses has packets accounted for by these levels and classes, at most
// track.Levels and track.Detectors of them; without classes accounting is off and
// takes no memory. Where they change, no source is tracked any more, since its
// counters would mean something else, and nothing is accounted for some 40 ms: no
// packet meets half of a configuration. After an error accounting may be off until
// classes are set again.
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
	// What fails from here on leaves accounting stopped: whoever goes back to the
	// classes of before must not be told that they are in force.
	t.levels, t.classes = nil, nil
	if err := t.quiesce(); err != nil {
		return err
	}
	t.levels, t.classes = slices.Clone(levels), slices.Clone(classes)
	t.on.table.SetSampling(t.sampling)
	return t.on.table.Configure(levels, classes)
}

// quiesce waits until no program runs that has seen accounting on, and forgets
// the samples that there are. To put what is there already into a map of maps
// waits for all programs.
func (t *Tracker) quiesce() error {
	t.on.table.Stop()
	if err := t.maps[plainMapTracked].Put(uint32(0), t.on.lines); err != nil {
		return fmt.Errorf("put memory into map %s: %w", plainMapTracked, err)
	}
	return t.on.read(func(Sample) {})
}

// turnOn makes the memory. Nothing is accounted for yet.
func (t *Tracker) turnOn() (err error) {
	t.on = &tracking{}
	if t.on.ring, err = ebpf.NewMap(t.rings); err != nil {
		return fmt.Errorf("make a ring for samples: %w", err)
	}
	if t.on.reader, err = ringbuf.NewReader(t.on.ring); err != nil {
		return fmt.Errorf("open the ring of samples: %w", err)
	}
	t.on.reader.SetDeadline(time.Unix(1, 0)) // what is there is there: never wait
	if t.on.lines, err = ebpf.NewMap(t.lines); err != nil {
		return fmt.Errorf("make memory for %d sources, %d KiB: %w", t.capacity, track.Lines(t.capacity)*track.LineSize/1024, err)
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
	// Either waits until no program uses what was there.
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

// close ends accounting: nobody would read what it gives. A process that is
// killed leaves it on, which does no harm: the ring fills up, and nothing grows.
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

// SetSampling has one in n packets reported, at random; 0 reports none, which it
// is at first.
func (t *Tracker) SetSampling(n uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sampling = n
	if t.on != nil {
		t.on.table.SetSampling(n)
	}
}

// Track has the packets of a source counted from now on. The source must have the
// length of its level. To track it twice changes nothing. The error is
// track.ErrFull if there is no room.
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

// Untrack ends that. It is no error if the source was not tracked.
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

// Counts calls f for every tracked source with the counters of its slot, one for
// each class in their order: packets or bytes since Track, modulo 2^32. f must
// neither keep them nor call the Tracker.
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

// LostSamples returns how many samples found the ring full, or could not be made.
func (t *Tracker) LostSamples() uint64 {
	return track.Lost(t.control)
}

// Samples gives the samples that there are to f, and does not wait for more. f
// must not call the Tracker.
func (t *Tracker) Samples(f func(Sample)) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.on == nil {
		return nil
	}
	return t.on.read(f)
}

// read stops at as many as the ring can hold: under a flood there is always
// another one.
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
