package logs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// store keeps the position of a log in a file.
type store struct{ path string }

func newStore(dir, name string) store { return store{filepath.Join(dir, name+".json")} }

// load returns the position of the last run. ok is false if there is none of use.
func (s store) load(from string) (p position, ok bool, err error) {
	data, err := os.ReadFile(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return p, false, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &p)
	}
	if err != nil {
		return position{}, false, fmt.Errorf("read the position %s: %w", s.path, err)
	}
	if p.From != from {
		return position{}, false, nil
	}
	return p, true, nil
}

// save replaces the file as a whole, so that a crash leaves the old position or the new one.
func (s store) save(p position) error {
	if err := s.write(p); err != nil {
		return fmt.Errorf("save the position %s: %w", s.path, err)
	}
	return nil
}

func (s store) write(p position) error {
	data, err := json.Marshal(p)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(s.path), ".new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(f.Name(), s.path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}
