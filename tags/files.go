package tags

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gaissmai/bart"

	"github.com/paraxial/paraxial/policy"
)

// Clock tells the wall clock time of a deadline, and the deadline of a wall clock time.
type Clock interface {
	Now() policy.Deadline
	Wall(policy.Deadline) time.Time
}

// The files. The index is replaced as a whole after the files that it names are on the disk,
// so a crash leaves the old or the new sets.
const (
	indexName  = "index.json"
	filePrefix = "set-"
	tempPrefix = "new-"
)

// saved is a set in the index.
type saved struct {
	Name       string    `json:"name"`
	File       string    `json:"file"`
	Generation uint64    `json:"generation"`
	Changed    time.Time `json:"changed"`
	Until      time.Time `json:"until"`
	Entries    int       `json:"entries"`
}

// write writes the prefixes of a set into a file that no other set has, and returns its name.
func (b *Board) write(h held) (name string, err error) {
	if err := os.MkdirAll(b.dir, 0o700); err != nil {
		return "", err
	}
	f, err := os.CreateTemp(b.dir, filePrefix)
	if err != nil {
		return "", err
	}
	w := bufio.NewWriter(f)
	var line []byte
	for p := range h.prefixes.All() {
		line = append(p.AppendTo(line[:0]), '\n')
		w.Write(line) // an error stays until Flush
	}
	return filepath.Base(f.Name()), errors.Join(w.Flush(), f.Sync(), f.Close())
}

// save makes all the sets in force, once the index is on the disk.
func (b *Board) save(all []held, clock Clock) error {
	index := []saved{}
	for _, h := range all {
		if h.file != "" {
			index = append(index, saved{h.Name, h.file, h.Generation, h.Changed, clock.Wall(h.Deadline), h.Entries})
		}
	}
	if err := b.writeIndex(index); err != nil {
		return fmt.Errorf("save the sets: %w", err)
	}
	b.sets.Store(&all)
	return b.tidy(index)
}

func (b *Board) writeIndex(index []saved) error {
	if len(index) == 0 {
		err := os.Remove(filepath.Join(b.dir, indexName))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	text, err := json.MarshalIndent(index, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(b.dir, tempPrefix)
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // if it was not renamed
	_, err = f.Write(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), filepath.Join(b.dir, indexName)); err != nil {
		return err
	}
	dir, err := os.Open(b.dir)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// tidy removes the files that the index does not name.
func (b *Board) tidy(index []saved) error {
	files, err := os.ReadDir(b.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	named := map[string]bool{}
	for _, s := range index {
		named[s.File] = true
	}
	for _, f := range files {
		ours := strings.HasPrefix(f.Name(), filePrefix) || strings.HasPrefix(f.Name(), tempPrefix)
		if ours && !named[f.Name()] {
			err = errors.Join(err, os.Remove(filepath.Join(b.dir, f.Name())))
		}
	}
	return err
}

// Load reads the sets of the last run. A set that is damaged is left out, and the error says
// so. longest bounds how long a set may last, because the wall clock may have been wrong.
func (b *Board) Load(longest func(name string) time.Duration, clock Clock) error {
	b.change.Lock()
	defer b.change.Unlock()
	text, err := os.ReadFile(filepath.Join(b.dir, indexName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var index []saved
	if err == nil {
		err = json.Unmarshal(text, &index)
	}
	if err != nil {
		return fmt.Errorf("read the sets: %w", err)
	}
	var all []held
	for _, s := range index {
		h, readErr := b.read(s)
		if readErr != nil {
			err = errors.Join(err, fmt.Errorf("read the set %s: %w", s.Name, readErr))
			continue
		}
		now := clock.Now()
		left := min(s.Until.Sub(clock.Wall(now)), longest(s.Name))
		h.Deadline = policy.After(now, left)
		if left > 0 && b.fits(h) == nil {
			all = with(all, h)
			b.sets.Store(&all)
		}
	}
	return err
}

func (b *Board) read(s saved) (held, error) {
	f, err := os.Open(filepath.Join(b.dir, filepath.Base(s.File)))
	if err != nil {
		return held{}, err
	}
	defer f.Close()
	h := held{
		Set:      Set{Name: s.Name, Generation: s.Generation, Changed: s.Changed, Entries: s.Entries},
		prefixes: new(bart.Lite), file: s.File,
	}
	// With one line more than the file may have, the number of prefixes is wrong.
	left, damage := s.Entries, error(nil)
	err = policy.ReadList(f, func(l policy.ListLine) bool {
		if damage = l.Err; damage == nil {
			h.prefixes.Insert(l.Prefix)
		}
		left--
		return damage == nil && left >= 0
	})
	if err := errors.Join(err, damage); err != nil {
		return held{}, err
	}
	if h.prefixes.Size() != s.Entries {
		return held{}, fmt.Errorf("it has %d prefixes, and should have %d", h.prefixes.Size(), s.Entries)
	}
	return h, nil
}
