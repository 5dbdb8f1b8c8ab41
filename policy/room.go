package policy

import (
	"errors"
	"fmt"
	"strings"
)

// Standing tells how much of the room an entry may use.
type Standing uint8

// The standings, the lowest first. An entry finds room where one of a lower standing
// does not.
const (
	Common    Standing = iota // lists, and commands of users other than root
	Automatic                 // detectors and rules
	Operator                  // commands of root
)

// AuthorRoot is the author of entries that root asked for.
const AuthorRoot = "uid:0"

// StandingOf returns the standing of an entry. A list that root imports is Common,
// because lists are what fills the tries.
func StandingOf(origin, author string) Standing {
	switch {
	case strings.HasPrefix(origin, OriginGuard):
		return Operator // it keeps an operator's session open
	case strings.HasPrefix(origin, OriginDetector), strings.HasPrefix(origin, OriginRule):
		return Automatic
	case author == AuthorRoot && (origin == OriginCLI || origin == OriginAPI+"0"):
		return Operator
	}
	return Common
}

// StandingOfAll returns the lowest standing of the entries that ops put, and one of
// their authors: a user other than root, if there is one.
func StandingOfAll(ops []Op) (s Standing, author string) {
	s = Operator
	var last Entry
	for _, op := range ops {
		e := op.Put
		if !op.IsPut() || e.Origin == last.Origin && e.Author == last.Author {
			continue
		}
		last = e
		s = min(s, StandingOf(e.Origin, e.Author))
		if author == "" || isUser(e.Author) {
			author = e.Author
		}
	}
	return s, author
}

// Room bounds what a book may hold.
type Room struct {
	Nodes   int // of each trie
	Limits  int
	Units   int // of all entries together; see UnitsOf
	Reserve int // part of Nodes, of Limits and of Units that Common entries leave free
	Share   int // units of one user other than root
}

const (
	// unitText is the length of an entry's reason, in bytes, that one unit includes.
	unitText = 128

	reservePart   = 64   // one in this many nodes is reserved,
	leastReserve  = 1024 // but not fewer than this,
	mostReserve   = 2    // and not more than one in this many
	operatorsPart = 4    // one in this many reserved nodes is for root alone
	sharePart     = 2    // the share of a user is one trie, divided by this

	// mostGroups is the number of groups of entries from which on only root may add
	// another. The metrics have a line for each.
	mostGroups = 1024
)

// RoomFor returns the room of a kernel with tries of a number of nodes, and with
// buckets for a number of limits.
func RoomFor(nodes, limits int) Room {
	return Room{
		Nodes: nodes, Limits: limits, Units: manyTries * nodes,
		Reserve: min(max(nodes/reservePart, leastReserve), nodes/mostReserve),
		Share:   max(nodes/sharePart, 1),
	}
}

// reserved returns the room that entries of a standing leave free.
func (r Room) reserved(s Standing) int {
	switch s {
	case Common:
		return r.Reserve
	case Automatic:
		return r.Reserve / operatorsPart
	}
	return 0
}

// UnitsOf returns the size of an entry, by which entries are bounded: 1, and 1 more
// for every 128 bytes of its reason beyond the first 128. The store saves the reason
// with every entry.
func UnitsOf(e Entry) int { return unitsOf(e.Reason) }

func unitsOf(reason string) int { return 1 + max(len(reason)-1, 0)/unitText }

// trie is one of the kernel's tries.
type trie struct {
	kind   Kind
	family Family
}

func (t trie) String() string { return fmt.Sprintf("%ss of %s", t.kind, t.family) }

// manyTries is the number of tries.
const manyTries = 4

func tries() [manyTries]trie {
	return [...]trie{{Block, IPv4}, {Block, IPv6}, {Allow, IPv4}, {Allow, IPv6}}
}

// Usage is how much of the room a book uses.
type Usage struct {
	nodes  [manyTries]int
	limits int
	units  int
	groups int
	author string // a user, or empty
	share  int    // the units of author
}

// Usage returns how much of the room the book uses, all together and for entries of
// an author.
func (b *Book) Usage(author string) Usage {
	u := Usage{
		limits: b.Limits(), units: b.slab.sources.units, groups: len(b.counts),
		author: author, share: b.slab.sources.shareUnits(author),
	}
	for i, t := range tries() {
		u.nodes[i] = b.Size(t.kind, t.family)
	}
	return u
}

