package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.etcd.io/bbolt"

	"github.com/paraxial/paraxial/lockfile"
)

const (
	// lockTimeout lets a predecessor that is just exiting finish.
	lockTimeout = time.Second

	newSuffix = ".new-" // of files that are being created
)

// Open opens the store at path, or creates it with mode 0600 if there is no such
// file, and its directory with mode 0700. It checks all of the file first, which
// takes about a second for a million entries. The error wraps ErrDamaged,
// ErrNewerFormat, ErrLocked or the cause, and says what to do; the file is then
// as it was.
func Open(path string, now Reading) (*Store, error) {
	f, err := openFile(path, now)
	if err != nil {
		return nil, fmt.Errorf("open state file: %w", err)
	}
	s, err := load(f, now)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open state file: %w", err)
	}
	removeLeftoverFiles(path)
	return s, nil
}

// openFile opens and locks the file; it makes one if there is none.
func openFile(path string, now Reading) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		if err := create(path, now); err != nil {
			return nil, fmt.Errorf("create %s: %w", path, err)
		}
		f, err = os.OpenFile(path, os.O_RDWR, 0)
	}
	if err != nil {
		return nil, err
	}
	if err := lock(f); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// lock takes the lock that bbolt uses too. It belongs to the open file, so
// bbolt gets it again at once, and closing the file gives it back.
func lock(f *os.File) error {
	err := lockfile.Take(f, lockTimeout)
	if held, ok := errors.AsType[*lockfile.HeldError](err); ok {
		return fmt.Errorf("%s: %w: %s runs with this state directory; use that one (`paraxialctl status`) or stop it first", f.Name(), ErrLocked, held.Holder())
	}
	return err
}

// load verifies the locked file f and hands it to bbolt.
func load(f *os.File, now Reading) (*Store, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", f.Name())
	}
	found, err := verify(f, info.Size())
	if newer := (*newerError)(nil); errors.As(err, &newer) {
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	if err != nil {
		return nil, &damagedError{path: f.Name(), cause: err}
	}
	db, err := openBolt(f)
	if err != nil {
		return nil, err
	}
	s := &Store{db: db, file: f, path: f.Name(), clock: found.clock, staged: make(map[uint64]bool)}
	s.clock.enter(now)
	for id := range found.sets {
		s.lastSet = max(s.lastSet, id)
	}
	return s, nil
}

func openBolt(f *os.File) (db *bbolt.DB, err error) {
	err = guard(f.Name(), nil, func() (err error) {
		db, err = bbolt.Open(f.Name(), 0, &bbolt.Options{
			FreelistType: bbolt.FreelistMapType,
			NoStatistics: true,
			OpenFile:     func(string, int, os.FileMode) (*os.File, error) { return f, nil },
		})
		return err
	})
	return db, err
}

// create makes a store that is whole before it gets its name, so that a file
// of that name is never half made. If another process was faster, its file
// stays.
func create(path string, now Reading) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, filepath.Base(path)+newSuffix)
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if err := fill(f, now); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil {
		// Whoever was faster also removes f as a leftover.
		if _, statErr := os.Lstat(path); statErr != nil {
			return err
		}
	}
	return syncDir(dir)
}

// fill makes an empty store of the empty file f.
func fill(f *os.File, now Reading) error {
	db, err := openBolt(f)
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, name := range allBuckets() {
			if _, err := tx.CreateBucket([]byte(name)); err != nil {
				return err
			}
		}
		meta := tx.Bucket([]byte(bucketMeta))
		if err := putSealed(meta, []byte(keyFormat), number(firstFormat)); err != nil {
			return err
		}
		return newClock(now).save(tx)
	})
	return errors.Join(err, db.Close())
}

// syncDir makes the names in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// removeLeftoverFiles removes what an Open that was killed left of create. The
// caller holds the lock of path, so nobody is creating it now. Failing to
// remove a file that nothing reads does no harm.
func removeLeftoverFiles(path string) {
	dir, base := filepath.Split(path)
	names, _ := os.ReadDir(filepath.Clean(dir))
	for _, n := range names {
		if strings.HasPrefix(n.Name(), base+newSuffix) {
			os.Remove(filepath.Join(dir, n.Name()))
		}
	}
}
