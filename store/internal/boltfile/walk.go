package boltfile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// walker walks the pages that the meta page refers to.
type walker struct {
	r     io.ReaderAt
	meta  meta
	visit func(Item)
	path  [][]byte
	seen  []uint64 // one bit for every page
	bufs  [][]byte // one page buffer for each depth
}

func (w *walker) marked(id uint64) bool { return w.seen[id/64]&(1<<(id%64)) != 0 }
func (w *walker) mark(id uint64)        { w.seen[id/64] |= 1 << (id % 64) }

// claim marks page id and its overflow pages as used. It is an error if one is
// already used.
func (w *walker) claim(id, overflow uint64) error {
	if overflow >= w.meta.pages-id {
		return fmt.Errorf("page %d: claims %d further pages of %d", id, overflow, w.meta.pages)
	}
	for p := id; p <= id+overflow; p++ {
		if w.marked(p) {
			return fmt.Errorf("page %d: used twice, or used and free", p)
		}
		w.mark(p)
	}
	return nil
}

// page reads page id with its overflow into the buffer of that depth.
func (w *walker) page(id uint64, depth int) (header, []byte, error) {
	if id < 2 || id >= w.meta.pages {
		return header{}, nil, fmt.Errorf("page %d: does not exist, but is pointed to", id)
	}
	if depth >= maxDepth {
		return header{}, nil, fmt.Errorf("page %d: nested too deeply", id)
	}
	size := int(w.meta.pageSize)
	for len(w.bufs) <= depth {
		w.bufs = append(w.bufs, make([]byte, size))
	}
	buf := w.bufs[depth][:size]
	at := int64(id) * w.meta.pageSize
	if err := readAt(w.r, buf, at); err != nil {
		return header{}, nil, fmt.Errorf("page %d: %w", id, err)
	}
	h := parseHeader(buf)
	if h.id != id {
		return header{}, nil, fmt.Errorf("page %d: says it is page %d", id, h.id)
	}
	if err := w.claim(id, h.overflow); err != nil {
		return header{}, nil, err
	}
	if total := int(h.overflow+1) * size; total > size {
		grown := make([]byte, total)
		copy(grown, buf)
		if err := readAt(w.r, grown[size:], at+int64(size)); err != nil {
			return header{}, nil, fmt.Errorf("page %d: %w", id, err)
		}
		buf = grown
	}
	return h, buf, nil
}

// freelist checks the list of free pages and marks them.
func (w *walker) freelist() error {
	id := w.meta.freelist
	h, page, err := w.page(id, 0)
	if err != nil {
		return err
	}
	if h.flags != flagFreelist {
		return fmt.Errorf("page %d: want the free list, found page type %#x", id, h.flags)
	}
	ids, count := page[headerSize:], uint64(h.count)
	if h.count == countElsewhere {
		count = binary.NativeEndian.Uint64(ids)
		ids = ids[8:]
	}
	if count > uint64(len(ids)/8) {
		return fmt.Errorf("page %d: free list of %d pages does not fit in it", id, count)
	}
	prev := uint64(1)
	for i := range count {
		free := binary.NativeEndian.Uint64(ids[8*i:])
		if free <= prev || free >= w.meta.pages {
			return fmt.Errorf("page %d: free list names page %d after %d", id, free, prev)
		}
		if err := w.claim(free, 0); err != nil {
			return err
		}
		prev = free
	}
	return nil
}

// bounds are the limits of keys below a branch: from <= key < to; nil is no limit.
type bounds struct{ from, to []byte }

func (b bounds) hold(key []byte) bool {
	return (b.from == nil || bytes.Compare(b.from, key) <= 0) && (b.to == nil || bytes.Compare(key, b.to) < 0)
}

// tree checks page id and the pages below it, which belong to one bucket.
func (w *walker) tree(id uint64, b bounds, depth int) error {
	h, page, err := w.page(id, depth)
	if err != nil {
		return err
	}
	switch h.flags {
	case flagLeaf:
		return w.leaf(leafPage{id: id, data: page, count: h.count}, b, depth)
	case flagBranch:
		return w.branch(id, page, h.count, b, depth)
	}
	return fmt.Errorf("page %d: want a branch or a leaf, found page type %#x", id, h.flags)
}

