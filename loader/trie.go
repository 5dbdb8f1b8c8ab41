package loader

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/paraxial/paraxial/policy"
	"golang.org/x/sys/unix"
)

// batchSize is the number of elements in one system call. It is large enough that the cost
// of the call is negligible, and small enough for any memory.
const batchSize = 4096

// table is a trie without the types of its keys and values.
type table interface {
	kindOf() policy.Kind
	isOpen() bool
	holds(policy.Node) bool
	put(context.Context, iter.Seq[policy.Node]) (int, error)
	delete(context.Context, iter.Seq[policy.Node]) (int, error)
	nodes() iter.Seq2[policy.Node, error]
}

type trie[K, V any] struct {
	name    string
	m       *ebpf.Map
	kind    policy.Kind
	family  policy.Family
	key     func(netip.Prefix) K
	prefix  func(K) netip.Prefix
	value   func(policy.Verdict) V
	verdict func(V) policy.Verdict

	// Tries have batch operations since Linux 5.13. Set after the first refusal.
	noBatch atomic.Bool
}

func newTrie[K, V any](maps mapSet, name string, kind policy.Kind, family policy.Family,
	key func(netip.Prefix) K, prefix func(K) netip.Prefix,
	value func(policy.Verdict) V, verdict func(V) policy.Verdict,
) *trie[K, V] {
	return &trie[K, V]{
		name: name, m: maps[name], kind: kind, family: family,
		key: key, prefix: prefix, value: value, verdict: verdict,
	}
}

func (t *trie[K, V]) kindOf() policy.Kind { return t.kind }

// isOpen is false for a trie that is missing in its set of maps.
func (t *trie[K, V]) isOpen() bool { return t.m != nil }

func (t *trie[K, V]) holds(n policy.Node) bool {
	return n.Kind == t.kind && policy.FamilyOf(n.Prefix.Addr()) == t.family
}

// put inserts or replaces nodes and returns how many.
func (t *trie[K, V]) put(ctx context.Context, nodes iter.Seq[policy.Node]) (int, error) {
	// Grown as needed, so that a single block does not allocate a whole batch.
	var keys []K
	var values []V
	done := 0
	flush := func() error {
		n, err := t.putBatch(ctx, keys, values)
		done += n
		keys, values = keys[:0], values[:0]
		return err
	}
	for n := range nodes {
		keys, values = append(keys, t.key(n.Prefix)), append(values, t.value(n.Verdict))
		if len(keys) == batchSize {
			if err := flush(); err != nil {
				return done, err
			}
		}
	}
	return done, flush()
}

// putBatch puts the nodes one at a time after any error of the batch call. Some kernels
// report wrong counts, and putting a node again changes nothing. The single put returns the
// real error.
func (t *trie[K, V]) putBatch(ctx context.Context, keys []K, values []V) (int, error) {
	if err := ctx.Err(); err != nil || len(keys) == 0 {
		return 0, err
	}
	if len(keys) > 1 && !t.noBatch.Load() {
		n, err := t.m.BatchUpdate(keys, values, nil)
		if err == nil && n == len(keys) {
			return n, nil
		}
		t.noteBatch(err)
	}
	for i := range keys {
		if err := t.putOne(ctx, &keys[i], &values[i]); err != nil {
			return i, err
		}
	}
	return len(keys), nil
}

// putOne retries for a short time if the kernel is out of memory: tries allocate without
// sleeping, and their cache is refilled in the background.
func (t *trie[K, V]) putOne(ctx context.Context, key *K, value *V) error {
	var err error
	for pause := time.Millisecond; pause < 100*time.Millisecond; pause *= 2 {
		err = t.m.Update(key, value, ebpf.UpdateAny)
		if !errors.Is(err, unix.ENOMEM) {
			break
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.E2BIG):
		return fmt.Errorf("put %s: %w", t.prefix(*key), &FullError{Map: t.name, Capacity: t.m.MaxEntries()})
	}
	return fmt.Errorf("put %s into map %s: %w", t.prefix(*key), t.name, err)
}

