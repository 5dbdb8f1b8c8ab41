package daemon

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/policy"
)

// originKey names the entries of one kind and origin.
type originKey struct {
	origin string
	kind   policy.Kind
}

// Origins implements control.Backend. It looks at every entry, in parts.
func (d *Daemon) Origins(ctx context.Context) (control.OriginsResult, error) {
	origins := make(map[originKey]*control.Origin)
	sampled, err := d.loader.Sampled()
	if err != nil {
		return control.OriginsResult{}, err
	}
	for _, k := range []policy.Kind{policy.Block, policy.Allow} {
		var refs []policy.EntryRef
		d.engine.Read(func(b *policy.Book) { refs = b.Refs(k) })
		for batch := range slices.Chunk(refs, entriesBatch) {
			if err := ctx.Err(); err != nil {
				return control.OriginsResult{}, err
			}
			now := d.engine.Now()
			d.engine.Read(func(b *policy.Book) {
				for _, r := range batch {
					if e, ok := b.Resolve(r); ok && e.Kind == k && e.Live(now) {
						d.addTo(origins, b, e, sampled > 0)
					}
				}
			})
		}
	}
	var result control.OriginsResult
	for _, key := range slices.SortedFunc(maps.Keys(origins), func(x, y originKey) int {
		return cmp.Or(cmp.Compare(x.origin, y.origin), cmp.Compare(x.kind, y.kind))
	}) {
		o := origins[key]
		if name, ok := feedOf(key.origin); ok {
			o.Generation = d.reporting.generation(name)
		}
		result.Origins = append(result.Origins, *o)
	}
	result.Origins = append(result.Origins, d.tagOrigins()...)
	return result, nil
}

// addTo counts an entry for its origin.
func (d *Daemon) addTo(origins map[originKey]*control.Origin, b *policy.Book, e policy.Entry, sampled bool) {
	key := originKey{e.Origin, e.Kind}
	o := origins[key]
	if o == nil {
		o = &control.Origin{Origin: e.Origin, Kind: e.Kind.String()}
		origins[key] = o
	}
	o.Entries++
	if e.Created.After(o.Changed) {
		o.Changed = e.Created
	}
	if e.Deadline == policy.Forever {
		o.Forever++
	} else if at := d.engine.Wall(e.Deadline); o.LastExpiry == nil || at.After(*o.LastExpiry) {
		o.LastExpiry = &at
	}
	if e.Kind != policy.Block {
		return
	}
	id, countedFor := b.Counter(e.Key())
	if countedFor == "" {
		o.Drops += d.loader.Hits(id)
	}
	o.DropsEstimated = o.DropsEstimated || id == 0 || sampled
}