func (w *walker) branch(id uint64, page []byte, count int, b bounds, depth int) error {
	if count == 0 {
		return fmt.Errorf("page %d: an empty branch", id)
	}
	elements, err := parseElements(page, count, flagBranch)
	if err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	if err := ascending(elements, b); err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	for i, e := range elements {
		below := bounds{from: e.key, to: b.to}
		if i+1 < count {
			below.to = elements[i+1].key
		}
		if err := w.tree(e.child, below, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// leafPage is a leaf: a page of the file, or a small bucket inside a value.
type leafPage struct {
	id     uint64 // of the page in the file
	data   []byte
	count  int
	inline bool
}

func (w *walker) leaf(p leafPage, b bounds, depth int) error {
	elements, err := parseElements(p.data, p.count, flagLeaf)
	if err != nil {
		return fmt.Errorf("page %d: %w", p.id, err)
	}
	if err := ascending(elements, b); err != nil {
		return fmt.Errorf("page %d: %w", p.id, err)
	}
	if p.inline && usedBytes(p.count, elements) != len(p.data) {
		return fmt.Errorf("page %d: a bucket inside it has the wrong size", p.id)
	}
	for _, e := range elements {
		if e.flags != elementIsBucket {
			w.visit(Item{Path: w.path, Key: e.key, Value: e.value, Page: p.id})
			continue
		}
		if p.inline {
			return fmt.Errorf("page %d: a bucket inside a bucket inside it", p.id)
		}
		w.visit(Item{Path: w.path, Key: e.key, Page: p.id})
		if err := w.bucket(p.id, e, depth); err != nil {
			return err
		}
	}
	return nil
}

// bucket checks the bucket in e, an element on page id. Sequence numbers have no
// checksum and are not used: they must be 0.
func (w *walker) bucket(id uint64, e element, depth int) error {
	if len(e.value) < bucketSize || binary.NativeEndian.Uint64(e.value[8:]) != 0 {
		return fmt.Errorf("page %d: header of bucket %q is wrong", id, e.key)
	}
	w.path = append(w.path, e.key)
	defer func() { w.path = w.path[:len(w.path)-1] }()

	root, inline := binary.NativeEndian.Uint64(e.value), e.value[bucketSize:]
	if root != 0 {
		if len(inline) != 0 {
			return fmt.Errorf("page %d: header of bucket %q is too long", id, e.key)
		}
		return w.tree(root, bounds{}, depth+1)
	}
	if len(inline) < headerSize {
		return fmt.Errorf("page %d: bucket %q is cut short", id, e.key)
	}
	h := parseHeader(inline)
	if h.id != 0 || h.flags != flagLeaf || h.overflow != 0 {
		return fmt.Errorf("page %d: bucket %q is damaged", id, e.key)
	}
	return w.leaf(leafPage{id: id, data: inline, count: h.count, inline: true}, bounds{}, depth)
}

// element is one entry of a branch or a leaf page.
type element struct {
	key, value []byte
	flags      uint32 // leaf
	child      uint64 // branch
}

// parseElements reads the elements of a page: first a table of count entries with
// the lengths, then keys and values in the same order without gaps. If count is 0
// but the place of the first entry is not blank, the count is damaged.
func parseElements(page []byte, count int, kind uint16) ([]element, error) {
	next := headerSize + count*elementSize
	if next > len(page) {
		return nil, fmt.Errorf("%d elements do not fit", count)
	}
	if count == 0 {
		if rest := page[headerSize:]; !blank(rest[:min(len(rest), elementSize)]) {
			return nil, errors.New("says it is empty, but is not")
		}
		return nil, nil
	}
	elements := make([]element, count)
	for i := range elements {
		at := headerSize + i*elementSize
		e, pos, ksize, vsize := parseElement(page[at:], kind)
		if uint64(at)+pos != uint64(next) || ksize == 0 || ksize > maxKeySize || ksize+vsize > uint64(len(page)-next) {
			return nil, fmt.Errorf("element %d: lengths are wrong", i)
		}
		if e.flags&^elementIsBucket != 0 {
			return nil, fmt.Errorf("element %d: unknown type %#x", i, e.flags)
		}
		end := next + int(ksize)
		e.key = page[next:end:end]
		next = end + int(vsize)
		e.value = page[end:next:next]
		elements[i] = e
	}
	return elements, nil
}

func parseElement(b []byte, kind uint16) (e element, pos, ksize, vsize uint64) {
	ne := binary.NativeEndian
	if kind == flagBranch {
		e.child = ne.Uint64(b[8:])
		return e, uint64(ne.Uint32(b)), uint64(ne.Uint32(b[4:])), 0
	}
	e.flags = ne.Uint32(b)
	return e, uint64(ne.Uint32(b[4:])), uint64(ne.Uint32(b[8:])), uint64(ne.Uint32(b[12:]))
}

func blank(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

func usedBytes(count int, elements []element) int {
	n := headerSize + count*elementSize
	for _, e := range elements {
		n += len(e.key) + len(e.value)
	}
	return n
}

func ascending(elements []element, b bounds) error {
	for i, e := range elements {
		if i > 0 && bytes.Compare(elements[i-1].key, e.key) >= 0 {
			return fmt.Errorf("key %d (%x) is not in order", i, e.key)
		}
		if !b.hold(e.key) {
			return fmt.Errorf("key %d (%x) belongs on another page", i, e.key)
		}
	}
	return nil
}
