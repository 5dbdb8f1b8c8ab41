package report

import (
	"context"
	"crypto/rand"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/paraxial/paraxial/policy"
)

const (
	maxQueue   = 16 // commands that wait for a reporter
	answerTime = time.Minute
	// acceptTime is how long an operator's word lasts that a set may be taken beyond its bounds.
	acceptTime = time.Hour

	maxText  = 512 // bytes of each text in a state
	maxNotes = 16
	maxKept  = 16
)

// GoneAfter is how long a reporter may be silent. It asks for commands all the time.
const GoneAfter = 3 * MaxWait

// Board holds what reporters have told of their feeds, and the commands for them. Its zero
// value is ready to use.
type Board struct {
	mu        sync.Mutex
	states    map[string]told      // by the name of the feed
	logs      map[string]toldLog   // by the name of the log
	accepted  map[string]time.Time // when an operator said so last, by the name of the feed
	reporters map[string]*reporter
}

// told is the state of a feed, and who told it.
type told struct {
	State
	by string
}

// reporter is what is known of a reporter.
type reporter struct {
	seen    time.Time
	asking  int // requests at work
	waiting []*order
	given   map[string]*order // by the ID of the command
	more    chan struct{}     // closed when a command comes or another request asks for one
}

// order is a command and the one who waits for its answer.
type order struct {
	Command
	answer chan Answer // of one answer
}

func (b *Board) of(name string) *reporter {
	if b.reporters == nil {
		b.reporters, b.states, b.accepted = map[string]*reporter{}, map[string]told{}, map[string]time.Time{}
		b.logs = map[string]toldLog{}
	}
	r := b.reporters[name]
	if r == nil {
		r = &reporter{given: map[string]*order{}, more: make(chan struct{})}
		b.reporters[name] = r
	}
	return r
}

// begin notes that a reporter asks something. end must be called after it.
func (b *Board) begin(name string) (end func()) {
	count := func(n int) {
		b.mu.Lock()
		defer b.mu.Unlock()
		r := b.of(name)
		r.asking += n
		r.seen = time.Now()
	}
	count(1)
	return func() { count(-1) }
}

// Present reports whether a reporter is there: it asks something, or has done so lately.
// seen is the last time that it did; zero if it never did.
func (b *Board) Present(name string) (present bool, seen time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.of(name)
	return r.asking > 0 || time.Since(r.seen) < GoneAfter, r.seen
}

// tell replaces the states that a reporter told before.
func (b *Board) tell(name string, states []State) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.of(name)
	maps.DeleteFunc(b.states, func(_ string, t told) bool { return t.by == name })
	for _, s := range states {
		b.states[s.Name] = told{plain(s), name}
	}
}

// State returns the state of a feed and the reporter that told it.
func (b *Board) State(feed string) (s State, reporter string, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	t, ok := b.states[feed]
	return t.State, t.by, ok
}

// Do gives a command to the reporter of its feed, and waits for the answer.
func (b *Board) Do(ctx context.Context, c Command) (Answer, error) {
	c.ID = rand.Text()
	o := &order{Command: c, answer: make(chan Answer, 1)}
	name, err := b.enqueue(o)
	if err != nil {
		return Answer{}, err
	}
	defer b.forget(name, o)
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	select {
	case a := <-o.answer:
		return a, nil
	case <-ctx.Done():
		return Answer{}, Errorf(CodeBusy, "the reporter %s has not answered for %s: see its log, and try again",
			name, answerTime)
	}
}

func (b *Board) enqueue(o *order) (name string, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	t, ok := b.states[o.Name]
	if !ok {
		return "", Errorf(CodeNotFound, "no reporter has told of the feed %s: start paraxial-agent with "+
			"`systemctl start paraxial-agent-feeds`, and see its log", o.Name)
	}
	r := b.of(t.by)
	if len(r.waiting)+len(r.given) >= maxQueue {
		return "", Errorf(CodeBusy, "%d commands wait for the reporter %s already: try again later", maxQueue, t.by)
	}
	if o.Verb == Accept || o.Verb == Rollback {
		b.accepted[o.Name] = time.Now()
	}
	r.waiting = append(r.waiting, o)
	r.wake()
	return t.by, nil
}

// Accepted reports whether an operator has accepted that the set of a feed is taken beyond
// its bounds. The word of a reporter is not enough.
func (b *Board) Accepted(feed string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	at, ok := b.accepted[feed]
	return ok && time.Since(at) < acceptTime
}

// Took notes that a set was taken: the next one beyond its bounds has to be accepted again.
func (b *Board) Took(feed string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.accepted, feed)
}

// wake lets requests for commands look again.
func (r *reporter) wake() {
	close(r.more)
	r.more = make(chan struct{})
}

// forget removes a command that nobody waits for any more.
func (b *Board) forget(name string, o *order) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.of(name)
	r.waiting = slices.DeleteFunc(r.waiting, func(w *order) bool { return w == o })
	delete(r.given, o.ID)
}

// next returns the next command for a reporter. It waits until there is one or ctx ends. Of
// several requests only the last waits.
func (b *Board) next(ctx context.Context, name string) (c Command, ok bool) {
	b.mu.Lock()
	r := b.of(name)
	r.wake()
	for first := true; ; first = false {
		if len(r.waiting) > 0 {
			o := r.waiting[0]
			r.waiting = r.waiting[1:]
			r.given[o.ID] = o
			b.mu.Unlock()
			return o.Command, true
		}
		more := r.more
		b.mu.Unlock()
		if !first {
			return Command{}, false
		}
		select {
		case <-more:
		case <-ctx.Done():
			return Command{}, false
		}
		b.mu.Lock()
	}
}

// answer passes the answer to a command on. It returns false if nobody waits for it.
func (b *Board) answer(name, id string, a Answer) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.of(name)
	o, ok := r.given[id]
	if !ok {
		return false
	}
	delete(r.given, id)
	o.answer <- Answer{Text: visible(a.Text), Error: visible(a.Error)}
	return true
}

// plain bounds the texts of a state, and removes what a terminal would act on: they come from
// a reporter, and partly from a server on the Internet.
func plain(s State) State {
	s.URL, s.Error, s.Format = short(s.URL), short(s.Error), short(s.Format)
	if s.Held != nil {
		held := *s.Held
		held.Reason = short(held.Reason)
		s.Held = &held
	}
	notes := s.Notes[:min(len(s.Notes), maxNotes)]
	s.Notes = make([]string, 0, len(notes))
	for _, n := range notes {
		s.Notes = append(s.Notes, short(n))
	}
	s.Kept = slices.Clone(s.Kept[max(0, len(s.Kept)-maxKept):])
	return s
}

// short bounds a text and removes what a terminal would act on.
func short(s string) string { return visible(cut(s, maxText)) }

func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n] + "…"
}

// visible replaces hidden characters, but not the ends of lines.
func visible(s string) string {
	return strings.ToValidUTF8(strings.Map(func(r rune) rune {
		if r != '\n' && policy.IsHidden(r) {
			return '?'
		}
		return r
	}, s), "?")
}
