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
	// lockTimeout gives a previous daemon that is just exiting time to finish.
	lockTimeout = time.Second

	newSuffix = ".new-" // is in the names of files that are being created
)

// Open opens the store at path. If there is no such file, it creates one with mode
// 0600, and its directory with mode 0700. It first checks all of the file, which
// takes about a second for a million entries. The error wraps ErrDamaged,
// ErrNewerFormat, ErrLocked or the cause, and tells the user what to do; the file is
// then unchanged.
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

// openFile opens and locks the file. It creates the file if there is none.
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

// lock takes the lock that bbolt also uses. The lock belongs to the open file, so
// bbolt gets it at once, and closing the file releases it.
func lock(f *os.File) error {
	err := lockfile.Take(f, lockTimeout)
	if held, ok := errors.AsType[*lockfile.HeldError](err); ok {
		return fmt.Errorf("%s: %w: %s runs with this state directory; "+
			"use that one (`paraxialctl status`) or stop it first", f.Name(), ErrLocked, held.Holder())
	}
	return err
}

// load verifies the locked file f and opens it with bbolt.
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

// create makes a complete store before it gives it the name path, so that the file
// of that name is never incomplete. If another process was faster, its file stays.
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
		// If another process was faster, it removes f as a leftover.
		if _, statErr := os.Lstat(path); statErr != nil {
			return err
		}
	}
	return syncDir(dir)
}

// fill writes an empty store to the empty file f.
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

// syncDir makes new file names in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// removeLeftoverFiles removes files that create left when its process was killed.
// The caller holds the lock of path, so no other process is creating it now. Errors
// are ignored, because nothing reads these files.
func removeLeftoverFiles(path string) {
	dir, base := filepath.Split(path)
	names, _ := os.ReadDir(filepath.Clean(dir))
	for _, n := range names {
		if strings.HasPrefix(n.Name(), base+newSuffix) {
			os.Remove(filepath.Join(dir, n.Name()))
		}
	}
}
