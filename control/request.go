package control

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/paraxial/paraxial/policy"
)

// maxWord bounds prefixes, durations, origins and ids, in bytes, so that no
// error message repeats a megabyte to its reader.
const maxWord = 128

// decode reads data, one JSON object with known fields only, into v. No data
// at all is the empty object.
func decode(data []byte, v any) error {
	if len(bytes.TrimSpace(data)) == 0 {
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return decodeError(err, len(data))
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return invalid("body: more data after the JSON object, at byte %d", dec.InputOffset())
	}
	return nil
}

func decodeError(err error, length int) error {
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		where := "body"
		if e.Field != "" {
			where = "field " + e.Field
		}
		return invalid("%s: want %s, got %s (at byte %d)", where, jsonName(e.Type), e.Value, e.Offset)
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return invalid("body: the JSON is cut off at byte %d", length)
	}
	if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		return invalid("body: not JSON at byte %d: %v", e.Offset, err)
	}
	return invalid("body: %s", strings.TrimPrefix(err.Error(), "json: "))
}

// jsonName returns what JSON calls values of the Go type t.
func jsonName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Struct:
		return "an object"
	case reflect.Slice:
		return "an array"
	case reflect.Bool:
		return "true or false"
	default:
		return "a " + t.Kind().String()
	}
}

// parse returns the block that the request asks for. An action that is left out is
// drop, or limit if there is a rate.
func (r *BlockRequest) parse(c Caller) (Block, error) {
	b := Block{Reason: r.Reason, Force: r.Force}
	var err [6]error
	b.Action, b.Rate, err[0] = parseAction(r.Action, r.Rate)
	b.Prefixes, b.Notes, err[1] = parsePrefixes(r.Prefixes)
	b.For, err[2] = parseDuration("for", r.For, policy.TTLForever)
	b.Confirm, err[3] = parseDuration("confirm", r.Confirm, 0)
	err[4] = checkReason(r.Reason)
	b.Origin, err[5] = ownOrigin(r.Origin, c)
	return b, cmp.Or(err[:]...)
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
	a := Allow{Reason: r.Reason}
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
	return parseRemoval(r.Prefixes, r.Origin, r.All, c)
}

func parseRemoval(prefixes []string, origin string, all bool, c Caller) (Removal, error) {
	var r Removal
	var err [2]error
	r.Prefixes, r.Notes, err[0] = parsePrefixes(prefixes)
	r.Origin, err[1] = anyOrigin(origin, all, c)
	return r, cmp.Or(err[:]...)
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
	if err := knownParameters(query, "origin", "for", "reason", "skip_invalid", "force"); err != nil {
		return r, err
	}
	for name, value := range map[string]*bool{"skip_invalid": &r.SkipInvalid, "force": &r.Force} {
		if !query.Has(name) {
			continue
		}
		var err error
		if *value, err = strconv.ParseBool(query.Get(name)); err != nil {
			return r, invalid("%s: want true or false", name)
		}
	}
	var err error
	r.For, err = parseDuration("for", query.Get("for"), policy.TTLForever)
	return r, cmp.Or(CheckImportOrigin(r.Origin), err, checkReason(r.Reason))
}

// CheckImportOrigin returns an error unless an import may own the set of the
// origin: "cli" belongs to single commands, which an import would wipe out, and
// names with a colon to the daemon.
func CheckImportOrigin(origin string) error {
	switch {
	case origin == "":
		return invalid("origin: name the set that the list replaces")
	case origin == policy.OriginCLI:
		return invalid("origin: %q holds what paraxialctl block put, which an import would remove; choose another name", origin)
	}
	if err := checkOrigin(origin); err != nil {
		return err
	}
	if isReserved(origin) {
		return invalid("origin: %q is reserved for the daemon; choose a name without a colon", origin)
	}
	return nil
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

// parsePrefixes returns the prefixes, each once, and a note for each that differs
// from what was written.
func parsePrefixes(list []string) (prefixes []netip.Prefix, notes []string, err error) {
	if len(list) == 0 {
		return nil, nil, invalid("prefixes: name at least one address or prefix")
	}
	if len(list) > MaxPrefixes {
		return nil, nil, Errorf(CodeTooLarge, "prefixes: %d given, at most %d; use import for long lists", len(list), MaxPrefixes)
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

func checkOrigin(origin string) error {
	if err := checkWord("origin", origin); err != nil {
		return err
	}
	if err := policy.ValidOrigin(origin); err != nil {
		return invalid("%v", err)
	}
	return nil
}

func isReserved(origin string) bool {
	return strings.HasPrefix(origin, policy.OriginDetector) ||
		strings.HasPrefix(origin, policy.OriginFeed) || strings.HasPrefix(origin, policy.OriginAPI) ||
		strings.HasPrefix(origin, policy.OriginGuard)
}

// ownOrigin returns the origin to write, the caller's own if none is named. It
// refuses those that only the daemon or another caller may write.
func ownOrigin(origin string, c Caller) (string, error) {
	own := apiOrigin(c)
	if origin == "" {
		origin = own
	}
	if err := checkOrigin(origin); err != nil {
		return "", err
	}
	if origin != own && isReserved(origin) {
		return "", invalid("origin: %q is reserved for the daemon; leave it out or choose a name without a colon", origin)
	}
	return origin, nil
}

// anyOrigin returns the origin whose entries are meant, the caller's own if none is
// named. Everyone may remove or arm the entries of others.
func anyOrigin(origin string, all bool, c Caller) (string, error) {
	if all {
		if origin != "" {
			return "", invalid("origin: not together with all")
		}
		return "", nil
	}
	if origin == "" {
		origin = apiOrigin(c)
	}
	return origin, checkOrigin(origin)
}

func apiOrigin(c Caller) string {
	return fmt.Sprintf("%s%d", policy.OriginAPI, c.UID)
}
