package loader

import (
	"fmt"
	"sync"

	"github.com/paraxial/paraxial/loader/banks"
	"github.com/paraxial/paraxial/policy"
)

// IndexMemory is the memory of one generation of the index of one family,
// shared with the program once it is published.
type IndexMemory struct {
	*banks.Generation
	family policy.Family
}

// publishedIndex is the index of one family that the program decides by.
type publishedIndex struct {
	mu     sync.Mutex // held for the grace periods of a change
	outer  *banks.Index
	memory *IndexMemory // nil unless this Loader published it
}

func (x *publishedIndex) close() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.closeMemory()
}

func (x *publishedIndex) closeMemory() error {
	old := x.memory
	x.memory = nil
	if old == nil {
		return nil
	}
	if err := old.Close(); err != nil {
		return fmt.Errorf("close the index that was in force: %w", err)
	}
	return nil
}

// indexName returns the outer map of a family's index.
func indexName(f policy.Family) string {
	if f == policy.IPv6 {
		return plainMapIndexV6
	}
	return plainMapIndexV4
}

func indexNames() []string { return []string{plainMapIndexV4, plainMapIndexV6} }

// openIndexes finds out what is in force.
func (l *Loader) openIndexes() error {
	for _, f := range policy.Families() {
		name := indexName(f)
		x, err := banks.Open(name, l.maps[name], l.specs[plain].Maps[name].InnerMap)
		if err != nil {
			return err
		}
		l.indexes[f] = &publishedIndex{outer: x}
	}
	return nil
}

// NewIndex makes memory for a generation of the index of a family, in lines of
// 64 bytes. It must be closed unless it gets published.
func (l *Loader) NewIndex(f policy.Family, lines uint32) (*IndexMemory, error) {
	g, err := l.indexes[f].outer.New(lines)
	if err != nil {
		return nil, explain(err)
	}
	return &IndexMemory{g, f}, nil
}

// PublishIndex lets the program decide by m from now on. When it returns, no
// program reads the generation before it any more, which takes some grace periods
// of up to some 40 ms and until when it may have to be kept up to date. That one,
// nil if there was none and m itself if it was in force, is then the caller's to
// close. The Loader keeps m; on an error it remains the caller's, and what was
// published stays in force.
func (l *Loader) PublishIndex(m *IndexMemory) (before *IndexMemory, err error) {
	x := l.indexes[m.family]
	x.mu.Lock()
	defer x.mu.Unlock()
	if err := x.outer.Publish(m.Generation); err != nil {
		return nil, explain(err)
	}
	before = x.memory
	x.memory = m
	return before, nil
}

// UnpublishIndex takes the index of a family away, so that the program asks
// the tries about every packet, and closes its memory. It is no error if there
// is none.
func (l *Loader) UnpublishIndex(f policy.Family) error {
	x := l.indexes[f]
	x.mu.Lock()
	defer x.mu.Unlock()
	if err := x.outer.Withdraw(); err != nil {
		return explain(err)
	}
	return x.closeMemory()
}
