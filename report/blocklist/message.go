// Package blocklist takes the messages of libblocklist: programs such as OpenSSH tell that a
// connection has failed to log in, and hand over the connection. So the address comes from the
// kernel, and nobody can name one that never connected.
package blocklist

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/paraxial/paraxial/report"
)

// A message is four numbers in the byte order of the host (its length, the version, the type and
// the length of the address), a struct sockaddr_storage, and a text without an end.
const (
	headLength    = 16
	storageLength = 128
	leastLength   = headLength + storageLength
	mostText      = 128
	version       = 1
)

// The types of messages.
const (
	authOK   = 0
	authFail = 1
	abusive  = 2
	badUser  = 3
)

// decode returns the event of a message, without the address and the rule. The address inside the
// message is not read, because anyone can write one.
func decode(data []byte) (e report.Event, err error) {
	if len(data) < leastLength {
		return e, fmt.Errorf("the message has %d bytes; at least %d belong to one", len(data), leastLength)
	}
	if len(data) > leastLength+mostText {
		return e, fmt.Errorf("the message is longer than %d bytes", leastLength+mostText)
	}
	number := func(n int) uint32 { return binary.NativeEndian.Uint32(data[4*n:]) }
	if n := number(0); n != uint32(len(data)) {
		return e, fmt.Errorf("the message has %d bytes, and says that it has %d", len(data), n)
	}
	if v := number(1); v != version {
		return e, fmt.Errorf("the message has the version %d; want %d", v, version)
	}
	switch t := number(2); t {
	case authOK:
		e.Success = true
	case authFail:
		e.Points = 2
	case abusive:
		e.Points = report.MaxPoints
	case badUser:
		e.Points = 1
	default:
		return e, fmt.Errorf("the message has the unknown type %d", t)
	}
	text, _, _ := bytes.Cut(data[leastLength:], []byte{0})
	e.Text = string(text)
	return e, nil
}
