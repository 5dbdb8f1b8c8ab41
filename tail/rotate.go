package tail

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// maxNames is how many names of a folder are looked at when a file was renamed.
const maxNames = 10_000

// maxLooks is how often a folder is looked at again.
const maxLooks = 20

// slack is how much earlier than the clock a file system may date a change.
const slack = time.Second

// check returns an error unless path, of which info is known, is a file that may be followed.
func check(path string, info os.FileInfo) error {
	if err := checkInfo(path, info); err != nil {
		return err
	}
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	for _, dir := range []string{filepath.Dir(path), filepath.Dir(target)} {
		d, err := os.Stat(dir)
		if err != nil {
			return err
		}
		if d.Mode()&0o002 != 0 {
			return fmt.Errorf("%s is not read, because every user may put files into %s", path, dir)
		}
	}
	return nil
}

func checkInfo(path string, info os.FileInfo) error {
	switch {
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is not a file, but %s", path, kindOf(info.Mode()))
	case info.Mode()&0o002 != 0:
		return fmt.Errorf("%s is not read, because every user may write to it: chmod o-w %s", path, path)
	}
	return nil
}

func kindOf(m os.FileMode) string {
	switch {
	case m.IsDir():
		return "a folder"
	case m&os.ModeNamedPipe != 0:
		return "a FIFO"
	case m&os.ModeSocket != 0:
		return "a socket"
	}
	return "a device"
}

func isCompressed(name string) bool {
	return slices.Contains([]string{".gz", ".xz", ".bz2", ".zst", ".lz4", ".lzma", ".Z", ".zip"}, filepath.Ext(name))
}

// rotated opens the files in the folder of path that a program for rotation may have made of it
// (log.1, log-20260101, log-20260101.log) and that are wanted. While files are renamed, a look
// at the folder may miss some. So it is looked at until that finds nothing more.
func rotated(path string, wanted func(*file, os.FileInfo) bool) (found []*file) {
	seen := map[ID]bool{}
	for range maxLooks {
		complete := true
		for _, p := range rotatedPaths(path) {
			x, info, err := openSafe(p)
			if err != nil {
				complete = complete && !os.IsNotExist(err)
				continue
			}
			if seen[x.id] || !wanted(x, info) {
				x.Close()
				continue
			}
			seen[x.id], complete = true, false
			x.path = path
			found = append(found, x)
		}
		if complete || len(found) >= maxOpen {
			break
		}
	}
	return found
}

// openSafe opens a file in a folder that is checked, too.
func openSafe(path string) (*file, os.FileInfo, error) {
	info, err := os.Stat(path)
	if err == nil {
		err = check(path, info)
	}
	if err != nil {
		return nil, nil, err
	}
	x, err := open(path)
	if err != nil {
		return nil, nil, err
	}
	if info, err = x.Stat(); err != nil {
		x.Close()
		return nil, nil, err
	}
	return x, info, nil
}

func rotatedPaths(path string) (paths []string) {
	dir, base := filepath.Split(path)
	if target, err := filepath.EvalSymlinks(path); err == nil && filepath.Dir(target) != filepath.Clean(dir) {
		paths = rotatedPaths(target)
	}
	d, err := os.Open(filepath.Clean(dir))
	if err != nil {
		return paths
	}
	defer d.Close()
	names, _ := d.Readdirnames(maxNames)
	stem := strings.TrimSuffix(base, filepath.Ext(base))
	for _, name := range names {
		rest, ok := strings.CutPrefix(name, base)
		if !ok {
			rest, ok = strings.CutPrefix(name, stem)
		}
		if ok && isSuffix(rest) && !isCompressed(name) {
			paths = append(paths, filepath.Join(dir, name))
		}
	}
	return paths
}

// isSuffix reports whether s is what a rotation adds to a name: .1, -20260101 or .old. Other
// suffixes are those of other logs.
func isSuffix(s string) bool {
	return s == ".old" || len(s) > 1 && strings.IndexByte(".-_", s[0]) >= 0 && s[1] >= '0' && s[1] <= '9'
}

// successors opens the files that had the name path and were renamed: those that changed after
// the time seen. A file with the same head is only a copy.
func (f *Follower) successors(path string, seen time.Time, head []byte) []*file {
	changed := map[ID]time.Time{}
	list := rotated(path, func(x *file, info os.FileInfo) bool {
		changed[x.id] = info.ModTime()
		return info.ModTime().After(seen.Add(-slack)) && f.byID(x.id) == nil && !f.isFollowed(info) &&
			(len(head) == 0 || !bytes.Equal(x.headOf(len(head)), head)) && f.reopen(x, info.Size())
	})
	slices.SortFunc(list, func(a, b *file) int {
		return cmp.Or(changed[a.id].Compare(changed[b.id]), cmp.Compare(a.id.Inode, b.id.Inode))
	})
	for _, x := range list {
		x.seen = seen
	}
	return list
}

// isFollowed reports whether a file has a name that is followed.
func (f *Follower) isFollowed(info os.FileInfo) bool {
	return slices.ContainsFunc(f.paths, func(p string) bool {
		other, err := os.Stat(p)
		return err == nil && os.SameFile(info, other)
	})
}

// head returns the first bytes that were read of x.
func (x *file) head() []byte { return x.headOf(int(min(x.read, markSize))) }

func (x *file) headOf(n int) []byte {
	b := make([]byte, n)
	n, _ = x.ReadAt(b, 0)
	return b[:n]
}

// copyOf opens a copy of x in its folder, which has the bytes that were read of x before the
// position.
func (f *Follower) copyOf(x *file) *file {
	if len(x.mark) == 0 {
		return nil
	}
	found := rotated(x.path, func(c *file, info os.FileInfo) bool {
		return f.byID(c.id) == nil && info.Size() >= x.read && c.has(x.read, x.mark)
	})
	if len(found) == 0 {
		return nil
	}
	c := found[0]
	for _, more := range found[1:] {
		more.Close()
	}
	c.seen, c.old, c.inner, c.until = x.seen, true, x.inner, x.until
	c.at(x.read, bytes.Clone(x.mark))
	return c
}

// has reports whether mark is before offset.
func (x *file) has(offset int64, mark []byte) bool {
	b, err := x.before(offset)
	return err == nil && bytes.Equal(b, mark)
}
