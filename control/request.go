package control

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/paraxial/paraxial/policy"
)

// maxWord is the longest prefix, duration, origin or id, in bytes. It bounds the
// error messages that quote them.
const maxWord = 128

// parse returns the block that the request asks for. The default action is limit if
// there is a rate, and drop otherwise.
func (r *BlockRequest) parse(c Caller) (Block, error) {
	b := Block{Reason: r.Reason, Force: r.Force, Replace: r.Replace}
	var err [7]error
	b.Action, b.Rate, err[0] = parseAction(r.Action, r.Rate)
	b.Prefixes, b.Notes, err[1] = parsePrefixes(r.Prefixes)
	b.For, err[2] = parseDuration("for", r.For, policy.TTLForever)
	b.Confirm, err[3] = parseDuration("confirm", r.Confirm, 0)
	err[4] = checkReason(r.Reason)
	b.Origin, err[5] = ownOrigin(r.Origin, c)
	b.Replies, err[6] = parseReplies(r.Replies)
	return b, cmp.Or(err[:]...)
}

// RepliesPass and RepliesDrop say what an entry does with answers to connections of this host.
const (
	RepliesPass = "pass"
	RepliesDrop = "drop"
)

func parseReplies(s string) (pass bool, err error) {
	switch s {
	case RepliesPass, RepliesDrop, "":
		return s == RepliesPass, nil
	}
	return false, invalid("replies: want %q or %q", RepliesPass, RepliesDrop)
}

func parseAction(action, rate string) (policy.Action, policy.Rate, error) {
	switch {
	case action == policy.Limit.String(), action == "" && rate != "":
		if rate == "" {
			return 0, policy.Rate{}, invalid("rate: missing; a limit needs one, such as 100/s or 10Mbit/s")
		}
		r, err := parseRate(rate)
		return policy.Limit, r, err
	case rate != "":
		return 0, policy.Rate{}, invalid("rate: only with the action %q", policy.Limit)
	case action == policy.Drop.String(), action == "":
		return policy.Drop, policy.Rate{}, nil
	case action == policy.Shadow.String():
		return policy.Shadow, policy.Rate{}, nil
	}
	return 0, policy.Rate{}, invalid("action: want %q, %q or %q", policy.Drop, policy.Limit, policy.Shadow)
}

func parseRate(s string) (policy.Rate, error) {
	if err := checkWord("rate", s); err != nil {
		return policy.Rate{}, err
	}
	r, err := policy.ParseRate(s)
	if err != nil {
		return r, invalid("%v", err)
	}
	return r, nil
}

func (r *AllowRequest) parse(c Caller) (Allow, error) {
	a := Allow{Reason: r.Reason, Force: r.Force, Replace: r.Replace}
	var err [4]error
	a.Prefixes, a.Notes, err[0] = parsePrefixes(r.Prefixes)
	a.For, err[1] = parseDuration("for", r.For, policy.TTLForever)
	err[2] = checkReason(r.Reason)
	a.Origin, err[3] = ownOrigin(r.Origin, c)
	return a, cmp.Or(err[:]...)
}

func (r *UnblockRequest) parse(c Caller) (Removal, error) {
	return parseRemoval(r.Prefixes, r.Origin, r.All, c)
}

func (r *UnallowRequest) parse(c Caller) (Removal, error) {
	removal, err := parseRemoval(r.Prefixes, r.Origin, r.All, c)
	removal.Force = r.Force
	return removal, err
}

func parseRemoval(prefixes []string, origin string, all bool, c Caller) (Removal, error) {
	var r Removal
	var err [2]error
	r.Prefixes, r.Notes, err[0] = parsePrefixes(prefixes)
	r.Origin, err[1] = anyOrigin(origin, all, c)
	return r, cmp.Or(err[:]...)
}

func (r *FlushRequest) parse(Caller) (Flush, error) {
	f := Flush{Origin: r.Origin, DryRun: r.DryRun}
	var err error
	f.Kind, err = parseKind(r.Kind)
	return f, cmp.Or(CheckFlushOrigin(r.Origin), err)
}

func (r *PromoteRequest) parse(c Caller) (Promotion, error) {
	p := Promotion{Force: r.Force}
	var err [2]error
	p.Prefixes, p.Notes, err[0] = parsePrefixes(r.Prefixes)
	p.Origin, err[1] = anyOrigin(r.Origin, false, c)
	return p, cmp.Or(err[:]...)
}

func (r *ConfirmRequest) parse(Caller) (ConfirmRequest, error) { return *r, checkWord("id", r.ID) }

