package loader

import (
	"errors"
	"fmt"
	"sync"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// IndexMemory is the memory of one generation of the index of one family,
// shared with the program once it is published.
type IndexMemory struct {
	ipv6  bool
	m     *ebpf.Map
	bytes []byte
	once  sync.Once
	err   error
}

// Words returns the memory, eight words to a line, zeroed at first. It is not
// Go's: using it after Close, or after another generation was published in
// place of this one, is a fault.
func (m *IndexMemory) Words() []uint64 { return asWords(m.bytes) }

// Close gives up the memory. If it is published, the kernel goes on using it.
func (m *IndexMemory) Close() error {
	m.once.Do(func() { m.err = errors.Join(unix.Munmap(m.bytes), m.m.Close()) })
	return m.err
}

// indexName returns the outer map of a family's index.
func indexName(ipv6 bool) string {
	if ipv6 {
		return plainMapIndexV6
	}
	return plainMapIndexV4
}

func indexNames() []string { return []string{plainMapIndexV4, plainMapIndexV6} }

// NewIndex makes memory for a generation of the index of a family, in lines of
// 64 bytes. It must be closed unless it gets published.
func (l *Loader) NewIndex(ipv6 bool, lines uint32) (*IndexMemory, error) {
	name := indexName(ipv6)
	spec := l.specs[plain].Maps[name].InnerMap.Copy()
	spec.Name, spec.MaxEntries = name+"_lines", lines
	m, err := newIndex(spec)
	if err != nil {
		return nil, fmt.Errorf("make an index of %d lines, %d KiB, for %s: %w",
			lines, uint64(lines)*uint64(spec.ValueSize)/1024, name, explain(err))
	}
	m.ipv6 = ipv6
	return m, nil
}

func newIndex(spec *ebpf.MapSpec) (*IndexMemory, error) {
	m, err := ebpf.NewMap(spec)
	if err != nil {
		return nil, err
	}
	b, err := mapMemory(m)
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return &IndexMemory{m: m, bytes: b}, nil
}

// PublishIndex lets the program decide by m from now on. When it returns, no
// program reads the generation before it any more, which takes up to some 40 ms
// and until when it may have to be kept up to date. That one, nil if there was
// none and m itself if it was in force, is then the caller's to close. The Loader
// keeps m; on an error it remains the caller's, and what was published stays in
// force.
func (l *Loader) PublishIndex(m *IndexMemory) (before *IndexMemory, err error) {
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

// UnpublishIndex takes the index of a family away, so that the program asks
// the tries about every packet, and closes its memory. It is no error if there
// is none.
func (l *Loader) UnpublishIndex(ipv6 bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	name := indexName(ipv6)
	if err := l.maps[name].Delete(uint32(0)); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("take the index out of map %s: %w", name, explain(err))
	}
	old := l.index[ipv6]
	delete(l.index, ipv6)
	if old == nil {
		return nil
	}
	if err := old.Close(); err != nil {
		return fmt.Errorf("close the index that was in force: %w", err)
	}
	return nil
}
