package main

import (
	"context"
	"errors"
	"iter"

	"github.com/paraxial/paraxial/feeds"
	"github.com/paraxial/paraxial/report"
)

// sender hands the sets to the daemon. The rooms feeds and report do not know each other.
type sender struct{ client *report.Client }

func (s sender) Put(ctx context.Context, set feeds.Set) (feeds.Result, error) {
	r, err := s.client.Put(ctx, report.Set{
		Name: set.Name, Generation: set.Generation, Accept: set.Accept, Entries: entriesOf(set.Entries),
	})
	return feeds.Result(r), err
}

func entriesOf(all iter.Seq2[feeds.Entry, error]) iter.Seq2[report.Entry, error] {
	return func(yield func(report.Entry, error) bool) {
		for e, err := range all {
			if !yield(report.Entry(e), err) {
				return
			}
		}
	}
}

func (s sender) Renew(ctx context.Context, name string, generation uint64) error {
	err := s.client.Renew(ctx, name, generation)
	if errors.Is(err, report.ErrUnknown) {
		return feeds.ErrUnknown
	}
	return err
}

func (s sender) Report(ctx context.Context, states []feeds.State) error {
	all := make([]report.State, 0, len(states))
	for _, st := range states {
		all = append(all, stateOf(st))
	}
	return s.client.Report(ctx, all)
}

func stateOf(s feeds.State) report.State {
	kept := make([]report.Kept, 0, len(s.Kept))
	for _, k := range s.Kept {
		kept = append(kept, report.Kept(k))
	}
	return report.State{
		Name: s.Name, URL: s.URL, Generation: s.Generation, Entries: s.Entries, FetchedAt: s.FetchedAt,
		CheckedAt: s.CheckedAt, ChangedAt: s.ChangedAt, NextAt: s.NextAt, EndsAt: s.EndsAt, Failures: s.Failures,
		Error: s.Error, Held: (*report.Held)(s.Held), Paused: s.Paused, Ended: s.Ended, Format: s.Format,
		Notes: s.Notes, Kept: kept,
	}
}

func (s sender) Command(ctx context.Context) (feeds.Command, error) {
	c, _, err := s.client.Command(ctx)
	return feeds.Command{ID: c.ID, Verb: feeds.Verb(c.Verb), Name: c.Name, Generation: c.Generation}, err
}

func (s sender) Answer(ctx context.Context, id string, a feeds.Answer) error {
	answer := report.Answer{Text: a.Text}
	if a.Err != nil {
		answer.Error = a.Err.Error()
	}
	return s.client.Answer(ctx, id, answer)
}
