package store

import (
	"fmt"
	"io"

	"github.com/paraxial/paraxial/store/internal/boltfile"
)

// verify checks all of a database file: its structure, every checksum, and all
// references between rows. The error is not yet marked as ErrDamaged.
func verify(r io.ReaderAt, size int64) (*contents, error) {
	c := &contents{
		clock:   clock{epochs: make(map[uint32]epoch)},
		buckets: make(map[string]bool),
		origins: make(map[string]uint64),
		sets:    make(map[uint64]bool),
		used:    make(map[uint32]bool),
	}
	if err := boltfile.Verify(r, size, c.visit); err != nil {
		return nil, err
	}
	// Values of a newer format may be unreadable here, so the format is checked
	// first.
	if c.format > newestFormat {
		return nil, &newerError{format: c.format}
	}
	if c.err != nil {
		return nil, c.err
	}
	return c, c.check()
}

// contents collects the rows of the file while verify walks it.
type contents struct {
	clock   clock
	format  uint64
	buckets map[string]bool
	origins map[string]uint64
	sets    map[uint64]bool
	used    map[uint32]bool // epochs that entries refer to
	decoder entryDecoder
	err     error // the first error
}

func (c *contents) visit(i boltfile.Item) {
	if c.err != nil && c.format != 0 {
		return
	}
	if err := c.item(i); err != nil && c.err == nil {
		c.err = fmt.Errorf("page %d, bucket %q, key %x: %w", i.Page, i.Path, i.Key, err)
	}
}

func (c *contents) item(i boltfile.Item) error {
	switch {
	case len(i.Path) == 0 && i.IsBucket():
		c.buckets[string(i.Key)] = true
		return nil
	case len(i.Path) == 1 && i.IsBucket() && string(i.Path[0]) == bucketSets:
		id, err := parseSetKey(i.Key)
		c.sets[id] = true
		return err
	case len(i.Path) == 1 && !i.IsBucket():
		return c.row(string(i.Path[0]), i.Key, i.Value)
	case len(i.Path) == 2 && !i.IsBucket() && string(i.Path[0]) == bucketSets:
		return c.entry(i.Key, i.Key, i.Value)
	}
	return fmt.Errorf("does not belong here")
}

// row checks a value in one of the top-level buckets.
func (c *contents) row(bucket string, key, value []byte) (err error) {
	switch bucket {
	case bucketMeta:
		return c.metaRow(key, value)
	case bucketEpochs:
		id, e, err := parseEpoch(key, value)
		c.clock.epochs[id] = e
		return err
	case bucketOrigins:
		c.origins[string(key)], err = parseNumber(key, value)
		return err
	case bucketSlots:
		_, err = parseNumber(key, value)
		return err
	case bucketOthers:
		_, entryKey, err := splitOther(key)
		if err != nil {
			return err
		}
		return c.entry(key, entryKey, value)
	}
	return fmt.Errorf("does not belong here")
}

func (c *contents) metaRow(key, value []byte) (err error) {
	switch string(key) {
	case keyFormat:
		c.format, err = parseNumber(key, value)
	case keyCheckpoint:
		c.clock.last, err = parseCheckpoint(key, value)
	case keySynced:
		c.clock.synced, err = parseCheckpoint(key, value)
	default:
		err = fmt.Errorf("is unknown")
	}
	return err
}

func (c *contents) entry(key, entryKey, value []byte) error {
	e, err := c.decoder.entry(key, entryKey, value)
	if err != nil {
		return err
	}
	c.used[e.epoch] = true
	return nil
}

// check returns an error unless the parts fit together.
func (c *contents) check() error {
	for _, name := range allBuckets() {
		if !c.buckets[name] {
			return fmt.Errorf("bucket %q is missing", name)
		}
	}
	if len(c.buckets) != len(allBuckets()) {
		return fmt.Errorf("a bucket has an unknown name")
	}
	if c.format == 0 {
		return fmt.Errorf("bucket %q has no format", bucketMeta)
	}
	if err := c.clock.check(); err != nil {
		return err
	}
	for origin, id := range c.origins {
		if !c.sets[id] {
			return fmt.Errorf("set %d of origin %q is missing", id, origin)
		}
	}
	for id := range c.used {
		if _, ok := c.clock.epochs[id]; !ok {
			return fmt.Errorf("epoch %d is missing", id)
		}
	}
	return nil
}