// Need is the room that a change needs.
type Need struct {
	Kind          Kind
	Nodes         map[Family]int
	Units, Limits int
}

// Add adds what e needs more than old, which it replaces if that exists.
func (n *Need) Add(e, old Entry, exists bool) {
	n.Units += UnitsOf(e)
	if e.Action == Limit {
		n.Limits++
	}
	if !exists {
		return
	}
	n.Units -= UnitsOf(old)
	if old.Action == Limit {
		n.Limits--
	}
}

// With returns the usage after a change with this need, all of it by one author.
func (u Usage) With(n Need) Usage {
	for i, t := range tries() {
		if t.kind == n.Kind {
			u.nodes[i] += n.Nodes[t.family]
		}
	}
	u.limits += n.Limits
	u.units += n.Units
	u.share += n.Units
	return u
}

// ErrNoRoom is in the chain of the error of a change for which there is no room.
var ErrNoRoom = errors.New(
	"no room left in the kernel maps: raise max_entries in the configuration and restart paraxiald")

// noRoom is an error whose chain has ErrNoRoom. Its message stands alone.
type noRoom string

func (e noRoom) Error() string        { return string(e) }
func (e noRoom) Is(target error) bool { return target == ErrNoRoom }

// Check returns an error if a change of entries of a standing is not admitted, which
// takes the usage from before to after. A change that does not need more room is
// always admitted.
func (r Room) Check(s Standing, before, after Usage) error {
	free := r.reserved(s)
	for i, t := range tries() {
		if exceeds(before.nodes[i], after.nodes[i], r.Nodes-free) {
			return r.full(s, t.String(), r.Nodes, "prefixes")
		}
	}
	switch {
	case exceeds(before.limits, after.limits, r.Limits-free):
		return r.full(s, "limits", r.Limits, "entries")
	case exceeds(before.units, after.units, r.Units-free):
		return r.full(s, "entries of all origins", r.Units, "entries")
	case isUser(after.author) && exceeds(before.share, after.share, r.Share):
		return noRoom(fmt.Sprintf("%s would have entries for %d units, and one user may have %d "+
			"(half of max_entries; an entry counts once, and again for every %d bytes of its reason "+
			"beyond the first): remove some of its entries, shorten the list or the reason, "+
			"or raise max_entries and restart paraxiald",
			after.author, after.share, r.Share, unitText))
	case isUser(after.author) && exceeds(before.groups, after.groups, mostGroups):
		return noRoom(fmt.Sprintf("there are entries of too many origins (%d, by kind and family), "+
			"and only root may add another: use an origin that has entries, "+
			"or remove the entries of origins that are not needed",
			mostGroups))
	}
	return nil
}

// isUser reports whether an author is a user with a share: any but root.
func isUser(author string) bool { return strings.HasPrefix(author, "uid:") && author != AuthorRoot }

func exceeds(before, after, most int) bool { return after > before && after > most }

// full returns the error of a change for which a part of the room is full.
func (r Room) full(s Standing, what string, size int, unit string) error {
	kept := ""
	if free := r.reserved(s); free > 0 {
		kept = fmt.Sprintf(", of which %d are reserved for %s", free, keptFor(s))
	}
	return noRoom(fmt.Sprintf("no room left for %s: there is room for %d %s%s: "+
		"remove entries, or raise max_entries in the configuration and restart paraxiald", what, size, unit, kept))
}

func keptFor(s Standing) string {
	if s == Common {
		return "detectors and commands of root"
	}
	return "commands of root"
}

// Full returns the parts of the room in which only the reserve is left, as texts for
// people.
func (r Room) Full(u Usage) []string {
	var full []string
	add := func(what string, used, size int) {
		if size > 0 && used >= size-r.Reserve {
			full = append(full, fmt.Sprintf("%s: %d of %d are used, and the rest is reserved for %s",
				what, used, size, keptFor(Common)))
		}
	}
	for i, t := range tries() {
		add(t.String(), u.nodes[i], r.Nodes)
	}
	add("limits", u.limits, r.Limits)
	add("entries of all origins", u.units, r.Units)
	return full
}
