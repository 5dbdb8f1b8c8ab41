package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/user"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/paraxial/paraxial/config"
	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/engine"
	"github.com/paraxial/paraxial/policy"
	"github.com/paraxial/paraxial/report"
)

// usersFor is how long the numbers of users are taken as known. A package may add the user
// of a reporter while the daemon runs.
const usersFor = 10 * time.Second

// reporting takes the sets, events and bans of reporters. It implements report.Backend.
type reporting struct {
	*Daemon
	board  report.Board
	server *report.Server

	mu     sync.Mutex
	users  map[uint32]report.Rights
	usedBy *config.Config // from which users are
	usedAt time.Time
	sets   map[string]handedIn
}

// handedIn is a set that a reporter has handed in. It is not kept across restarts: then the
// reporter puts the set again.
type handedIn struct {
	generation uint64
	feed       config.Feed // as it was then
	entries    int
	base       int              // entries when it was put
	covers     control.Coverage // by what was put since then, at most
	// deadline is when the entries end, apart from those whose lines have an end of their own.
	// They end no earlier.
	deadline policy.Deadline
}

func newReporting(d *Daemon) *reporting {
	r := &reporting{Daemon: d}
	r.server = report.NewServer(r, &r.board, report.Options{Log: d.log})
	return r
}

// Reporter implements report.Backend.
func (r *reporting) Reporter(uid uint32) (report.Rights, bool) {
	cfg := r.cfg.Load()
	r.mu.Lock()
	defer r.mu.Unlock()
	if cfg != r.usedBy || time.Since(r.usedAt) > usersFor {
		r.users, r.usedBy, r.usedAt = usersOf(cfg), cfg, time.Now()
	}
	rights, ok := r.users[uid]
	return rights, ok
}

// usersOf returns the rights of reporters by the numbers of their users. A user that does not
// exist is no reporter.
func usersOf(cfg *config.Config) map[uint32]report.Rights {
	users := make(map[uint32]report.Rights)
	for _, who := range cfg.Reporters() {
		number := who.User
		if u, err := user.Lookup(who.User); err == nil {
			number = u.Uid
		}
		if uid, err := strconv.ParseUint(number, 10, 32); err == nil {
			rights := rightsOf(who)
			rights.MayTell = func(log string) bool { return cfg.MayTell(who, log) }
			users[uint32(uid)] = rights
		}
	}
	return users
}

// rightsOf returns the rights of a reporter of the configuration.
func rightsOf(who config.Reporter) report.Rights {
	rights := report.Rights{
		Name: who.Name, MayPut: who.MayPut, MayReport: who.MayReport,
		MayAsk: who.Can(config.RightAsk), MayBan: who.Can(config.RightBan), EventsPerSecond: who.EventsPerSecond,
		Bans: report.Bans{
			MaxFor: who.Ban.MaxFor, WidestIPv4: who.Ban.Widest.IPv4, WidestIPv6: who.Ban.Widest.IPv6,
			PerMinute: who.Ban.PerMinute, Live: who.Ban.Live,
		},
	}
	if who.Proof == config.ProofConnection {
		rights.Proof = &report.Proof{Rule: who.Rules[0], Ports: who.Ports}
	}
	return rights
}

// Put implements report.Backend. What the set does and its bounds come from the
// configuration. A change beyond the bounds needs an operator, who has accepted it on the
// control socket.
func (r *reporting) Put(
	ctx context.Context, reporter string, s report.Set, list io.Reader,
) (report.Result, error) {
	feed, err := r.feed(s.Name)
	if err != nil {
		return report.Result{}, err
	}
	if !feed.InKernel() {
		return r.putTags(ctx, feed, reporter, s, list)
	}
	change := r.changeOf(feed, reporter)
	change.Accept = s.Accept && r.board.Accepted(s.Name)
	before, known := r.takeKnown(s.Name) // it is not known any more until it is in force
	deadline := policy.After(r.engine.Now(), feed.TTL)
	result, err := r.replaceSet(ctx, change, list, func(control.ImportProgress) {})
	out := report.Result{
		Added: result.Added, Removed: result.Removed, Renewed: result.Renewed, Unchanged: result.Unchanged,
		Refused: len(result.Refused), Notes: putNotes(result),
	}
	switch {
	case errors.Is(err, errHeld):
		if known {
			r.remember(s.Name, before)
		}
		out.Held = strings.Join(result.Held, "; ")
		return out, nil
	case err != nil:
		return report.Result{}, reportError(err)
	case len(result.Invalid) > 0:
		return report.Result{}, invalidLine(result.Invalid[0].Line, result.Invalid[0].Message)
	}
	if err := r.flushOther(ctx, change); err != nil {
		return report.Result{}, reportError(err)
	}
	if change.Accept {
		r.board.Took(s.Name)
	}
	n := r.countOrigin(change.Kind, change.Origin)
	r.remember(s.Name, handedIn{
		generation: s.Generation, feed: feed, entries: n, base: n, covers: result.Coverage, deadline: deadline,
	})
	return out, nil
}

// feed returns the feed of that name in the configuration.
func (r *reporting) feed(name string) (config.Feed, error) {
	feed, ok := r.settings().Feed(name)
	if !ok {
		return feed, report.Errorf(report.CodeForbidden, "the configuration of paraxiald has no feed %s", name)
	}
	return feed, nil
}

