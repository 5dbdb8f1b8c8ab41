package lists

import (
	"archive/zip"
	"bufio"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// Bounds of decompression.
const (
	maxPacked = 256 << 20 // bytes of a zip archive, which is read into memory
	maxWindow = 64 << 20  // bytes of the dictionary of xz and the window of zstd
	bufSize   = 64 << 10
)

// A packing is a form of compression.
type packing struct {
	name  string
	magic string
	open  func(io.Reader) (io.Reader, error)
}

func packings() []packing {
	return []packing{
		{"gzip", "\x1f\x8b", func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) }},
		{"bzip2", "BZh", func(r io.Reader) (io.Reader, error) { return bzip2.NewReader(r), nil }},
		{"xz", "\xfd7zXZ\x00", openXZ},
		{"zstd", "\x28\xb5\x2f\xfd", openZstd},
		{"zip", "PK\x03\x04", openZip},
		{"zip", "PK\x05\x06", openZip},
	}
}

// unpack decompresses a list and makes UTF-8 of it. It also returns what it had to do.
func unpack(r io.Reader) (text *bufio.Reader, did string, err error) {
	br := bufio.NewReaderSize(r, bufSize)
	start, err := br.Peek(8)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, "", fmt.Errorf("read: %w", err)
	}
	var done []string
	for _, p := range packings() {
		if !bytes.HasPrefix(start, []byte(p.magic)) {
			continue
		}
		plain, err := p.open(br)
		if err != nil {
			return nil, "", fmt.Errorf("unpack %s: %w", p.name, err)
		}
		done = append(done, p.name)
		br = bufio.NewReaderSize(&unpacked{plain, p.name}, bufSize)
		break
	}
	br = bufio.NewReaderSize(&bounded{br, MaxText}, bufSize)
	text, encoding, err := toUTF8(br)
	if encoding != "" {
		done = append(done, encoding)
	}
	return text, strings.Join(done, ", "), err
}

func openXZ(r io.Reader) (io.Reader, error) {
	return xz.ReaderConfig{DictCap: maxWindow}.NewReader(r)
}

func openZstd(r io.Reader) (io.Reader, error) {
	return zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow),
		zstd.WithDecoderMaxMemory(2*maxWindow))
}

// openZip opens the only file of an archive.
func openZip(r io.Reader) (io.Reader, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxPacked+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxPacked {
		return nil, fmt.Errorf("the archive is longer than %d bytes", maxPacked)
	}
	archive, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, err
	}
	var found []*zip.File
	for _, f := range archive.File {
		if !f.FileInfo().IsDir() {
			found = append(found, f)
		}
	}
	if len(found) != 1 {
		return nil, fmt.Errorf("the archive has %d files; extract it, and import one of them", len(found))
	}
	return found[0].Open()
}

// unpacked names the compression in errors.
type unpacked struct {
	r    io.Reader
	name string
}

func (u *unpacked) Read(b []byte) (int, error) {
	n, err := u.r.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("unpack %s: %w", u.name, err)
	}
	return n, err
}

// bounded fails if more than left bytes come.
type bounded struct {
	r    io.Reader
	left int
}

func (l *bounded) Read(b []byte) (int, error) {
	n, err := l.r.Read(b)
	if l.left -= n; l.left < 0 {
		return 0, fmt.Errorf("the list is longer than %d bytes, the most that are read", MaxText)
	}
	return n, err
}

// toUTF8 removes a byte order mark, and converts UTF-16.
func toUTF8(br *bufio.Reader) (text *bufio.Reader, encoding string, err error) {
	start, err := br.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, "", err
	}
	convert := func(mark int, big bool) (*bufio.Reader, string, error) {
		_, err := br.Discard(mark)
		return bufio.NewReaderSize(&utf16Reader{r: br, big: big}, bufSize), "UTF-16", err
	}
	switch {
	case bytes.HasPrefix(start, []byte("\xef\xbb\xbf")):
		_, err := br.Discard(3)
		return br, "", err
	case bytes.HasPrefix(start, []byte("\xff\xfe")):
		return convert(2, false)
	case bytes.HasPrefix(start, []byte("\xfe\xff")):
		return convert(2, true)
	case len(start) == 4 && start[0] != 0 && start[1] == 0 && start[2] != 0 && start[3] == 0:
		return convert(0, false)
	case len(start) == 4 && start[0] == 0 && start[1] != 0 && start[2] == 0 && start[3] != 0:
		return convert(0, true)
	}
	return br, "", nil
}

// utf16Reader makes UTF-8 of UTF-16.
type utf16Reader struct {
	r    *bufio.Reader
	big  bool
	rest []byte // converted bytes that were not asked for yet
}

func (u *utf16Reader) Read(b []byte) (int, error) {
	for len(u.rest) < utf8.UTFMax {
		c, err := u.unit()
		if err != nil {
			if len(u.rest) > 0 && errors.Is(err, io.EOF) {
				break
			}
			return 0, err
		}
		if utf16.IsSurrogate(c) {
			second, err := u.unit()
			if err != nil && !errors.Is(err, io.EOF) {
				return 0, err
			}
			c = utf16.DecodeRune(c, second)
		}
		u.rest = utf8.AppendRune(u.rest, c)
	}
	n := copy(b, u.rest)
	u.rest = append(u.rest[:0], u.rest[n:]...)
	return n, nil
}

// unit returns the next 16 bits.
func (u *utf16Reader) unit() (rune, error) {
	var b [2]byte
	if _, err := io.ReadFull(u.r, b[:]); errors.Is(err, io.ErrUnexpectedEOF) {
		return 0, errors.New("the text is UTF-16 and ends within a character")
	} else if err != nil {
		return 0, err
	}
	if u.big {
		return rune(b[0])<<8 | rune(b[1]), nil
	}
	return rune(b[1])<<8 | rune(b[0]), nil
}
