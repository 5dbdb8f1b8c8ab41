package control

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"

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

func (r *BlockRequest) check(c Caller) error {
	return cmp.Or(
		checkAction(&r.Action, r.Rate), checkPrefixes(r.Prefixes), checkDuration("for", r.For), checkDuration("confirm", r.Confirm),
		checkReason(r.Reason), ownOrigin(&r.Origin, c))
}

// checkAction fills in the action that a request leaves out: of one with a rate
// that is to limit.
func checkAction(action *string, rate string) error {
	if *action == "" {
		*action = policy.Drop.String()
		if rate != "" {
			*action = policy.Limit.String()
		}
	}
	switch *action {
	case policy.Limit.String():
		if rate == "" {
			return invalid("rate: missing; a limit needs one, such as 100/s or 10Mbit/s")
		}
		return checkRate(rate)
	case policy.Drop.String(), policy.Shadow.String():
		if rate != "" {
			return invalid("rate: only with the action %q", policy.Limit)
		}
		return nil
	}
	return invalid("action: want %q, %q or %q", policy.Drop, policy.Limit, policy.Shadow)
}

func checkRate(s string) error {
	if err := checkWord("rate", s); err != nil {
		return err
	}
	if _, err := policy.ParseRate(s); err != nil {
		return invalid("%v", err)
	}
	return nil
}

func (r *AllowRequest) check(c Caller) error {
	return cmp.Or(checkPrefixes(r.Prefixes), checkDuration("for", r.For), checkReason(r.Reason), ownOrigin(&r.Origin, c))
}

func (r *UnblockRequest) check(c Caller) error {
	return cmp.Or(checkPrefixes(r.Prefixes), anyOrigin(&r.Origin, r.All, c))
}

func (r *UnallowRequest) check(c Caller) error {
	return cmp.Or(checkPrefixes(r.Prefixes), anyOrigin(&r.Origin, r.All, c))
}

func (r *PromoteRequest) check(c Caller) error {
	return cmp.Or(checkPrefixes(r.Prefixes), anyOrigin(&r.Origin, false, c))
}

func (r *ConfirmRequest) check(Caller) error { return checkWord("id", r.ID) }

// importRequest reads the parameters of an import.
func importRequest(query url.Values) (ImportRequest, error) {
	r := ImportRequest{Origin: query.Get("origin"), For: query.Get("for"), Reason: query.Get("reason")}
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
	return r, cmp.Or(CheckImportOrigin(r.Origin), checkDuration("for", r.For), checkReason(r.Reason))
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

func checkPrefixes(prefixes []string) error {
	if len(prefixes) == 0 {
		return invalid("prefixes: name at least one address or prefix")
	}
	if len(prefixes) > MaxPrefixes {
		return Errorf(CodeTooLarge, "prefixes: %d given, at most %d; use import for long lists", len(prefixes), MaxPrefixes)
	}
	for i, p := range prefixes {
		field := fmt.Sprintf("prefixes[%d]", i)
		if err := checkWord(field, p); err != nil {
			return err
		}
		if _, _, err := policy.ParsePrefix(p); err != nil {
			return invalid("%s: %v", field, err)
		}
	}
	return nil
}

func checkDuration(field, s string) error {
	if s == "" {
		return nil
	}
	if err := checkWord(field, s); err != nil {
		return err
	}
	ttl, err := policy.ParseTTL(s)
	if err != nil {
		return invalid("%s: %v", field, err)
	}
	if field == "confirm" && ttl == policy.TTLForever {
		return invalid("confirm: forever leaves nothing to confirm; give a time such as 60s")
	}
	return nil
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
		strings.HasPrefix(origin, policy.OriginFeed) || strings.HasPrefix(origin, policy.OriginAPI)
}

// ownOrigin fills in the caller's origin, and refuses those that only the
// daemon or another caller may write.
func ownOrigin(origin *string, c Caller) error {
	own := apiOrigin(c)
	if *origin == "" {
		*origin = own
	}
	if err := checkOrigin(*origin); err != nil {
		return err
	}
	if *origin != own && isReserved(*origin) {
		return invalid("origin: %q is reserved for the daemon; leave it out or choose a name without a colon", *origin)
	}
	return nil
}

// anyOrigin fills in the caller's origin unless all are meant. Everyone may
// remove or arm what others put.
func anyOrigin(origin *string, all bool, c Caller) error {
	if all {
		if *origin != "" {
			return invalid("origin: not together with all")
		}
		return nil
	}
	if *origin == "" {
		*origin = apiOrigin(c)
	}
	return checkOrigin(*origin)
}

func apiOrigin(c Caller) string {
	return fmt.Sprintf("%s%d", policy.OriginAPI, c.UID)
}
