package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"strings"
)

// decode decodes data, one JSON object with known fields only, into v. Empty data
// counts as the empty object.
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

// jsonName returns the JSON name of values of the Go type t.
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
