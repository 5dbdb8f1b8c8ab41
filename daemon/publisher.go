package daemon

import (
	"github.com/paraxial/paraxial/engine"
	"github.com/paraxial/paraxial/loader"
	"github.com/paraxial/paraxial/policy"
)

// publisher lets the engine put indexes in force through the loader.
type publisher struct{ *loader.Loader }

// Allocate implements engine.Publisher.
func (p publisher) Allocate(f policy.Family, lines uint32) (engine.Memory, error) {
	m, err := p.NewIndex(f, lines)
	if err != nil {
		return nil, err
	}
	return m, nil
}

// Publish implements engine.Publisher.
func (p publisher) Publish(_ policy.Family, m engine.Memory) (engine.Memory, error) {
	previous, err := p.PublishIndex(m.(*loader.IndexMemory))
	if err != nil || previous == nil {
		return nil, err
	}
	return previous, nil
}

// Unpublish implements engine.Publisher.
func (p publisher) Unpublish(f policy.Family) error { return p.UnpublishIndex(f) }
