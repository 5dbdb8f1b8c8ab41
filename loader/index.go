package loader

import (
	"fmt"
	"sync"

	"github.com/paraxial/paraxial/loader/banks"
	"github.com/paraxial/paraxial/policy"
)

// IndexMemory is the memory of one generation of the index of one family. It is shared with
// the program once it is published.
type IndexMemory struct {
	*banks.Generation
	family policy.Family
}

// publishedIndex is the index in force of one family.
type publishedIndex struct {
	mu     sync.Mutex // held while a change waits for grace periods
	banks  *banks.Index
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

// indexName returns the name of the outer map of the index of a family.
func indexName(f policy.Family) string {
	if f == policy.IPv6 {
		return plainMapIndexV6
	}
	return plainMapIndexV4
}

func indexNames() []string { return []string{plainMapIndexV4, plainMapIndexV6} }

// openIndexes finds out which indexes are in force.
func (l *Loader) openIndexes() error {
	for _, f := range policy.Families() {
		name := indexName(f)
		x, err := banks.Open(name, l.maps[name], l.specs[plain].Maps[name].InnerMap)
		if err != nil {
			return err
		}
		l.indexes[f] = &publishedIndex{banks: x}
	}
	return nil
}

// NewIndex makes memory for a generation of the index of a family, in lines of 64 bytes. The
// caller closes it unless it is published.
func (l *Loader) NewIndex(f policy.Family, lines uint32) (*IndexMemory, error) {
	g, err := l.indexes[f].banks.New(lines)
	if err != nil {
		return nil, explain(err)
	}
	return &IndexMemory{g, f}, nil
}

// PublishIndex puts m in force. It waits for some grace periods of up to about 40 ms. When it
// returns, no program reads the previous generation any more; until then that may have to
// be kept up to date. The caller closes the previous generation, which is returned: nil if
// there was none, m itself if it was in force. The Loader closes m when it is no longer
// needed. After an error m still belongs to the caller, and the previous generation stays
// in force.
func (l *Loader) PublishIndex(m *IndexMemory) (before *IndexMemory, err error) {
	x := l.indexes[m.family]
	x.mu.Lock()
	defer x.mu.Unlock()
	if err := x.banks.Publish(m.Generation); err != nil {
		return nil, explain(err)
	}
	before = x.memory
	x.memory = m
	return before, nil
}

// UnpublishIndex takes the index of a family out of force, so that the program asks the
// tries about every packet, and closes its memory. It is not an error if there is none.
func (l *Loader) UnpublishIndex(f policy.Family) error {
	x := l.indexes[f]
	x.mu.Lock()
	defer x.mu.Unlock()
	if err := x.banks.Withdraw(); err != nil {
		return explain(err)
	}
	return x.closeMemory()
}
