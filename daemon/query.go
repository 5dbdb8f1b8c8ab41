package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"

	"github.com/paraxial/paraxial/config"
	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/loader"
	"github.com/paraxial/paraxial/policy"
)

// Status implements control.Backend.
func (d *Daemon) Status(context.Context) (control.Status, error) {
	s := control.Status{
		Version:    d.version,
		PID:        os.Getpid(),
		Started:    d.started,
		Interfaces: d.nics.status(),
		Warnings:   d.allWarnings(),
		Tunnels:    d.tunnelNames(), UnseenTunnels: d.unseenTunnels(),
		StateDir: d.settings().StateDir, BPFFS: d.settings().BPFFS,
	}
	s.Blocks, s.Allows = d.count()
	return s, nil
}

// count returns the number of entries of each kind.
func (d *Daemon) count() (blocks, allows int) {
	d.engine.Read(func(b *policy.Book) {
		for g, n := range b.Counts() {
			if g.Kind == policy.Block {
				blocks += n
			} else {
				allows += n
			}
		}
	})
	return blocks, allows
}

// Stats implements control.Backend.
func (d *Daemon) Stats(context.Context) (control.Stats, error) {
	counters, err := d.loader.Counters()
	if err != nil {
		return control.Stats{}, err
	}
	var stats control.Stats
	for _, nic := range d.nics.list() {
		s := control.InterfaceStats{Name: nic.name, Reasons: make(map[string]control.Counter)}
		for reason, c := range counters[nic.slot] {
			s.Packets += c.Packets
			s.Bytes += c.Bytes
			s.Reasons[reason.String()] = control.Counter{Packets: c.Packets, Bytes: c.Bytes}
		}
		stats.Interfaces = append(stats.Interfaces, s)
	}
	return stats, nil
}

// entriesBatch is the number of entries that are copied from the book at a time, so that
// a slow reader does not delay changes.
const entriesBatch = 4096

// Entries implements control.Backend. An entry that changes meanwhile is yielded in the
// old or the new state. No entry is yielded twice.
func (d *Daemon) Entries(
	ctx context.Context, kind policy.Kind, origin string, yield func(control.Entry) error,
) error {
	for _, k := range []policy.Kind{policy.Block, policy.Allow} {
		if kind != 0 && kind != k {
			continue
		}
		for batch := range slices.Chunk(d.refs(k, origin), entriesBatch) {
			if err := ctx.Err(); err != nil {
				return err
			}
			for _, e := range d.wire.Entries(d.resolve(batch, k, origin)) {
				if err := yield(e); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// refs returns the names of the entries of a kind and origin; of all origins if it is empty.
func (d *Daemon) refs(k policy.Kind, origin string) (refs []policy.EntryRef) {
	d.engine.Read(func(b *policy.Book) {
		if origin == "" {
			refs = b.Refs(k)
		} else {
			refs = b.RefsOf(k, origin)
		}
	})
	return refs
}

// resolve returns the live entries of an origin among refs; of all origins if it is empty.
func (d *Daemon) resolve(refs []policy.EntryRef, k policy.Kind, origin string) []policy.Entry {
	var entries []policy.Entry
	now := d.engine.Now()
	d.engine.Read(func(b *policy.Book) {
		for _, r := range refs {
			e, ok := b.Resolve(r)
			if ok && e.Kind == k && e.Live(now) && (origin == "" || e.Origin == origin) {
				entries = append(entries, e)
			}
		}
	})
	return entries
}

// opinion is what the program in force and the model say about a source.
type opinion struct {
	entries       []policy.Entry // that match the source
	before, after policy.Outcome // by the model, before and after the program was asked
	answer        loader.Answer
	asked         bool // false if no interface is protected
	undisturbed   bool // no change was under way, so that both must agree
}

// ask asks both. It waits for no change.
func (d *Daemon) ask(src netip.Addr) (o opinion, err error) {
	o.undisturbed = d.engine.Undisturbed(func() {
		o.entries, o.before = d.model(src)
		if o.answer, o.asked, err = d.nics.ask(d.loader, src); err == nil {
			_, o.after = d.model(src)
		}
	})
	return o, err
}

// whyTries is how often Why asks while changes are under way. After that it answers what the
// kernel does at the moment.
const whyTries = 3

// Why implements control.Backend. It asks the program in force and the model, and
// reports a disagreement.
func (d *Daemon) Why(_ context.Context, src netip.Addr) (control.WhyResult, error) {
	var o opinion
	for range whyTries {
		var err error
		if o, err = d.ask(src); err != nil {
			return control.WhyResult{}, fmt.Errorf("ask the program in force: %w", err)
		}
		if o.undisturbed {
			break
		}
	}
	return d.why(src, o), nil
}

// why returns an opinion as the API has it.
func (d *Daemon) why(src netip.Addr, o opinion) control.WhyResult {
	result := control.WhyResult{
		Address: src.String(), Verdict: o.before.Verdict(), Reason: o.before.String(),
		Matched: d.wire.Entries(o.entries), CheckedBy: "model", Tags: d.tagsOf(netip.PrefixFrom(src, src.BitLen())),
	}
	drops := o.before == policy.Blocked || o.before == policy.Limited
	if drops {
		result.UnseenTunnels = d.unseenTunnels()
	}
	if drops && d.settings().Essential == config.EssentialOn {
		result.EssentialRate = loader.EssentialRate
	}
	if policy.DecideReply(o.entries, src, d.engine.Now()) == policy.Answers {
		result.Replies = control.RepliesPass
	}
	for _, e := range result.Matched {
		if d.ruling.isFutile(e.Prefix, e.Origin) {
			result.Ineffective = "the ban by " + e.Origin + " has no effect: " + futileText
		}
	}
	if !o.asked {
		return result
	}
	result.CheckedBy = "kernel"
	result.Reason = o.answer.Reason.String()
	result.Verdict = verdictOf(o.answer)
	// A deadline may pass between the three questions. The kernel must agree with one of
	// the two answers of the model.
	if o.undisturbed && !o.before.Gives(result.Reason) && !o.after.Gives(result.Reason) {
		result.Disagreement = fmt.Sprintf("the program in force says %s, the book says %s: please report this",
			result.Reason, o.after)
		d.log.Error("kernel and book disagree", "source", src, "kernel", result.Reason, "book", o.after.String())
	}
	return result
}

// verdictOf returns the verdict of the program, as the API names it.
func verdictOf(a loader.Answer) string {
	switch {
	case policy.Limited.Gives(a.Reason.String()):
		return policy.Limited.Verdict()
	case a.Drop:
		return "drop"
	case a.Reason.String() == policy.Shadowed.String():
		return policy.Shadowed.Verdict()
	}
	return "pass"
}

// model returns the entries that match a source, and the outcome by policy.Decide.
func (d *Daemon) model(src netip.Addr) ([]policy.Entry, policy.Outcome) {
	var entries []policy.Entry
	now := d.engine.Now()
	d.engine.Read(func(b *policy.Book) { entries = b.Matching(src, now) })
	return entries, policy.Decide(entries, src, now)
}

// Watch implements control.Backend.
func (d *Daemon) Watch(ctx context.Context, yield func(control.Event) error) error {
	err := d.broadcast.Watch(ctx, yield)
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
