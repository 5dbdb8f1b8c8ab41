package daemon

import (
	"github.com/paraxial/paraxial/loader"
	"github.com/paraxial/paraxial/policy"
)

// memory is what a generation of the index is written to.
type memory interface {
	Words() []uint64
	Close() error
}

// slots are where generations are in force, one per family.
type slots interface {
	// fresh returns zeroed memory of this many lines.
	fresh(f policy.Family, lines uint32) (memory, error)
	// swap puts m in force and returns what was before, if anything, once no
	// packet is decided by it any more.
	swap(f policy.Family, m memory) (before memory, err error)
	// clear lets the tries decide alone, and closes what was in force.
	clear(f policy.Family) error
}

// kernelSlots are those of the loader.
type kernelSlots struct{ *loader.Loader }

func (s kernelSlots) fresh(f policy.Family, lines uint32) (memory, error) {
	m, err := s.NewIndex(f, lines)
	if err != nil {
		return nil, err
	}
	return m, nil
}

func (s kernelSlots) swap(_ policy.Family, m memory) (memory, error) {
	before, err := s.PublishIndex(m.(*loader.IndexMemory))
	if err != nil || before == nil {
		return nil, err
	}
	return before, nil
}

func (s kernelSlots) clear(f policy.Family) error { return s.UnpublishIndex(f) }
