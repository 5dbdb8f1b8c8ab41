package feeds

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/paraxial/paraxial/report"
)

// generation is what the record says of a generation. Its entries are in a file.
type generation struct {
	Number  uint64    `json:"number"`
	Entries int       `json:"entries"`
	At      time.Time `json:"at"`
	Digest  string    `json:"digest"` // of the lines
	Timed   bool      `json:"timed,omitempty"`
	Format  string    `json:"format,omitempty"`
	Notes   []string  `json:"notes,omitempty"`
}

// Names of the files of a feed.
const (
	recordName = "feed.json"
	genPrefix  = "gen-"
	genSuffix  = ".gz"
	tempPrefix = "tmp-"
)

func genName(n uint64) string { return genPrefix + strconv.FormatUint(n, 10) + genSuffix }

// saveGeneration writes the lines of a set to a temporary file, and returns its name.
func saveGeneration(dir string, s *set) (name string, g generation, err error) {
	sum := sha256.New()
	name, err = writeTemp(dir, func(f io.Writer) error {
		zip, err := gzip.NewWriterLevel(f, gzip.BestSpeed)
		if err != nil {
			return err
		}
		return errors.Join(s.write(io.MultiWriter(zip, sum)), zip.Close())
	})
	if err != nil {
		return "", generation{}, err
	}
	return name, generation{
		Entries: len(s.items), Digest: hex.EncodeToString(sum.Sum(nil)), Timed: s.timed,
		Format: s.format, Notes: s.notes,
	}, nil
}

// writeTemp writes a temporary file, which is on the disk when it returns.
func writeTemp(dir string, write func(io.Writer) error) (name string, err error) {
	f, err := os.CreateTemp(dir, tempPrefix)
	if err != nil {
		return "", err
	}
	err = errors.Join(write(f), f.Sync(), f.Close())
	if err != nil {
		return "", fmt.Errorf("write %s: %w", f.Name(), errors.Join(err, os.Remove(f.Name())))
	}
	return f.Name(), nil
}

// rename gives a temporary file its name, also after a crash.
func rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(to))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// line is a line of a generation.
type line struct {
	prefix netip.Prefix
	until  time.Time // zero: none
	reason string
}

func parseLine(text []byte) (line, error) {
	text, reason, _ := bytes.Cut(text, []byte(" # "))
	prefix, until, timed := bytes.Cut(text, []byte(" until="))
	p, err := netip.ParsePrefix(string(prefix))
	if err != nil {
		return line{}, err
	}
	l := line{prefix: p, reason: string(reason)}
	if timed {
		sec, err := strconv.ParseInt(string(until), 10, 64)
		if err != nil {
			return line{}, err
		}
		l.until = time.Unix(sec, 0)
	}
	return l, nil
}

// readGeneration gives the lines of a generation. An error is the last that it gives.
func readGeneration(dir string, number uint64) iter.Seq2[line, error] {
	return func(yield func(line, error) bool) {
		path := filepath.Join(dir, genName(number))
		if err := eachLine(path, func(l line) bool { return yield(l, nil) }); err != nil {
			yield(line{}, fmt.Errorf("read %s: %w", path, err))
		}
	}
}

func eachLine(path string, yield func(line) bool) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	zip, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(zip)
	for lines.Scan() {
		l, err := parseLine(lines.Bytes())
		if err != nil {
			return err
		}
		if !yield(l) {
			return nil
		}
	}
	return lines.Err()
}

// entries gives the entries of a generation that are to stay for ttl at most. whole tells
// that ttl is all of the feed's, which needs not be said.
func entries(dir string, number uint64, ttl time.Duration, whole bool, now time.Time) iter.Seq2[report.Entry, error] {
	return func(yield func(report.Entry, error) bool) {
		for l, err := range readGeneration(dir, number) {
			e := report.Entry{Prefix: l.prefix, Reason: l.reason}
			if !whole {
				e.For = ttl
			}
			if !l.until.IsZero() {
				left := l.until.Sub(now)
				if left <= 0 {
					continue
				}
				e.For = min(left, ttl)
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

// difference is how two generations differ.
type difference struct{ added, removed int }

// compare compares two generations, and calls each for every prefix that only one of them
// has. Generation 0 is empty.
func compare(dir string, from, to uint64, each func(sign byte, p netip.Prefix)) (difference, error) {
	old, stopOld := iter.Pull2(linesOf(dir, from))
	defer stopOld()
	fresh, stopFresh := iter.Pull2(linesOf(dir, to))
	defer stopFresh()
	var d difference
	x, errX, okX := old()
	y, errY, okY := fresh()
	for okX || okY {
		if err := errors.Join(errX, errY); err != nil {
			return d, err
		}
		c := 0
		switch {
		case !okX:
			c = 1
		case !okY:
			c = -1
		default:
			c = comparePrefixes(x.prefix, y.prefix)
		}
		if c < 0 {
			d.removed++
			each('-', x.prefix)
		}
		if c > 0 {
			d.added++
			each('+', y.prefix)
		}
		if c <= 0 {
			x, errX, okX = old()
		}
		if c >= 0 {
			y, errY, okY = fresh()
		}
	}
	return d, nil
}

func linesOf(dir string, number uint64) iter.Seq2[line, error] {
	if number == 0 {
		return func(func(line, error) bool) {}
	}
	return readGeneration(dir, number)
}

func comparePrefixes(x, y netip.Prefix) int {
	if c := x.Addr().Compare(y.Addr()); c != 0 {
		return c
	}
	return x.Bits() - y.Bits()
}

// tidy removes generations that are not to be kept, and if temporary is true, also what a
// crash has left. Otherwise a temporary file may be in use.
func tidy(dir string, keep func(number uint64) bool, temporary bool) error {
	files, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, f := range files {
		middle := strings.TrimSuffix(strings.TrimPrefix(f.Name(), genPrefix), genSuffix)
		n, err := strconv.ParseUint(middle, 10, 64)
		ours := err == nil && f.Name() == genName(n) && !keep(n)
		if ours || temporary && strings.HasPrefix(f.Name(), tempPrefix) {
			errs = append(errs, os.Remove(filepath.Join(dir, f.Name())))
		}
	}
	return errors.Join(errs...)
}