// changeOf returns the replacement of the set of a feed.
func (r *reporting) changeOf(feed config.Feed, reporter string) listChange {
	change := listChange{
		Import: control.Import{Origin: policy.OriginFeed + feed.Name, Kind: policy.Block, For: feed.TTL},
		author: "reporter:" + reporter, guard: r.guard.Guard,
		bounds: bounds{feed.Bounds(), "feeds", feed.CrowdSec.URL != ""},
		most:   feed.MaxEntries, longest: feed.TTL,
		tooLong: control.Errorf(control.CodeTooLarge, "nothing was changed: the set of %s has more than %d different "+
			"prefixes (feeds.max_entries)", feed.Name, feed.MaxEntries),
	}
	if feed.CrowdSec.URL != "" {
		change.slack = decisionSlack
	}
	switch feed.Use {
	case config.UseShadow:
		change.Action = policy.Shadow
	case config.UseLimit:
		change.Action, change.Rate = policy.Limit, feed.Limit
	case config.UseAllow:
		change.Kind = policy.Allow
	case config.UseTag: // the bound of the share is for sets that block or exempt
		change.Action = policy.Shadow
		if r.settings().Exempts(feed.Name) {
			change.Action = policy.Drop
		}
	default:
		change.Action = policy.Drop
	}
	change.Replies = feed.Replies == config.RepliesPass && change.Kind == policy.Block
	return change
}

// decisionSlack is more than what is left of a decision of CrowdSec can differ between two sets,
// by rounding and delays.
const decisionSlack = 3 * time.Second

// maxPutNotes is the number of notes about refused and spared prefixes.
const maxPutNotes = 10

func putNotes(result control.ImportResult) []string {
	notes := append([]string{}, result.Notes...)
	for _, l := range result.Refused[:min(len(result.Refused), maxPutNotes)] {
		notes = append(notes, l.Prefix+": "+l.Message)
	}
	for _, l := range result.Spared[:min(len(result.Spared), maxPutNotes)] {
		notes = append(notes, l.Prefix+" has open sessions, which pass: "+strings.Join(l.Addresses, ", "))
	}
	return notes
}

// flushOther removes the entries of the kind that the feed does not use any more.
func (r *reporting) flushOther(ctx context.Context, change listChange) error {
	other := policy.Allow
	if change.Kind == policy.Allow {
		other = policy.Block
	}
	return r.flushKind(ctx, other, change)
}

func (r *reporting) remember(name string, s handedIn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sets == nil {
		r.sets = make(map[string]handedIn)
	}
	r.sets[name] = s
}

// takeKnown forgets a set, and returns what was known of it.
func (r *reporting) takeKnown(name string) (known handedIn, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	known, ok = r.sets[name]
	delete(r.sets, name)
	return known, ok
}

// Renew implements report.Backend. A set that has ended or lost entries, or whose feed has
// changed in the configuration, has to be put. Entries with an end of their own keep it.
func (r *reporting) Renew(ctx context.Context, reporter, name string, generation uint64) error {
	feed, err := r.feed(name)
	if err != nil {
		return err
	}
	if !feed.InKernel() {
		return r.renewTags(feed, generation)
	}
	change, now := r.changeOf(feed, reporter), r.engine.Now()
	r.mu.Lock()
	known, ok := r.sets[name]
	r.mu.Unlock()
	if !ok || known.generation != generation || !reflect.DeepEqual(known.feed, feed) || known.deadline <= now ||
		known.entries != r.countOrigin(change.Kind, change.Origin) {
		return notInForce(name, generation)
	}
	r.takeKnown(name) // until all entries are renewed
	deadline := policy.After(now, feed.TTL)
	if err := r.prolong(engine.For(ctx, change.author), change, known.deadline, deadline); err != nil {
		return reportError(changeError(fmt.Errorf("renew the set %s: %w", name, err)))
	}
	known.deadline = deadline
	r.remember(name, known)
	return nil
}

// notInForce is the error of a change of a set that the daemon does not have.
func notInForce(name string, generation uint64) error {
	return report.Errorf(report.CodeUnknown, "generation %d of the set %s is not known to be in force: put it",
		generation, name)
}

// prolong lets entries stay until a deadline that would end at another one or later.
func (r *reporting) prolong(ctx context.Context, change listChange, from, to policy.Deadline) error {
	for at, next := policy.EntryRef(1), policy.EntryRef(0); at != 0; at = next {
		err := r.engine.Edit(ctx, func(b *policy.Book) (ops []policy.Op, _ error) {
			var refs []policy.EntryRef
			refs, next = b.OriginFrom(change.Kind, change.Origin, at, renewedAtOnce)
			for _, ref := range refs {
				if e, ok := b.Resolve(ref); ok && from <= e.Deadline && e.Deadline < to {
					e.Deadline = to
					ops = append(ops, policy.PutOp(e))
				}
			}
			return ops, nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// renewedAtOnce is the number of entries that are looked at between other changes.
const renewedAtOnce = 8192

// generation returns the generation of a set that is known to be in force, or 0.
func (r *reporting) generation(name string) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sets[name].generation
}

// feedOf returns the feed whose entries have an origin.
func feedOf(origin string) (name string, ok bool) {
	return strings.CutPrefix(origin, policy.OriginFeed)
}

// reportError returns an error of the control socket as the report socket has it.
func reportError(err error) error {
	if e, ok := errors.AsType[*control.Error](err); ok {
		return &report.Error{Code: e.Code, Message: err.Error(), Status: e.Status}
	}
	return err
}
