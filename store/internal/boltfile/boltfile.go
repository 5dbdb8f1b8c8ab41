// Package boltfile checks a bbolt file without trusting it.
//
// bbolt maps its file and trusts its content. With a truncated file the process dies
// of SIGBUS. With a page of garbage bbolt panics in its own goroutines. It does not
// notice a flipped bit. Therefore Verify walks the file with plain reads before
// bbolt opens it. It accepts only files that bbolt itself writes, which is stricter
// than what bbolt can read:
//
//   - Both meta pages are intact and of consecutive transactions. bbolt would fall
//     back to the older one, which silently undoes the last transaction. A meta
//     record is 64 bytes inside one disk sector, and disks write whole sectors. So
//     a crash during its write leaves the old or the new record.
//   - Elements are packed in a page without gaps, so that a changed count or length
//     is detected.
//   - Every page below the high-water mark is reached from the root exactly once, or
//     is free, or holds the free list.
//
// Bytes that nothing reads (the rest of a page, free pages) may have any value. The
// caller checks the meaning of keys and values, with its own checksums.
//
// The layout is defined in go.etcd.io/bbolt/internal/common, file version 2.
package boltfile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
)

const (
	magic       = 0xED0CDAED
	fileVersion = 2

	minPageSize = 1 << 10
	maxPageSize = 1 << 20

	headerSize     = 16 // of a page: id u64, flags u16, count u16, overflow u32
	elementSize    = 16 // of a branch and of a leaf page alike
	bucketSize     = 16 // root u64, sequence u64
	metaSize       = 64
	metaSumAt      = 56
	noFreelist     = ^uint64(0)
	maxKeySize     = 32768
	maxDepth       = 64 // of nested pages; a tree of 2^64 keys is not this deep
	countElsewhere = 0xFFFF

	flagBranch   = 0x01
	flagLeaf     = 0x02
	flagMeta     = 0x04
	flagFreelist = 0x10

	elementIsBucket = 0x01
)

// Item is one key of the file. Its slices are valid only during the call.
type Item struct {
	Path  [][]byte // names of the buckets around it, outermost first
	Key   []byte
	Value []byte // nil if the key names a bucket
	Page  uint64 // number of the page that holds it
}

// IsBucket reports whether the key names a bucket.
func (i Item) IsBucket() bool { return i.Value == nil }

// Verify reads the file of size bytes from r and calls visit for every key, in
// order, a bucket before its keys. The error names the fault and the page, or is the
// error of r if reading fails. If Verify returns an error, the items that were
// visited must not be used.
func Verify(r io.ReaderAt, size int64, visit func(Item)) error {
	m, err := readMetas(r, size)
	if err != nil {
		return err
	}
	w := &walker{r: r, meta: m, visit: visit, seen: make([]uint64, m.pages/64+1)}
	w.mark(0)
	w.mark(1)
	if err := w.freelist(); err != nil {
		return err
	}
	if err := w.tree(m.root, bounds{}, 0); err != nil {
		return err
	}
	for id := range m.pages {
		if !w.marked(id) {
			return fmt.Errorf("page %d: neither in use nor free", id)
		}
	}
	return nil
}

type meta struct {
	pageSize int64
	root     uint64
	freelist uint64
	pages    uint64 // high-water mark
	txid     uint64
}

// readMetas checks both meta pages and returns the younger one.
func readMetas(r io.ReaderAt, size int64) (meta, error) {
	m0, err := readMeta(r, size, 0, 0)
	if err != nil {
		return meta{}, err
	}
	m1, err := readMeta(r, size, 1, m0.pageSize)
	if err != nil {
		return meta{}, err
	}
	if m1.pageSize != m0.pageSize {
		return meta{}, errors.New("page 1: meta pages disagree on the page size")
	}
	m := m0
	if m1.txid > m0.txid {
		m = m1
	}
	if m0.txid+1 != m1.txid && m1.txid+1 != m0.txid {
		return meta{}, fmt.Errorf("page %d: meta pages of transactions %d and %d, want consecutive ones",
			m.txid%2, m0.txid, m1.txid)
	}
	if m.pages > uint64(size/m.pageSize) {
		return meta{}, fmt.Errorf("page %d: the file is truncated: %d bytes, want at least %d pages of %d",
			size/m.pageSize, size, m.pages, m.pageSize)
	}
	for _, id := range []uint64{m.root, m.freelist} {
		if id < 2 || id >= m.pages {
			return meta{}, fmt.Errorf("page %d: meta page points to page %d of %d", m.txid%2, id, m.pages)
		}
	}
	return m, nil
}

func readMeta(r io.ReaderAt, size int64, id uint64, pageSize int64) (meta, error) {
	at := int64(id) * pageSize
	if size-at < headerSize+metaSize {
		return meta{}, fmt.Errorf("page %d: the file is truncated: %d bytes", id, size)
	}
	page := make([]byte, headerSize+metaSize)
	if err := readAt(r, page, at); err != nil {
		return meta{}, fmt.Errorf("page %d: %w", id, err)
	}
	h, b := parseHeader(page), page[headerSize:]
	sum := fnv.New64a()
	sum.Write(b[:metaSumAt])
	ne := binary.NativeEndian
	m := meta{
		pageSize: int64(ne.Uint32(b[8:])),
		root:     ne.Uint64(b[16:]),
		freelist: ne.Uint64(b[32:]),
		pages:    ne.Uint64(b[40:]),
		txid:     ne.Uint64(b[48:]),
	}
	switch {
	case ne.Uint32(b) != magic:
		return meta{}, fmt.Errorf("page %d: not a meta page of a bbolt file", id)
	case ne.Uint64(b[metaSumAt:]) != sum.Sum64():
		return meta{}, fmt.Errorf("page %d: checksum of the meta page is wrong", id)
	case ne.Uint32(b[4:]) != fileVersion:
		return meta{}, fmt.Errorf("page %d: bbolt file version %d, want %d", id, ne.Uint32(b[4:]), fileVersion)
	case m.pageSize < minPageSize || m.pageSize > maxPageSize || m.pageSize&(m.pageSize-1) != 0:
		return meta{}, fmt.Errorf("page %d: page size %d", id, m.pageSize)
	case h.id != id || h.flags != flagMeta || m.txid%2 != id:
		return meta{}, fmt.Errorf("page %d: header of the meta page is wrong", id)
	case m.freelist == noFreelist:
		return meta{}, fmt.Errorf("page %d: the file has no free list", id)
	}
	return m, nil
}

type header struct {
	id       uint64
	flags    uint16
	count    int
	overflow uint64 // further pages that belong to this one
}

func parseHeader(b []byte) header {
	ne := binary.NativeEndian
	return header{
		id:       ne.Uint64(b),
		flags:    ne.Uint16(b[8:]),
		count:    int(ne.Uint16(b[10:])),
		overflow: uint64(ne.Uint32(b[12:])),
	}
}

// readAt fills b. A read that ends early is a truncated file.
func readAt(r io.ReaderAt, b []byte, at int64) error {
	n, err := r.ReadAt(b, at)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