// delete removes nodes. A node that is not there counts as removed.
func (t *trie[K, V]) delete(ctx context.Context, nodes iter.Seq[policy.Node]) (int, error) {
	var keys []K
	done := 0
	flush := func() error {
		n, err := t.deleteBatch(ctx, keys)
		done += n
		keys = keys[:0]
		return err
	}
	for n := range nodes {
		keys = append(keys, t.key(n.Prefix))
		if len(keys) == batchSize {
			if err := flush(); err != nil {
				return done, err
			}
		}
	}
	return done, flush()
}

func (t *trie[K, V]) deleteBatch(ctx context.Context, keys []K) (int, error) {
	if err := ctx.Err(); err != nil || len(keys) == 0 {
		return 0, err
	}
	if len(keys) > 1 && !t.noBatch.Load() {
		n, err := t.m.BatchDelete(keys, nil)
		if err == nil && n == len(keys) {
			return n, nil
		}
		t.noteBatch(err)
	}
	for i := range keys {
		err := t.m.Delete(&keys[i])
		if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return i, fmt.Errorf("delete %s from map %s: %w", t.prefix(keys[i]), t.name, err)
		}
	}
	return len(keys), nil
}

func (t *trie[K, V]) noteBatch(err error) {
	if errors.Is(err, ebpf.ErrNotSupported) {
		t.noBatch.Store(true)
	}
}

// nodes yields the nodes of the trie. Nothing may be deleted at the same time: the kernel
// finds the next element by the last one, and starts over if that is gone. The number of
// nodes is bounded by the capacity, so that it ends even then.
func (t *trie[K, V]) nodes() iter.Seq2[policy.Node, error] {
	return func(yield func(policy.Node, error) bool) {
		fail := func(err error) { yield(policy.Node{}, fmt.Errorf("read map %s: %w", t.name, err)) }
		for n, err := range t.elements() {
			if err != nil {
				fail(err)
				return
			}
			if !yield(n, nil) {
				return
			}
		}
	}
}

func (t *trie[K, V]) elements() iter.Seq2[policy.Node, error] {
	return func(yield func(policy.Node, error) bool) {
		if !t.isOurs() {
			t.single()(yield)
			return
		}
		keys, values := make([]K, batchSize), make([]V, batchSize)
		var cursor ebpf.MapBatchCursor
		for total := 0; total <= int(t.m.MaxEntries()); {
			n, err := t.m.BatchLookup(&cursor, keys, values, nil)
			if errors.Is(err, ebpf.ErrNotSupported) && total == 0 {
				t.single()(yield)
				return
			}
			if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
				yield(policy.Node{}, err)
				return
			}
			for i := range n {
				if !yield(t.node(keys[i], values[i]), nil) {
					return
				}
			}
			if err != nil {
				return
			}
			total += n
		}
		yield(policy.Node{}, ebpf.ErrIterationAborted)
	}
}

// isOurs tells whether values have the size that this version gives them.
func (t *trie[K, V]) isOurs() bool { return uintptr(t.m.ValueSize()) == unsafe.Sizeof(*new(V)) }

// single reads one element at a time, for kernels without batches and for tries of other
// versions. Values grow at their end, so that the fields of both versions are at the start.
func (t *trie[K, V]) single() iter.Seq2[policy.Node, error] {
	return func(yield func(policy.Node, error) bool) {
		var key K
		var raw []byte
		it := t.m.Iterate()
		for it.Next(&key, &raw) {
			var value V
			copy(unsafe.Slice((*byte)(unsafe.Pointer(&value)), unsafe.Sizeof(value)), raw)
			if !yield(t.node(key, value), nil) {
				return
			}
		}
		if err := it.Err(); err != nil {
			yield(policy.Node{}, err)
		}
	}
}

func (t *trie[K, V]) node(k K, v V) policy.Node {
	return policy.Node{Kind: t.kind, Prefix: t.prefix(k), Verdict: t.verdict(v)}
}