// parseImport reads the parameters of an import.
func parseImport(query url.Values) (Import, error) {
	r := Import{Origin: query.Get("origin"), Reason: query.Get("reason")}
	flags := importFlags(&r)
	known := slices.Concat([]string{"origin", "kind", "action", "rate", "replies", "for", "reason"},
		slices.Sorted(maps.Keys(flags)))
	if err := knownParameters(query, known...); err != nil {
		return r, err
	}
	for name, value := range flags {
		if !query.Has(name) {
			continue
		}
		var err error
		if *value, err = strconv.ParseBool(query.Get(name)); err != nil {
			return r, invalid("%s: want true or false", name)
		}
	}
	var err [3]error
	r.For, err[0] = parseDuration("for", query.Get("for"), policy.TTLForever)
	r.Kind, r.Action, r.Rate, err[1] = parseEffect(query.Get("kind"), query.Get("action"), query.Get("rate"))
	r.Replies, err[2] = parseReplies(query.Get("replies"))
	if r.Replies && r.Kind == policy.Allow {
		err[2] = invalid("replies: not with the kind %q, which lets all packets pass", policy.Allow)
	}
	return r, cmp.Or(CheckImportOrigin(r.Origin), err[0], err[1], err[2], checkReason(r.Reason))
}

func importFlags(r *Import) map[string]*bool {
	return map[string]*bool{
		"skip_invalid": &r.SkipInvalid, "force": &r.Force, "wide": &r.Wide, "accept": &r.Accept, "dry_run": &r.DryRun,
	}
}

// parseEffect reads what an import puts: blocks, unless it says allow.
func parseEffect(kind, action, rate string) (policy.Kind, policy.Action, policy.Rate, error) {
	k, err := parseKind(kind)
	if err != nil {
		return 0, 0, policy.Rate{}, err
	}
	if k == policy.Allow {
		if action != "" || rate != "" {
			err = invalid("kind: an allow has no action and no rate")
		}
		return k, policy.NoAction, policy.Rate{}, err
	}
	a, r, err := parseAction(action, rate)
	return policy.Block, a, r, err
}

// parseKind returns 0 for the empty string.
func parseKind(s string) (policy.Kind, error) {
	for _, k := range []policy.Kind{policy.Block, policy.Allow} {
		if s == k.String() {
			return k, nil
		}
	}
	if s != "" {
		return 0, invalid("kind: want %q or %q", policy.Block, policy.Allow)
	}
	return 0, nil
}

func knownParameters(query url.Values, known ...string) error {
	for name, values := range query {
		if !slices.Contains(known, name) {
			return invalid("unknown parameter %.128q; known: %s", name, strings.Join(known, ", "))
		}
		if len(values) > 1 {
			return invalid("%s: given %d times", name, len(values))
		}
	}
	return nil
}

// parsePrefixes returns the prefixes, each once, and a note for each that had host
// bits set.
func parsePrefixes(list []string) (prefixes []netip.Prefix, notes []string, err error) {
	if len(list) == 0 {
		return nil, nil, invalid("prefixes: name at least one address or prefix")
	}
	if len(list) > MaxPrefixes {
		return nil, nil, Errorf(CodeTooLarge, "prefixes: %d given, at most %d; use import for long lists",
			len(list), MaxPrefixes)
	}
	seen := make(map[netip.Prefix]bool, len(list))
	for i, s := range list {
		field := fmt.Sprintf("prefixes[%d]", i)
		if err := checkWord(field, s); err != nil {
			return nil, nil, err
		}
		p, masked, err := policy.ParsePrefix(s)
		if err != nil {
			return nil, nil, invalid("%s: %v", field, err)
		}
		if masked {
			notes = append(notes, fmt.Sprintf("%s has host bits set: taken as %s", s, p))
		}
		if !seen[p] {
			seen[p] = true
			prefixes = append(prefixes, p)
		}
	}
	return prefixes, notes, nil
}

// parseDuration returns unset for the empty string.
func parseDuration(field, s string, unset time.Duration) (time.Duration, error) {
	if s == "" {
		return unset, nil
	}
	if err := checkWord(field, s); err != nil {
		return 0, err
	}
	ttl, err := policy.ParseTTL(s)
	if err != nil {
		return 0, invalid("%s: %v", field, err)
	}
	if field == "confirm" && ttl == policy.TTLForever {
		return 0, invalid("confirm: forever leaves nothing to confirm; give a time such as 60s")
	}
	return ttl, nil
}

func checkReason(reason string) error {
	if err := policy.ValidReason(reason); err != nil {
		return invalid("%v", err)
	}
	return nil
}

func checkWord(field, s string) error {
	if len(s) > maxWord {
		return invalid("%s: %d bytes long, at most %d", field, len(s), maxWord)
	}
	return nil
}
