package report

import (
	"bytes"
	"cmp"
	"context"
	"net/netip"
	"slices"
	"time"
)

// events counts the events of a body, one on each line. All lines are read before one is
// counted, so a body that is cut off counts nothing.
func (c *call) events() (any, error) {
	data, leave, err := c.read(MaxBody)
	if err != nil {
		return nil, err
	}
	defer leave()
	source := c.query.Get("source")
	if len(source) > maxSourceName {
		return nil, invalid("source: at most %d bytes", maxSourceName)
	}
	key := data
	if id := c.query.Get("batch"); id != "" {
		key = []byte(id)
	}
	return c.once.count(c.rights.Name, source, key, data, func(lines []int) (Taken, error) {
		return c.countLines(data, lines)
	})
}

// maxSourceName is the length of the longest name of a source.
const maxSourceName = 64

// countLines counts the events of a body, or of some of its lines.
func (c *call) countLines(data []byte, some []int) (Taken, error) {
	lines := bytes.Split(data, []byte("\n"))
	if n := len(lines); len(lines[n-1]) == 0 {
		lines = lines[:n-1]
	}
	if len(lines) > MaxEvents {
		return Taken{}, Errorf(CodeTooLarge, "%d lines; at most %d in a request, and nothing was counted", len(lines),
			MaxEvents)
	}
	b := newBatch(len(lines))
	for n, line := range lines {
		_, wanted := slices.BinarySearch(some, n+1)
		if (wanted || some == nil) && len(bytes.TrimSpace(line)) > 0 {
			b.parse(n+1, line)
		}
	}
	// A reporter that goes away meanwhile will send all of them again.
	taken, err := c.count(context.WithoutCancel(c.r.Context()), c.rights, b)
	if slices.ContainsFunc(taken.Refused, func(r Refusal) bool { return r.Code == CodeBudget }) {
		c.slowDown(c.r.Context())
	}
	return taken, err
}

// batch are the events of a request.
type batch struct {
	events  []Event
	lines   []int // of the events
	refused []Refusal
	invalid int // lines that are no events
}

func newBatch(n int) *batch {
	return &batch{events: make([]Event, 0, n), lines: make([]int, 0, n), refused: []Refusal{}}
}

// maxRefusal is the length at which the text of a refusal is cut.
const maxRefusal = 200

func (b *batch) refuse(line int, code, message string) {
	b.refused = append(b.refused, Refusal{Line: line, Code: code, Message: visible(cut(message, maxRefusal))})
}

func (b *batch) parse(line int, data []byte) {
	e, err := decodeEvent(data)
	if err != nil {
		b.refuse(line, CodeInvalidRequest, err.Error())
		b.invalid++
		return
	}
	b.events, b.lines = append(b.events, e), append(b.lines, line)
}

// count counts the events of a batch that the reporter may report.
func (s *Server) count(ctx context.Context, r Rights, b *batch) (Taken, error) {
	for range b.invalid {
		s.backend.Note(r.Name, "", CodeInvalidRequest)
	}
	s.admit(r, b)
	accepted := len(b.events)
	if accepted > 0 {
		refused, err := s.backend.Events(ctx, r.Name, b.events)
		if err != nil {
			return Taken{}, err
		}
		for _, f := range refused {
			b.refuse(b.lines[f.Line-1], f.Code, f.Message)
		}
		accepted -= len(refused)
	}
	slices.SortFunc(b.refused, func(x, y Refusal) int { return cmp.Compare(x.Line, y.Line) })
	return Taken{Accepted: accepted, Refused: b.refused}, nil
}

// CountProven counts an event whose source is proven.
func (s *Server) CountProven(ctx context.Context, r Rights, e Event) error {
	r.Proof = nil
	return s.countOne(ctx, r, e)
}

func (s *Server) countOne(ctx context.Context, r Rights, e Event) error {
	taken, err := s.count(ctx, r, &batch{events: []Event{e}, lines: []int{1}})
	if err != nil || len(taken.Refused) == 0 {
		return err
	}
	return Errorf(taken.Refused[0].Code, "%s", taken.Refused[0].Message)
}

