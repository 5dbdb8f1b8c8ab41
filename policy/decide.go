package policy

import "net/netip"

// Outcome is the decision about a packet because of its source. Its text is the
// reason under which the kernel counts the packet; for Limited there is a second
// reason, see Gives.
type Outcome uint8

// The outcomes.
const (
	NotListed Outcome = iota
	Allowed
	Blocked
	Shadowed
	Limited // dropped if over the rate; otherwise passed as "under_limit"
	Answers // of DecideReply: passes, although an entry drops other packets of the source
)

func (o Outcome) String() string {
	return [...]string{"not_listed", "allowed", "blocked", "shadow", "limited", "reply"}[o]
}

// Verdict returns the word that users see: pass, drop, limit or shadow.
func (o Outcome) Verdict() string {
	return [...]string{"pass", "pass", "drop", "shadow", "limit", "pass"}[o]
}

// Gives reports whether the kernel may count a packet with this outcome under reason.
func (o Outcome) Gives(reason string) bool {
	return reason == o.String() || o == Limited && reason == "under_limit"
}

// Decide is the golden model: it decides a packet from src at boot time now by
// looking at every entry. Allow beats block, drop beats limit, limit beats shadow,
// and the lengths of prefixes do not matter.
func Decide(entries []Entry, src netip.Addr, now Deadline) Outcome {
	outcome := NotListed
	for _, e := range entries {
		if !e.Prefix.Contains(src) || !e.Live(now) {
			continue
		}
		switch {
		case e.Kind == Allow:
			return Allowed
		case e.Action == Drop:
			outcome = Blocked
		case e.Action == Limit && outcome != Blocked:
			outcome = Limited
		case e.Action == Shadow && outcome == NotListed:
			outcome = Shadowed
		}
	}
	return outcome
}

// DecideReply decides a packet from src that answers a connection of this host, as Decide does for
// other packets. An entry that lets answers pass does not apply to it.
func DecideReply(entries []Entry, src netip.Addr, now Deadline) Outcome {
	outcome := Decide(entries, src, now)
	if outcome != Blocked && outcome != Limited {
		return outcome
	}
	for _, e := range entries {
		drops := e.Action == Drop || e.Action == Limit
		if drops && !e.Replies && e.Prefix.Contains(src) && e.Live(now) {
			return outcome
		}
	}
	return Answers
}

// DecideLimit returns the rate that a packet from src counts against at boot time
// now if Decide returns Limited: the strictest one. Only the kernel knows how much
// of the rate is used up.
func DecideLimit(entries []Entry, src netip.Addr, now Deadline) Rate {
	var strictest Rate
	for _, e := range entries {
		if e.Kind == Block && e.Action == Limit && e.Prefix.Contains(src) && e.Live(now) &&
			(strictest == Rate{} || e.Rate.Compare(strictest) < 0) {
			strictest = e.Rate
		}
	}
	return strictest
}

// Allowed reports whether a live allow covers an address.
func (b *Book) Allowed(a netip.Addr, now Deadline) bool {
	for e := range b.Covering(Allow, netip.PrefixFrom(a, a.BitLen())) {
		if e.Live(now) {
			return true
		}
	}
	return false
}

// Matching returns the entries of the book that are in force for src at boot
// time now: allows first, then blocks, each longest prefix first.
func (b *Book) Matching(src netip.Addr, now Deadline) []Entry {
	var matching []Entry
	host := netip.PrefixFrom(src, src.BitLen())
	for _, k := range []Kind{Allow, Block} {
		for e := range b.Covering(k, host) {
			if e.Live(now) {
				matching = append(matching, e)
			}
		}
	}
	return matching
}
