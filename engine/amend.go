package engine

import (
	"context"
	"net/netip"

	"github.com/paraxial/paraxial/policy"
)

// Amend puts the prefixes of s.List into the set of its origin and removes others from it, all
// or none. It is for small changes of a large set. A prefix in both is put.
func (e *Engine) Amend(ctx context.Context, s Set, remove []netip.Prefix) (Replaced, error) {
	release, err := e.claim(ctx, setOf(s.Entry.Key()))
	if err != nil {
		return Replaced{}, err
	}
	defer release()
	job := importJob{Engine: e, set: s}
	plan := func(b *policy.Book) ([]policy.Op, error) { return job.amend(b, remove), nil }
	err = e.edit(ctx, &edit{plan: plan, done: make(chan struct{}), claims: true})
	return job.Replaced, err
}

// amend returns the changes, and counts them.
func (j *importJob) amend(b *policy.Book, remove []netip.Prefix) (ops []policy.Op) {
	j.Replaced = Replaced{}
	j.eachOf(b, j.set.List.lines.whole(), func(e, _ policy.Entry, exists, same bool) {
		switch {
		case !exists:
			j.Added++
		case same:
			j.Unchanged++
			return
		default:
			j.Unchanged++
			j.Renewed++
		}
		ops = append(ops, policy.PutOp(e))
	})
	key := j.set.Entry.Key()
	for _, p := range remove {
		key.Prefix = p
		if _, ok := b.Get(key); ok && !j.set.List.lines.has(p) {
			j.Removed++
			ops = append(ops, policy.RemoveOp(key))
		}
	}
	return ops
}
