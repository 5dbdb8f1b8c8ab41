// Package offenders keeps the repeat offenders of detectors and rules in a file from one run to
// the next.
package offenders

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/paraxial/paraxial/ladder"
	"github.com/paraxial/paraxial/policy"
)

// FileName is the name of the file of repeat offenders in the state directory. It
// is not part of the store: without it only the next ban of an offender is shorter.
const FileName = "offenders.json"

// offender is a repeat offender in the file. It has one of Detector and Rule. Versions without
// rules read the others.
type offender struct {
	Detector string       `json:"detector,omitempty"`
	Rule     string       `json:"rule,omitempty"`
	Prefix   netip.Prefix `json:"prefix"`
	Offences int          `json:"offences"`
	Forget   string       `json:"forget"` // time until it is forgotten, when the file was written
}

func storedOf(o ladder.Offender) offender {
	s := offender{Prefix: o.Prefix, Offences: o.Offences, Forget: o.Forget.Round(time.Second).String()}
	if name, ok := strings.CutPrefix(o.Origin, policy.OriginRule); ok {
		s.Rule = name
	} else {
		s.Detector = strings.TrimPrefix(o.Origin, policy.OriginDetector)
	}
	return s
}

func (o offender) key() ladder.Key {
	if o.Rule != "" {
		return ladder.Key{Origin: policy.OriginRule + o.Rule, Prefix: o.Prefix}
	}
	return ladder.Key{Origin: policy.OriginDetector + o.Detector, Prefix: o.Prefix}
}

// File is the file of the offenders, and its content. Several goroutines save.
type File struct {
	mu    sync.Mutex
	path  string
	saved []remembered
}

// In returns the file in a state directory.
func In(dir string) *File { return &File{path: filepath.Join(dir, FileName)} }

// remembered is an offender with the time at which it is forgotten. Unlike the time that
// is left, this does not change while nothing happens.
type remembered struct {
	ladder.Key
	offences int
	forgets  policy.Deadline
}

// Load reads the file, and removes temporary files that a killed run has left. The time
// since the file was written counts, by the wall clock.
func (f *File) Load(now policy.Deadline, wall time.Time) ([]ladder.Offender, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	list, err := readOffenders(f.path, wall)
	f.saved = rememberedAt(list, now)
	return list, errors.Join(err, removeTemporary(f.path))
}

func readOffenders(path string, wall time.Time) ([]ladder.Offender, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read offenders: %w", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read offenders: %w", err)
	}
	age := max(wall.Sub(info.ModTime()), 0)
	var stored []offender
	if err := json.Unmarshal(b, &stored); err != nil {
		return nil, fmt.Errorf("read offenders from %s: %w", path, err)
	}
	var list []ladder.Offender
	for _, o := range stored {
		forget, err := time.ParseDuration(o.Forget)
		if err != nil {
			return nil, fmt.Errorf("read offenders from %s: %w", path, err)
		}
		if forget -= age; forget > 0 {
			list = append(list, ladder.Offender{Key: o.key(), Offences: o.Offences, Forget: forget})
		}
	}
	return list, nil
}

// Save writes the file, unless it has these offenders already.
func (f *File) Save(list []ladder.Offender, now policy.Deadline) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(list) == 0 {
		f.saved = nil
		if err := os.Remove(f.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove offenders: %w", err)
		}
		return nil
	}
	fresh := rememberedAt(list, now)
	if _, err := os.Stat(f.path); err == nil && slices.Equal(f.saved, fresh) {
		return nil
	}
	stored := make([]offender, len(list))
	for i, o := range list {
		stored[i] = storedOf(o)
	}
	b, err := json.Marshal(stored)
	if err != nil {
		return fmt.Errorf("encode offenders: %w", err)
	}
	if err := replaceFile(f.path, b); err != nil {
		return err
	}
	f.saved = fresh
	return nil
}

func rememberedAt(list []ladder.Offender, now policy.Deadline) []remembered {
	all := make([]remembered, len(list))
	for i, o := range list {
		all[i] = remembered{o.Key, o.Offences, policy.After(now, o.Forget)}
	}
	return all
}

// removeTemporary removes the temporary files of replaceFile. Their names end with digits.
func removeTemporary(path string) error {
	files, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("remove temporary files of %s: %w", path, err)
	}
	var errs []error
	for _, f := range files {
		digits, found := strings.CutPrefix(f.Name(), filepath.Base(path)+".")
		if !found || digits == "" || strings.Trim(digits, "0123456789") != "" || !f.Type().IsRegular() {
			continue
		}
		if err := os.Remove(filepath.Join(filepath.Dir(path), f.Name())); err != nil {
			errs = append(errs, fmt.Errorf("remove temporary file: %w", err))
		}
	}
	return errors.Join(errs...)
}

// replaceFile replaces the content of a file. After a crash the file has the old or the
// new content.
func replaceFile(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = f.Write(b)
	err = errors.Join(err, unix.Fdatasync(int(f.Fd())), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}
