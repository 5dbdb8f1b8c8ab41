package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/paraxial/paraxial/policy"
)

// JSONWriter writes JSON to W, and escapes the hidden characters in its strings, as
// entries of earlier versions may have them in their reasons. Each Write must have whole
// characters only, as those of encoding/json do.
type JSONWriter struct{ W io.Writer }

func (w JSONWriter) Write(data []byte) (int, error) {
	if _, err := w.W.Write(escapeHidden(data)); err != nil {
		return 0, err
	}
	return len(data), nil
}

// escapeHidden returns data unchanged if there is nothing to escape. Control characters
// below DEL are escaped by encoding/json, so that only its white space remains.
func escapeHidden(data []byte) []byte {
	hidden := func(r rune) bool { return r >= utf8.RuneSelf-1 && policy.IsHidden(r) }
	if bytes.IndexFunc(data, hidden) < 0 {
		return data
	}
	var b bytes.Buffer
	for _, r := range string(data) {
		if !hidden(r) {
			b.WriteRune(r)
			continue
		}
		for _, unit := range utf16.Encode([]rune{r}) {
			fmt.Fprintf(&b, `\u%04x`, unit)
		}
	}
	return b.Bytes()
}

// decode reads data, one JSON object with known fields only, into v. No data
// at all is the empty object.
func decode(data []byte, v any) error {
	if len(bytes.TrimSpace(data)) == 0 {
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	if err := dec.Decode(v); err != nil {
		return decodeError(err, len(data))
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return invalid("body: more data after the JSON object, at byte %d", dec.InputOffset())
	}
	return checkKeys(json.NewDecoder(bytes.NewReader(data)), reflect.TypeOf(v).Elem(), "")
}

// checkKeys reads the next value, which belongs to the type t, and returns an error for
// a key that no field of t has exactly, or that an object has twice. encoding/json
// accepts a key in any case, and takes the last value of a key that is repeated. path
// ends with a dot, or is empty for the outermost object.
func checkKeys(dec *json.Decoder, t reflect.Type, path string) error {
	token, err := dec.Token()
	if err != nil {
		return decodeError(err, int(dec.InputOffset()))
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch token {
	case json.Delim('{'):
		err = checkObject(dec, t, path)
	case json.Delim('['):
		for err == nil && dec.More() {
			err = checkKeys(dec, t.Elem(), path)
		}
	default:
		return nil
	}
	if err == nil {
		_, err = dec.Token() // the end of the object or array
	}
	return err
}

func checkObject(dec *json.Decoder, t reflect.Type, path string) error {
	fields := fieldTypes(t)
	seen := map[string]bool{}
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return decodeError(err, int(dec.InputOffset()))
		}
		key, _ := token.(string)
		field := fields[key]
		switch {
		case field == nil:
			return unknownField(fields, path, key, dec.InputOffset())
		case seen[key]:
			return invalid("body: field %q is given twice, the second time at byte %d", path+key, dec.InputOffset())
		}
		seen[key] = true
		if err := checkKeys(dec, field, path+key+"."); err != nil {
			return err
		}
	}
	return nil
}

func unknownField(fields map[string]reflect.Type, path, key string, at int64) error {
	for name := range fields {
		if strings.EqualFold(name, key) {
			return invalid("body: unknown field %q at byte %d; it is written %q", path+key, at, path+name)
		}
	}
	return invalid("body: unknown field %.128q at byte %d", path+key, at)
}

// fieldTypes returns the types of the fields of a struct, by their names in JSON.
func fieldTypes(t reflect.Type) map[string]reflect.Type {
	types := make(map[string]reflect.Type, t.NumField())
	for _, f := range reflect.VisibleFields(t) {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" {
			types[name] = f.Type
		}
	}
	return types
}
