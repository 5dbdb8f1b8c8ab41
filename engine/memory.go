package engine

import "github.com/paraxial/paraxial/policy"

// Memory holds one generation of the index of a family.
type Memory interface {
	Words() []uint64
	Close() error
}

// Publisher puts generations of the index in force, one per family.
type Publisher interface {
	// Allocate returns zeroed memory of this many lines.
	Allocate(f policy.Family, lines uint32) (Memory, error)
	// Publish puts m in force and returns the previous memory, if any, once no
	// packet is decided by it any more.
	Publish(f policy.Family, m Memory) (previous Memory, err error)
	// Unpublish lets the tries decide alone, and closes the memory in force.
	Unpublish(f policy.Family) error
}
