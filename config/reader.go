package config

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"

	"github.com/paraxial/paraxial/match"
)

// Reader reads the lines of a log.
type Reader struct {
	Format *match.Format
	Filter match.Filter
	rules  []string // of the patterns, or the one of the log
}

// Reader returns a reader for the lines of l. It may be used by one goroutine at a time.
func (l LogSource) Reader() (*Reader, error) {
	r := &Reader{rules: []string{l.Rule}}
	var err error
	if l.Format != "" {
		r.Format, err = match.New(l.Format)
	} else {
		var texts []string
		r.rules = nil
		for _, p := range l.Patterns {
			texts, r.rules = append(texts, p.Text), append(r.rules, cmp.Or(p.Rule, l.Rule))
		}
		r.Format, err = match.Patterns(texts, match.Layout(l.Time))
	}
	if err != nil {
		return nil, err
	}
	r.Filter, err = l.Match.filter()
	if err == nil && !r.Filter.IsZero() && !r.Format.IsHTTP() {
		err = errors.New("match is for access logs; leave it out")
	}
	return r, err
}

func (m LogMatch) filter() (f match.Filter, err error) {
	f.Methods, f.Statuses = m.Method, m.Status
	for _, set := range []struct {
		texts []string
		parse func(string) (match.Glob, error)
		to    *[]match.Glob
	}{{m.Path, match.PathGlob, &f.Paths}, {m.Host, match.HostGlob, &f.Hosts}, {m.Agent, match.AgentGlob, &f.Agents}} {
		for _, t := range set.texts {
			g, err := set.parse(t)
			if err != nil {
				return f, err
			}
			*set.to = append(*set.to, g)
		}
	}
	return f, nil
}

// Read returns the address that a line is held against, which is invalid if that is nobody.
func (r *Reader) Read(line []byte) (netip.Addr, match.Result) {
	m := r.Format.Match(line)
	if r.Filter.IsZero() {
		return m.Held(), m
	}
	if (m.Kind == match.Failure || m.Kind == match.Other) && r.Filter.Fits(m.HTTP) {
		return m.Address, m
	}
	return netip.Addr{}, m
}

// Event returns the address of a line that counts, and whether the line tells of a success. The
// address is invalid if the line does not count.
func (r *Reader) Event(line []byte) (a netip.Addr, m match.Result, success bool) {
	a, m = r.Read(line)
	if success = m.Kind == match.Success && m.Address.IsValid(); success {
		a = m.Address
	}
	return a, m, success
}

// Rule returns the rule for which a line counts.
func (r *Reader) Rule(m match.Result) string { return r.rules[min(m.Pattern, len(r.rules)-1)] }

// try reads the samples.
func (l LogSource) try() error {
	reader, err := l.Reader()
	if err != nil {
		return fmt.Errorf("%q: %w", l.Name, err)
	}
	for _, s := range l.Samples {
		got, want := NoOffender, s.Offender
		if a, _ := reader.Read([]byte(s.Line)); a.IsValid() {
			got = a.String()
		}
		if got != want {
			return fmt.Errorf("%q: the sample %q is held against %s, not %s: change the patterns or the sample",
				l.Name, shorten(s.Line, 200), got, want)
		}
	}
	return nil
}
