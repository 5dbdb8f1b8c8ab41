package daemon

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

	"github.com/paraxial/paraxial/detect"
	"github.com/paraxial/paraxial/policy"
)

// offendersFile is the name of the file of repeat offenders in the state directory. It
// is not part of the store: without it only the next ban of an offender is shorter.
const offendersFile = "offenders.json"

// offendersEvery is the shortest time between two writes of the file during an attack.
const offendersEvery = 5 * time.Second

// offender is a repeat offender in the file.
type offender struct {
	Detector string       `json:"detector"`
	Prefix   netip.Prefix `json:"prefix"`
	Offences int          `json:"offences"`
	Forget   string       `json:"forget"` // time until it is forgotten, when the file was written
}

// offenderStore is the file of the offenders, and its content. Several goroutines save.
type offenderStore struct {
	mu    sync.Mutex
	path  string
	saved []remembered
}

// remembered is an offender with the time at which it is forgotten. Unlike the time that
// is left, this does not change while nothing happens.
type remembered struct {
	detector string
	prefix   netip.Prefix
	offences int
	forgets  policy.Deadline
}

// load reads the file, and removes temporary files that a killed run has left. The time
// since the file was written counts, by the wall clock.
func (s *offenderStore) load(now policy.Deadline, wall time.Time) ([]detect.Offender, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list, err := readOffenders(s.path, wall)
	s.saved = rememberedAt(list, now)
	return list, errors.Join(err, removeTemporary(s.path))
}

func readOffenders(path string, wall time.Time) ([]detect.Offender, error) {
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
	var list []detect.Offender
	for _, o := range stored {
		forget, err := time.ParseDuration(o.Forget)
		if err != nil {
			return nil, fmt.Errorf("read offenders from %s: %w", path, err)
		}
		if forget -= age; forget > 0 {
			list = append(list, detect.Offender{Detector: o.Detector, Prefix: o.Prefix, Offences: o.Offences, Forget: forget})
		}
	}
	return list, nil
}

// saveOffenders keeps the memory of offenders for the next run, if it changed.
func (d *Daemon) saveOffenders() error {
	now := d.engine.Now()
	return d.offenders.save(d.detection.offenders(now), now)
}

// save writes the file, unless it has these offenders already.
func (s *offenderStore) save(list []detect.Offender, now policy.Deadline) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(list) == 0 {
		s.saved = nil
		if err := os.Remove(s.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove offenders: %w", err)
		}
		return nil
	}
	fresh := rememberedAt(list, now)
	if _, err := os.Stat(s.path); err == nil && slices.Equal(s.saved, fresh) {
		return nil
	}
	stored := make([]offender, len(list))
	for i, o := range list {
		stored[i] = offender{o.Detector, o.Prefix, o.Offences, o.Forget.Round(time.Second).String()}
	}
	b, err := json.Marshal(stored)
	if err != nil {
		return fmt.Errorf("encode offenders: %w", err)
	}
	if err := replaceFile(s.path, b); err != nil {
		return err
	}
	s.saved = fresh
	return nil
}

func rememberedAt(list []detect.Offender, now policy.Deadline) []remembered {
	all := make([]remembered, len(list))
	for i, o := range list {
		all[i] = remembered{o.Detector, o.Prefix, o.Offences, policy.After(now, o.Forget)}
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
