package daemon

import (
	"context"
	"fmt"
	"strings"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/engine"
	"github.com/paraxial/paraxial/policy"
)

// Flush implements control.Backend. The confirmed blocks are removed first, in steps if
// there are many, as an import of an empty list does. Then one change removes the rest.
func (d *Daemon) Flush(ctx context.Context, c control.Caller, r control.Flush) (control.FlushResult, error) {
	result := d.countOf(r)
	if r.DryRun || result.Blocks+result.Allows == 0 {
		return result, nil
	}
	ctx = asCaller(ctx, c)
	// Detectors keep state about their entries.
	var lifted []control.Entry
	if _, automatic := detectorOf(r.Origin); automatic {
		lifted = d.wire.Entries(d.entriesOf(policy.Block, r.Origin))
	}
	result = control.FlushResult{Origin: r.Origin}
	if r.Kind != policy.Allow {
		removed, err := d.flushSet(ctx, c, r.Origin)
		if err != nil {
			return result, err
		}
		result.Blocks = removed
		d.detection.removed(lifted)
	}
	if err := d.flushRest(ctx, r, &result); err != nil {
		return result, changeError(err)
	}
	d.log.Info("the entries of an origin were removed on request", "origin", r.Origin, "blocks", result.Blocks,
		"allows", result.Allows, "by", c.Author())
	d.broadcast.Send(control.Event{Type: control.EventFlushed, Flush: &result})
	return result, nil
}

// countOf counts the entries that a flush removes.
func (d *Daemon) countOf(r control.Flush) control.FlushResult {
	result := control.FlushResult{Origin: r.Origin}
	d.engine.Read(func(b *policy.Book) {
		for g, n := range b.Counts() {
			switch {
			case g.Origin != r.Origin || r.Kind != 0 && g.Kind != r.Kind:
			case g.Kind == policy.Block:
				result.Blocks += n
			default:
				result.Allows += n
			}
		}
	})
	return result
}

// flushSet removes the confirmed blocks of an origin, and returns their number.
func (d *Daemon) flushSet(ctx context.Context, c control.Caller, origin string) (int, error) {
	none, err := engine.ReadList(strings.NewReader(""), 1, func(int) {})
	if err != nil {
		return 0, err
	}
	set := engine.Set{List: none, Entry: policy.Entry{Kind: policy.Block, Origin: origin, Author: c.Author()}}
	replaced, err := d.engine.Replace(ctx, set, func(int, int) {})
	if err != nil {
		return 0, changeError(fmt.Errorf("flush %s: %w", origin, err))
	}
	return replaced.Removed, nil
}

// flushRest removes the allows, and the blocks that are not confirmed.
func (d *Daemon) flushRest(ctx context.Context, r control.Flush, result *control.FlushResult) error {
	blocks, allows := 0, 0
	err := d.engine.Edit(ctx, func(b *policy.Book) (ops []policy.Op, _ error) {
		for _, e := range b.Pending("") {
			if e.Origin == r.Origin && (r.Kind == 0 || e.Kind == r.Kind) {
				ops = append(ops, policy.RemoveOp(e.Key()))
			}
		}
		blocks = len(ops)
		if r.Kind == policy.Block {
			return ops, nil
		}
		for ref := range b.Origin(policy.Allow, r.Origin) {
			if e, ok := b.Resolve(ref); ok {
				ops = append(ops, policy.RemoveOp(e.Key()))
			}
		}
		allows = len(ops) - blocks
		return ops, nil
	})
	if err == nil {
		result.Blocks, result.Allows = result.Blocks+blocks, result.Allows+allows
	}
	return err
}

// entriesOf returns the confirmed entries of an origin.
func (d *Daemon) entriesOf(kind policy.Kind, origin string) (entries []policy.Entry) {
	d.engine.Read(func(b *policy.Book) {
		for ref := range b.Origin(kind, origin) {
			if e, ok := b.Resolve(ref); ok {
				entries = append(entries, e)
			}
		}
	})
	return entries
}
