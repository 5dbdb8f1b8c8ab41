package logs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// store keeps the position of a log in two files. One is on the disk when save returns, and is at
// most syncEvery old. The other is newer, and survives the end of the process, but perhaps not
// that of the host. After that the daemon has forgotten its counts, too.
type store struct {
	path   string
	recent *os.File // nil: not open yet
	number uint64   // of the last save
	synced time.Time
}

// syncEvery is the time between two saves that wait for the disk.
const syncEvery = time.Second

// saved is a position in a file.
type saved struct {
	Number uint64 `json:"number"` // the higher one counts
	position
}

func newStore(dir, name string) *store { return &store{path: filepath.Join(dir, name+".json")} }

func (s *store) recentPath() string { return s.path + ".recent" }

// load returns the position of the last run. ok is false if there is none of use.
func (s *store) load(from string) (p position, ok bool, err error) {
	var last saved
	data, err := os.ReadFile(s.path)
	if err == nil {
		err = json.Unmarshal(data, &last)
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if data, failed := os.ReadFile(s.recentPath()); failed == nil {
		if r, valid := readRecent(data); valid && r.Number > last.Number {
			last, err = r, nil
		}
	}
	if err != nil {
		return position{}, false, fmt.Errorf("read the position %s: %w", s.path, err)
	}
	s.number = last.Number
	if last.Number == 0 || last.From != from {
		return position{}, false, nil
	}
	return last.position, true, nil
}

// save keeps a position. Either file is replaced as a whole, so that a crash leaves an old
// position or the new one.
func (s *store) save(p position, now time.Time) error {
	s.number++
	data, err := json.Marshal(saved{s.number, p})
	if err == nil && now.Sub(s.synced) < syncEvery {
		err = s.writeRecent(data)
	} else if err == nil {
		s.synced = now
		err = s.write(data)
	}
	if err != nil {
		return fmt.Errorf("save the position %s: %w", s.path, err)
	}
	return nil
}

func (s *store) write(data []byte) error {
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

// writeRecent writes a position over the last one, in one call. What is left of a longer one
// does not count.
func (s *store) writeRecent(data []byte) error {
	if s.recent == nil {
		f, err := os.OpenFile(s.recentPath(), os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		s.recent = f
	}
	head := fmt.Appendf(nil, "%08x %d\n", crc32.ChecksumIEEE(data), len(data))
	_, err := s.recent.WriteAt(append(head, data...), 0)
	return err
}

func readRecent(data []byte) (r saved, ok bool) {
	head, rest, _ := bytes.Cut(data, []byte("\n"))
	var sum uint32
	var n int
	if _, err := fmt.Sscanf(string(head), "%08x %d", &sum, &n); err != nil || n < 0 || n > len(rest) {
		return r, false
	}
	return r, crc32.ChecksumIEEE(rest[:n]) == sum && json.Unmarshal(rest[:n], &r) == nil
}

func (s *store) close() {
	if s.recent != nil {
		s.recent.Close()
		s.recent = nil
	}
}
