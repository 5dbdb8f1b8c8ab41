package engine

import "github.com/paraxial/paraxial/policy"

// Memory holds one generation of the index of one family.
type Memory interface {
	Words() []uint64
	Close() error
}

// Publisher puts generations of the index in force, one per family.
type Publisher interface {
	// Allocate returns zeroed memory of this many lines.
	Allocate(f policy.Family, lines uint32) (Memory, error)
	// Publish puts m in force. When no packet is decided by the previous memory
	// any more, it returns that memory, or nil if there was none.
	Publish(f policy.Family, m Memory) (previous Memory, err error)
	// Unpublish closes the memory in force. The tries decide alone from then on.
	Unpublish(f policy.Family) error
}
