// Package wire turns the entries of the book into those of the API.
package wire

import (
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/policy"
)

// Ledger is the part of the engine that Entries needs.
type Ledger interface {
	// Read calls f with the book, which does not change meanwhile.
	Read(f func(*policy.Book))
	// Wall returns the wall clock time of a deadline.
	Wall(policy.Deadline) time.Time
}

// DropCounters reads the kernel's drop counters by the IDs that the book assigns.
type DropCounters interface {
	Hits(id uint32) uint64
	// Sampled returns how many drops were attributed by sampling.
	Sampled() (uint64, error)
}

// Converter shows entries as the API has them, with their drops.
type Converter struct {
	Log    *slog.Logger
	Ledger Ledger
	Drops  DropCounters
	// Tags returns the names of the sets that have all of a prefix; nil: there are no sets.
	Tags func(netip.Prefix) []string
}

// Entries returns entries as the API shows them. The drops of a prefix are shown for one of its
// entries alone, so that their sum over all entries is right.
func (c *Converter) Entries(entries []policy.Entry) []control.Entry {
	out := make([]control.Entry, 0, len(entries))
	sampled := c.sampled()
	for batch := range slices.Chunk(entries, batchSize) {
		c.Ledger.Read(func(b *policy.Book) {
			for _, e := range batch {
				out = append(out, c.entry(b, e, sampled))
			}
		})
	}
	return out
}

// batchSize is the number of entries that are read at a time, so that a long list does not delay
// changes.
const batchSize = 128

func (c *Converter) entry(b *policy.Book, e policy.Entry, sampled bool) control.Entry {
	out := control.Entry{
		Prefix: e.Prefix.String(), Kind: e.Kind.String(), Action: e.Action.String(), Origin: e.Origin,
		Reason: e.Reason, Author: e.Author, Created: e.Created, Forced: e.Forced,
		Expires: c.expires(e.Deadline), Evidence: evidence(e.Evidence),
	}
	if c.Tags != nil {
		out.Tags = c.Tags(e.Prefix)
	}
	if e.Action == policy.Limit {
		out.Rate = e.Rate.String()
	}
	if e.Replies {
		out.Replies = control.RepliesPass
	}
	if e.Kind == policy.Block {
		id, countedFor := b.Counter(e.Key())
		if out.DropsCountedBy = countedFor; countedFor == "" {
			out.Drops = c.Drops.Hits(id)
		}
		// A prefix without a counter has no exact count.
		out.DropsEstimated = id == 0 || sampled
	}
	if e.Pending != nil {
		out.Pending = &control.Pending{
			ID: e.Pending.ID, ConfirmBy: *c.expires(e.Deadline), Expires: c.expires(e.Pending.Deadline),
		}
	}
	return out
}

// evidence returns v, which may be nil, as the API shows it.
func evidence(v *policy.Evidence) *control.Evidence {
	if v == nil {
		return nil
	}
	out := &control.Evidence{
		Detector: v.Detector, Window: policy.FormatTTL(v.Window),
		Count: v.Count, First: v.First, Last: v.Last, Ports: v.Ports, Offence: v.Offence, Sources: v.Sources,
	}
	if v.Rule == nil {
		out.Rate, out.Limit = v.Rate.String(), v.Limit.String()
		return out
	}
	out.Rule, out.PointLimit, out.Reporter = v.Rule.Rule, v.Rule.Limit, v.Rule.Reporter
	for _, s := range v.Rule.Seen {
		out.Events = append(out.Events, control.Seen(s))
	}
	return out
}

// sampled reports whether the program has ever counted drops of entries by sampling,
// because there were too many. It returns true if this is not known.
func (c *Converter) sampled() bool {
	n, err := c.Drops.Sampled()
	if err != nil {
		c.Log.Error("cannot read whether drop counts are exact; they are shown as estimates", "error", err)
	}
	return n > 0 || err != nil
}

// expires returns the wall clock time of a deadline, nil for never.
func (c *Converter) expires(deadline policy.Deadline) *time.Time {
	if deadline == policy.Forever {
		return nil
	}
	t := c.Ledger.Wall(deadline)
	return &t
}
