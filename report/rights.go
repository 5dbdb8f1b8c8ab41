package report

import (
	"net/netip"
	"time"

	"github.com/paraxial/paraxial/policy"
)

// Rights are what a reporter may do.
type Rights struct {
	Name            string // of the reporter
	MayPut          func(set string) bool
	MayReport       func(rule string) bool
	MayTell         func(log string) bool // of the state of a log
	MayAsk          bool
	MayBan          bool
	EventsPerSecond int
	Bans            Bans
	Proof           *Proof // nil: its events need none
}

// Bans bound the bans of a reporter.
type Bans struct {
	MaxFor     time.Duration
	WidestIPv4 int
	WidestIPv6 int
	PerMinute  int
	Live       int // in force at the same time; the Backend keeps this bound
}

// Proof is what the events of a reporter need: the connection of the source, with one of these
// local ports. They count for the rule. Only the socket of libblocklist can take a connection.
type Proof struct {
	Rule  string
	Ports []uint16
}

// checkEvent returns an error if the reporter may not report the event, or if it is not valid.
func (r Rights) checkEvent(e Event) *Error {
	switch {
	case r.Proof != nil:
		return Errorf(CodeUnproven, "the events of %s need the connection of the source as a proof: report them with "+
			"libblocklist on reports.blocklist_socket", r.Name)
	case !e.Address.IsValid():
		return Errorf(CodeInvalidRequest, "the event has no address")
	case e.Address.Zone() != "":
		return Errorf(CodeInvalidRequest, "address: %.64q has a zone; leave it out", e.Address)
	case e.Rule == "":
		return Errorf(CodeInvalidRequest, "the event has no rule")
	case e.Points < 0 || e.Points > MaxPoints:
		return Errorf(CodeInvalidRequest, "points: got %d; want a number from 0 to %d", e.Points, MaxPoints)
	case !r.MayReport(e.Rule):
		return Errorf(CodeForbidden, "the reporter %s may not report events for the rule %.64q: root names its rules "+
			"in the configuration of paraxiald, reports.reporters", r.Name, e.Rule)
	}
	return nil
}

// checkAsk returns an error if the reporter may not ask for verdicts.
func (r Rights) checkAsk() error {
	if r.MayAsk {
		return nil
	}
	return Errorf(CodeForbidden, "the reporter %s may not ask for verdicts: root adds ask to its rights in the "+
		"configuration of paraxiald, reports.reporters.may", r.Name)
}

// checkBan returns an error if the reporter may not ban b, whatever it has banned before.
func (r Rights) checkBan(b Ban) error {
	widest := r.Bans.WidestIPv4
	if b.Prefix.Addr().Is6() {
		widest = r.Bans.WidestIPv6
	}
	switch {
	case !r.MayBan:
		return Errorf(CodeForbidden, "the reporter %s may not ban: root adds ban to its rights in the configuration "+
			"of paraxiald, reports.reporters.may", r.Name)
	case b.For == policy.TTLForever || b.For > r.Bans.MaxFor:
		return Errorf(CodeBudget, "for: %s is longer than %s, the longest ban of %s (reports.reporters.ban.max_for)",
			policy.FormatTTL(b.For), policy.FormatTTL(r.Bans.MaxFor), r.Name)
	case b.Prefix.Bits() < widest:
		return Errorf(CodeBudget, "address: %s is wider than a /%d, the widest ban of %s "+
			"(reports.reporters.ban.widest)", b.Prefix, widest, r.Name)
	}
	return nil
}

// plain returns the event with its texts cut, and its address unmapped.
func (e Event) plain() Event {
	e.Address = e.Address.Unmap()
	for _, s := range []*string{&e.User, &e.Path, &e.Text, &e.Where} {
		*s = (*s)[:min(len(*s), MaxEventText)]
	}
	return e
}

// unmapped returns the address of a question.
func unmapped(a netip.Addr) (netip.Addr, error) {
	switch {
	case !a.IsValid():
		return a, invalid("the question has no address")
	case a.Zone() != "":
		return a, invalid("address: %.64q has a zone; leave it out", a)
	}
	return a.Unmap(), nil
}
