// Package policy decides which sources are blocked and which are allowed. It holds
// the book of entries, compiles it to the nodes of the kernel's tries, and contains
// Decide, the slow and obvious model that the packet filter is tested against.
//
// It uses no kernel, no disk and no clock: time is passed as an argument.
package policy

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"time"
	"unicode"
)

// Kind is whether an entry blocks or allows.
type Kind uint8

// The kinds. The numbers are stored on disk.
const (
	Block Kind = 1
	Allow Kind = 2
)

func (k Kind) String() string {
	switch k {
	case Block:
		return "block"
	case Allow:
		return "allow"
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Action is the effect of a block on a packet. An allow entry has NoAction.
type Action uint8

// The actions. The numbers are stored on disk.
const (
	NoAction Action = 0
	Drop     Action = 1
	Shadow   Action = 2 // count the packets that would be dropped, and let them pass
	Limit    Action = 3 // drop the packets over the entry's rate
)

func (a Action) String() string {
	switch a {
	case NoAction:
		return ""
	case Drop:
		return "drop"
	case Shadow:
		return "shadow"
	case Limit:
		return "limit"
	}
	return fmt.Sprintf("action(%d)", uint8(a))
}

// Entry is one line of the book: a prefix that one origin blocks or allows.
type Entry struct {
	Prefix   netip.Prefix // masked and unmapped
	Kind     Kind
	Action   Action
	Rate     Rate      // for Limit: the rate of the whole prefix together; otherwise zero
	Origin   string    // the list, detector, rule or tool that it belongs to; see ValidOrigin
	Reason   string    // free text, may be empty
	Author   string    // the user who asked for it: "uid:1000"
	Created  time.Time // wall clock, whole seconds, for people to read
	Deadline Deadline
	Forced   bool      // the operator overrode the guard
	Replies  bool      // answers to connections that this host opened pass; blocks only
	Pending  *Pending  // nil if confirmed, or if no confirmation is needed
	Evidence *Evidence // of a detector or rule; nil for other origins
}

// Pending marks an entry that has to be confirmed before its Deadline. The book
// keeps it beside the confirmed entry of the same prefix and origin. So when it
// expires, the older entry is in force again without any action of the daemon.
type Pending struct {
	ID       string   // of the request; one request may have several entries
	Deadline Deadline // the deadline that the entry gets when it is confirmed
	Replace  bool     // it replaces also a stronger or longer entry, see Renew
}

// Key identifies an entry in the book.
type Key struct {
	Kind    Kind
	Prefix  netip.Prefix
	Origin  string
	Pending string // Pending.ID; empty for an entry that needs no confirmation
}

// Key returns the key of e. An entry that is put replaces the one with the same key.
func (e Entry) Key() Key {
	k := Key{Kind: e.Kind, Prefix: e.Prefix, Origin: e.Origin}
	if e.Pending != nil {
		k.Pending = e.Pending.ID
	}
	return k
}

// Live reports whether e is in force at boot time now, to the kernel's tick.
func (e Entry) Live(now Deadline) bool {
	return TickAt(now) < e.Deadline.Tick()
}

// Op is one change of the book: Put an entry, or Remove the entry with a key. The
// zero Put.Prefix means Remove.
type Op struct {
	Put    Entry
	Remove Key
}

// PutOp returns the change that puts e and replaces the entry with its key.
func PutOp(e Entry) Op { return Op{Put: e} }

// RemoveOp returns the change that removes the entry with key k, if there is one.
func RemoveOp(k Key) Op { return Op{Remove: k} }

// IsPut reports whether the change puts an entry.
func (o Op) IsPut() bool { return o.Put.Prefix.IsValid() }

// key returns the key of the entry that the change puts or removes.
func (o Op) key() Key {
	if o.IsPut() {
		return o.Put.Key()
	}
	return o.Remove
}

// MaxReason is the longest reason accepted, in bytes.
const MaxReason = 1024

// OriginCLI is the origin of entries that paraxialctl block and allow put.
const OriginCLI = "cli"

// Reserved prefixes of origins: only the daemon itself puts such entries.
const (
	OriginDetector = "detector:"
	OriginFeed     = "feed:"
	OriginRule     = "rule:"
	OriginApp      = "app:"
	OriginAPI      = "api:"
	OriginGuard    = "guard:"
)

// OriginSession is the origin of allows that spare the addresses of open sessions.
const OriginSession = OriginGuard + "session"

var originName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

// ValidOrigin returns an error unless s is "cli", a name as given to import
// (letters, digits, and . _ - inside, at most 63 bytes), or such a name after
// "detector:", "rule:", "app:", "feed:", "api:" or "guard:".
func ValidOrigin(s string) error {
	name := s
	for _, p := range []string{OriginDetector, OriginRule, OriginApp, OriginFeed, OriginAPI, OriginGuard} {
		if rest, ok := strings.CutPrefix(s, p); ok {
			name = rest
			break
		}
	}
	if !originName.MatchString(name) {
		return fmt.Errorf("origin %q: want a name of letters, digits, '.', '_' and '-', at most 63 long", s)
	}
	return nil
}

// ValidReason returns an error if s is too long or has a hidden character. With hidden
// characters, an entry could forge lines of a terminal or a log, or hide text.
func ValidReason(s string) error {
	if len(s) > MaxReason {
		return fmt.Errorf("reason: %d bytes long; at most %d", len(s), MaxReason)
	}
	for _, r := range s {
		if r == unicode.ReplacementChar || IsHidden(r) {
			return fmt.Errorf("reason: contains the control or invalid character %q", r)
		}
	}
	return nil
}

// IsHidden tells whether r is a control character (C0 and C1), a line separator, or a
// format character such as a bidirectional override or a tag. The two joiners are not
// hidden characters, because some scripts and emoji need them.
func IsHidden(r rune) bool {
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) && !unicode.Is(unicode.Join_Control, r)
}
