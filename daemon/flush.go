package daemon

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/engine"
	"github.com/paraxial/paraxial/guard"
	"github.com/paraxial/paraxial/policy"
)

// flushedAtOnce is the largest number of entries that one change removes.
const flushedAtOnce = 20_000

// Flush implements control.Backend. One change removes all entries. If there are more than
// flushedAtOnce, the confirmed blocks are removed before that, in steps, as an import of an empty
// list does.
func (d *Daemon) Flush(ctx context.Context, c control.Caller, r control.Flush) (control.FlushResult, error) {
	found := d.countOf(r)
	if r.DryRun || found.Blocks+found.Allows == 0 {
		return found, nil
	}
	ctx = asCaller(ctx, c)
	// Detectors and rules keep state about their entries.
	var lifted []control.Entry
	_, detector := detectorOf(r.Origin)
	if _, rule := ruleOf(r.Origin); (detector || rule) && r.Kind != policy.Allow {
		lifted = d.wire.Entries(d.entriesOf(policy.Block, r.Origin))
	}
	result := control.FlushResult{Origin: r.Origin}
	if found.Blocks+found.Allows > flushedAtOnce && r.Kind != policy.Allow {
		removed, err := d.emptySet(ctx, policy.Block, r.Origin, c.Author())
		if err != nil {
			return result, changeError(fmt.Errorf("flush %s: %w", r.Origin, err))
		}
		result.Blocks = removed
	}
	if err := d.flushRest(ctx, c, r, &result); err != nil {
		if result.Blocks > 0 {
			d.removed(lifted)
			err = fmt.Errorf("%s of %s removed, but not its other entries: %w",
				amount(result.Blocks, "block", "blocks"), r.Origin, err)
		}
		return result, changeError(err)
	}
	d.removed(lifted)
	d.log.Info("the entries of an origin were removed on request", "origin", r.Origin, "blocks", result.Blocks,
		"allows", result.Allows, "by", c.Author())
	d.broadcast.Send(control.Event{Type: control.EventFlushed, Flush: &result})
	return result, nil
}

// countOf counts the entries that a flush removes.
func (d *Daemon) countOf(r control.Flush) control.FlushResult {
	result := control.FlushResult{Origin: r.Origin}
	if r.Kind != policy.Allow {
		result.Blocks = d.countOrigin(policy.Block, r.Origin)
	}
	if r.Kind != policy.Block {
		result.Allows = d.countOrigin(policy.Allow, r.Origin)
	}
	return result
}

// countOrigin returns the number of entries of a kind and origin.
func (d *Daemon) countOrigin(kind policy.Kind, origin string) (n int) {
	d.engine.Read(func(b *policy.Book) { n = b.CountOf(kind, origin) })
	return n
}

// emptySet removes the confirmed entries of a kind and origin in steps, and returns their number.
func (d *Daemon) emptySet(ctx context.Context, kind policy.Kind, origin, author string) (int, error) {
	none, err := engine.ReadList(strings.NewReader(""), 1, func(int) {})
	if err != nil {
		return 0, err
	}
	set := engine.Set{List: none, Entry: policy.Entry{Kind: kind, Origin: origin, Author: author}}
	replaced, err := d.engine.Replace(ctx, set, func(int, int) {})
	return replaced.Removed, err
}

// flushRest removes all entries of the origin that are left, in one change. It spares the open
// sessions that a block would cut without the allows.
func (d *Daemon) flushRest(
	ctx context.Context, c control.Caller, r control.Flush, result *control.FlushResult,
) error {
	var blocks, allows int
	var sessions []netip.Addr
	var spared []policy.Entry
	if r.Kind != policy.Block {
		sessions, result.Notes = d.openSessions(ctx, c)
	}
	err := d.engine.Edit(ctx, func(b *policy.Book) (ops []policy.Op, _ error) {
		blocks, allows = 0, 0
		ends := func(e policy.Entry) bool { return e.Origin == r.Origin }
		spared = guard.SparesWithout(b, sessions, ends, d.engine.Now())
		ops = puts(spared)
		remove := func(e policy.Entry) {
			if r.Kind != 0 && e.Kind != r.Kind {
				return
			}
			if ops = append(ops, policy.RemoveOp(e.Key())); e.Kind == policy.Block {
				blocks++
			} else {
				allows++
			}
		}
		for _, e := range b.Pending("") {
			if e.Origin == r.Origin {
				remove(e)
			}
		}
		for _, kind := range []policy.Kind{policy.Block, policy.Allow} {
			for ref := range b.Origin(kind, r.Origin) {
				if e, ok := b.Resolve(ref); ok {
					remove(e)
				}
			}
		}
		return ops, nil
	})
	if err != nil {
		return err
	}
	result.Blocks, result.Allows = result.Blocks+blocks, result.Allows+allows
	result.Notes = append(result.Notes, guard.SpareNotes(spared)...)
	d.broadcast.Announce(control.EventAdded, d.wire.Entries(spared))
	return nil
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
