package journal

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"
)

// Entry is a message of the journal. Unit and UID are the word of the kernel about the sender.
type Entry struct {
	Cursor  string
	Time    time.Time
	Unit    string
	UID     int // -1 if it is not known
	Message []byte
	TooLong bool // the message is longer than Longest, and is cut
}

// Longest is the length of the longest message that is read whole.
const Longest = 64 << 10

// maxField is the length of the longest name of a field, and of the values beside MESSAGE.
const maxField = 4096

// reader reads the export format of the journal.
type reader struct {
	r *bufio.Reader
}

func newReader(r io.Reader) *reader { return &reader{bufio.NewReaderSize(r, Longest+maxField)} }

var errFormat = errors.New("journalctl's output is not in the export format")

// next reads an entry. A trusted field that is there twice makes it one of nobody.
func (r *reader) next() (e Entry, err error) {
	e.UID = -1
	seen := map[string]bool{}
	for {
		name, value, cut, err := r.field()
		if err != nil {
			return e, err
		}
		if len(name) == 0 {
			if len(seen) == 0 {
				continue // a blank line more
			}
			return e, nil
		}
		known := string(name)
		twice := seen[known]
		seen[known] = true
		e.set(known, value, cut, twice)
	}
}

func (e *Entry) set(name string, value []byte, cut, twice bool) {
	switch name {
	case "__CURSOR":
		e.Cursor = string(value)
	case "__REALTIME_TIMESTAMP":
		if us, err := strconv.ParseInt(string(value), 10, 64); err == nil {
			e.Time = time.UnixMicro(us)
		}
	case "_SYSTEMD_UNIT":
		e.Unit = string(value)
		if twice {
			e.Unit = ""
		}
	case "_UID":
		uid, err := strconv.ParseUint(string(value), 10, 32)
		e.UID = int(uid)
		if err != nil || twice {
			e.UID = -1
		}
	case "MESSAGE":
		if !twice {
			e.Message, e.TooLong = bytes.Clone(value), cut
		}
	}
}

// field reads a field. The name is empty at the end of an entry. value is valid until the next
// call. cut says that it is longer than Longest.
func (r *reader) field() (name, value []byte, cut bool, err error) {
	line, err := r.r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		name, value, _ = bytes.Cut(line, []byte("="))
		name, value = bytes.Clone(name), bytes.Clone(value)
		return name, value[:min(len(value), Longest)], true, r.skipLine()
	}
	if err != nil {
		return nil, nil, false, err
	}
	line = line[:len(line)-1]
	name, value, text := bytes.Cut(line, []byte("="))
	if len(line) == 0 || text {
		return name, value[:min(len(value), Longest)], len(value) > Longest, nil
	}
	if len(name) > maxField {
		return nil, nil, false, errFormat
	}
	return r.binary(bytes.Clone(name))
}

// binary reads a value that begins with its size.
func (r *reader) binary(name []byte) (_, value []byte, cut bool, err error) {
	var size [8]byte
	if _, err := io.ReadFull(r.r, size[:]); err != nil {
		return nil, nil, false, errFormat // also when the output ends here
	}
	n := binary.LittleEndian.Uint64(size[:])
	if n > 1<<40 {
		return nil, nil, false, fmt.Errorf("%w: a field of %d bytes", errFormat, n)
	}
	value = make([]byte, min(n, Longest))
	if _, err := io.ReadFull(r.r, value); err != nil {
		return nil, nil, false, err
	}
	if _, err := io.CopyN(io.Discard, r.r, int64(n)-int64(len(value))); err != nil {
		return nil, nil, false, err
	}
	if end, err := r.r.ReadByte(); err != nil || end != '\n' {
		return nil, nil, false, errFormat
	}
	return name, value, n > Longest, nil
}

// skipLine reads up to the end of the line.
func (r *reader) skipLine() error {
	for {
		_, err := r.r.ReadSlice('\n')
		if !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
	}
}
