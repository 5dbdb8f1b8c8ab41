package daemon

import "github.com/paraxial/paraxial/loader"

// memory is what a generation of the index is written to.
type memory interface {
	Words() []uint64
	Close() error
}

// slots are where generations are in force, one per family.
type slots interface {
	// fresh returns zeroed memory of this many lines.
	fresh(ipv6 bool, lines uint32) (memory, error)
	// swap puts m in force and returns what was before, if anything, once no
	// packet is decided by it any more.
	swap(ipv6 bool, m memory) (before memory, err error)
	// clear lets the tries decide alone, and closes what was in force.
	clear(ipv6 bool) error
}

// kernelSlots are those of the loader.
type kernelSlots struct{ *loader.Loader }

func (s kernelSlots) fresh(ipv6 bool, lines uint32) (memory, error) {
	m, err := s.NewIndex(ipv6, lines)
	if err != nil {
		return nil, err
	}
	return m, nil
}

func (s kernelSlots) swap(_ bool, m memory) (memory, error) {
	before, err := s.PublishIndex(m.(*loader.IndexMemory))
	if err != nil || before == nil {
		return nil, err
	}
	return before, nil
}

func (s kernelSlots) clear(ipv6 bool) error { return s.UnpublishIndex(ipv6) }