// admit removes the events that the reporter may not report, and those beyond its budget.
func (s *Server) admit(r Rights, b *batch) {
	kept := 0
	for i, e := range b.events {
		if err := r.checkEvent(e); err != nil {
			b.refuse(b.lines[i], err.Code, err.Message)
			s.backend.Note(r.Name, e.Rule, err.Code)
			continue
		}
		b.events[kept], b.lines[kept] = e.plain(), b.lines[i]
		kept++
	}
	granted := s.budgets.events(r, time.Now(), kept)
	for i := granted; i < kept; i++ {
		err := overBudget(r)
		b.refuse(b.lines[i], err.Code, err.Message)
		s.backend.Note(r.Name, b.events[i].Rule, err.Code)
	}
	b.events, b.lines = b.events[:granted], b.lines[:granted]
}

func overBudget(r Rights) *Error {
	return Errorf(CodeBudget, "more than %d events in a second (reports.reporters.events_per_second)",
		r.EventsPerSecond)
}

// slowDown waits before the answer to a reporter that is over its budget, so that it cannot use
// the processor with events that are refused.
func (c *call) slowDown(ctx context.Context) {
	t := time.NewTimer(c.opts.OverBudget)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	case <-c.stopping:
	}
}

// rate counts an event and returns the verdict on its source.
func (c *call) rate() (any, error) {
	var e Event
	leave, err := c.begin(&e)
	if err != nil {
		return nil, err
	}
	defer leave()
	v, err := c.rateOf(c.r.Context(), c.rights, e)
	if codeOf(err) == CodeBudget {
		c.slowDown(c.r.Context())
	}
	return v, err
}

func (s *Server) rateOf(ctx context.Context, r Rights, e Event) (Verdict, error) {
	if err := r.checkAsk(); err != nil {
		return Verdict{}, err
	}
	err := r.checkEvent(e)
	if err == nil && s.budgets.events(r, time.Now(), 1) == 0 {
		err = overBudget(r)
	}
	if err != nil {
		s.backend.Note(r.Name, e.Rule, err.Code)
		return Verdict{}, err
	}
	v, failed := s.backend.Rate(ctx, r.Name, e.plain())
	return v.complete(), failed
}

func (c *call) verdict() (any, error) {
	addr, err := netip.ParseAddr(c.query.Get("address"))
	if err != nil {
		return nil, invalid("address: %v", err)
	}
	return c.verdictOf(c.rights, addr)
}

func (s *Server) verdictOf(r Rights, addr netip.Addr) (Verdict, error) {
	if err := r.checkAsk(); err != nil {
		return Verdict{}, err
	}
	addr, err := unmapped(addr)
	if err != nil {
		return Verdict{}, err
	}
	return s.backend.Verdict(addr).complete(), nil
}

// verdicts answers for a list of addresses, in its order.
func (c *call) verdicts() (any, error) {
	if err := c.rights.checkAsk(); err != nil {
		return nil, err
	}
	var addrs []netip.Addr
	leave, err := c.begin(&addrs)
	if err != nil {
		return nil, err
	}
	defer leave()
	if len(addrs) > MaxVerdicts {
		return nil, Errorf(CodeTooLarge, "%d addresses; at most %d", len(addrs), MaxVerdicts)
	}
	list := verdicts{Verdicts: make([]Verdict, 0, len(addrs))}
	for n, a := range addrs {
		v, err := c.verdictOf(c.rights, a)
		if err != nil {
			return nil, invalid("address %d: %v", n+1, err)
		}
		list.Verdicts = append(list.Verdicts, v)
	}
	return list, nil
}

// verdicts are the answer to a list of addresses.
type verdicts struct {
	Verdicts []Verdict `json:"verdicts"`
}

// complete returns v with a list of tags that is not null on the wire.
func (v Verdict) complete() Verdict {
	if v.Tags == nil {
		v.Tags = []string{}
	}
	return v
}

func (c *call) ban() (any, error) {
	var b Ban
	leave, err := c.begin(&b)
	if err != nil {
		return nil, err
	}
	defer leave()
	if err := c.rights.checkBan(b); err != nil {
		return nil, err
	}
	if !c.budgets.ban(c.rights, time.Now()) {
		return nil, Errorf(CodeBudget, "more than %d bans in a minute (reports.reporters.ban.per_minute)",
			c.rights.Bans.PerMinute)
	}
	v, err := c.backend.Ban(c.r.Context(), c.rights, b)
	return v.complete(), err
}
