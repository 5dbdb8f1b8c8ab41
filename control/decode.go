package control

import (
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"strings"
)

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
