package loader

import "fmt"

// SwapIndex is PublishIndex for a caller that writes to the generation before
// until no program reads it any more, which is when SwapIndex returns: that
// generation, nil if there was none, is then the caller's to close.
func (l *Loader) SwapIndex(m *IndexMemory) (before *IndexMemory, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	name := indexName(m.ipv6)
	if err := l.maps[name].Put(uint32(0), m.m); err != nil {
		return nil, fmt.Errorf("publish an index in map %s: %w", name, explain(err))
	}
	before = l.index[m.ipv6]
	l.index[m.ipv6] = m
	return before, nil
}
