// Package tail follows files that grow, are rotated and are read again after a restart. It
// looks at them again and again: notifications of the kernel do not work for symbolic links and
// on network file systems, and get lost when there are many.
//
// A file is known by device and inode, and by the bytes before the position. So a file that was
// truncated and has grown beyond the position is recognised, and so is an inode that was used
// again. A renamed file is read to its end, and longer: programs write to it until they open the
// new one.
package tail

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Limits of one Follower.
const (
	MaxFiles = 64 // that are followed by name
	maxOld   = 64 // that were renamed, and stay open after they are read
	maxOpen  = MaxFiles + 2*maxOld
	// Longest is the length of a line from which on it is skipped.
	Longest = 64 << 10
)

// Options say which files are followed, and where reading begins.
type Options struct {
	// Pattern is the absolute path of a file, or a pattern of filepath.Glob.
	Pattern string
	// Positions are those of the last run.
	Positions []Position
	// FromEnd says that this is the first run: files that are there already are read from their
	// end, since their lines are old.
	FromEnd bool

	LookEvery time.Duration // between looks for renamed files; default 250 ms
	Linger    time.Duration // how long a renamed file stays open after its last line; default 1 min
}

// Stats count what happened since the Follower was made.
type Stats struct {
	Files     int    // that are followed by name
	Behind    int64  // bytes that are not read yet
	LostBytes int64  // that were there and cannot be read any more, as far as that is known
	Gaps      int    // how often lines may have been lost
	Skipped   int    // lines longer than Longest
	Problem   string // why a file is not read; empty if there is none
}

// Batch is a run of whole lines of one file.
type Batch struct {
	Path   string
	Offset int64  // of Data
	Data   []byte // with the ends of the lines
	File   ID
	// Last says that a batch of the last run ended at the end of Data. It may have been handed
	// in already.
	Last bool
}

// Follower follows the files that a pattern names. It may be used by one goroutine at a time.
type Follower struct {
	opts     Options
	paths    []string // that the pattern names
	files    []*file  // those that have a name of the pattern, and renamed ones
	turn     int      // index of the file to read next
	quota    int      // chunks that this file may still read before it is the turn of the next
	buffer   []byte
	last     *file      // of the last batch
	closed   []Position // of files that are not open, so that they are not taken for new ones
	begun    bool       // the first look is done
	rereads  bool       // see Again
	dirty    bool       // the set of files has changed
	nextLook time.Time
	nextGlob time.Time
	stats    Stats
	problems map[string]string // by path
}

// chunksInTurn is how many chunks of a file are read before other files have their turn.
const chunksInTurn = 16

// New returns a Follower. It opens nothing before the first Look.
func New(opts Options) *Follower {
	opts.LookEvery = cmp.Or(opts.LookEvery, 250*time.Millisecond)
	opts.Linger = cmp.Or(opts.Linger, time.Minute)
	return &Follower{opts: opts, problems: map[string]string{}, quota: chunksInTurn}
}

// Close closes all files.
func (f *Follower) Close() {
	for _, x := range f.files {
		x.Close()
	}
	f.files = nil
}

// Look finds out which files there are, if it is time for it.
func (f *Follower) Look(now time.Time) {
	if now.Before(f.nextLook) {
		return
	}
	f.nextLook = now.Add(f.opts.LookEvery)
	if !f.begun {
		f.restore()
	}
	if !now.Before(f.nextGlob) {
		f.glob(now)
	}
	for _, path := range f.paths {
		f.lookAt(path, now)
	}
	f.begun = true
	f.retire(now)
}

// glob finds the paths. A folder with very many names takes time, so the next look waits for
// many times as long.
func (f *Follower) glob(now time.Time) {
	begun := time.Now()
	f.nextGlob = now.Add(4 * f.opts.LookEvery)
	if !strings.ContainsAny(f.opts.Pattern, `*?[\`) {
		f.paths = []string{f.opts.Pattern}
		return
	}
	names, err := filepath.Glob(f.opts.Pattern)
	delete(f.problems, f.opts.Pattern)
	if err != nil {
		f.problems[f.opts.Pattern] = err.Error()
	}
	names = slices.DeleteFunc(names, isCompressed)
	if len(names) > MaxFiles {
		f.problems[f.opts.Pattern] = "more than 64 files match; name fewer, in several logs"
		// Those that are followed already stay.
		slices.SortStableFunc(names, func(a, b string) int { return f.rank(a) - f.rank(b) })
		names = names[:MaxFiles]
	}
	// A file that has lost its name is looked at once more, and then renamed or gone.
	for _, p := range f.paths {
		if !slices.Contains(names, p) {
			f.forget(p)
		}
	}
	f.paths = names
	f.nextGlob = f.nextGlob.Add(50 * time.Since(begun))
}

func (f *Follower) rank(path string) int {
	if f.current(path) != nil {
		return 0
	}
	return 1
}

// forget ends the following of a name.
func (f *Follower) forget(path string) {
	delete(f.problems, path)
	if x := f.current(path); x != nil {
		f.rename(x)
		f.findNext(x.path, x.seen, x.head())
	}
}

// current returns the file that has the name path, as far as is known.
func (f *Follower) current(path string) *file {
	for _, x := range f.files {
		if x.path == path && !x.old {
			return x
		}
	}
	return nil
}

func (f *Follower) byID(id ID) *file {
	for _, x := range f.files {
		if x.id == id {
			return x
		}
	}
	return nil
}

// lookAt compares the file that has the name path with the one that had it before.
func (f *Follower) lookAt(path string, now time.Time) {
	info, err := os.Stat(path)
	before := f.current(path)
	if err == nil && before != nil && before.id == idOf(info) {
		before.seen = now
		return
	}
	if err == nil {
		err = check(path, info)
	}
	delete(f.problems, path)
	if err != nil {
		f.problems[path] = advice(err)
	}
	if err == nil || os.IsNotExist(err) {
		f.passed(path, before)
	}
	if err == nil {
		f.take(path, info, now)
	}
}

// passed opens the files that had the name path since it was looked at last, and have lost it.
func (f *Follower) passed(path string, before *file) {
	if before != nil {
		f.rename(before)
	} else {
		for _, x := range f.files {
			if x.path == path {
				before = x // the last one
			}
		}
	}
	if before != nil {
		f.findNext(path, before.seen, before.head())
	}
}

// take follows a file that has the name path now.
func (f *Follower) take(path string, info os.FileInfo, now time.Time) {
	if known := f.byID(idOf(info)); known != nil {
		// A link that points to an earlier file again, or a name that the pattern matches, too.
		if known.old && known.path == path {
			known.old, known.seen = false, now
			f.dirty = true
		}
		return
	}
	x, err := open(path)
	if err != nil {
		f.problems[path] = advice(err)
		return
	}
	x.seen = now
	f.add(x)
	if !f.begun && f.opts.FromEnd {
		if err := x.toEnd(); err != nil {
			f.problems[path] = err.Error()
		}
	}
}

// advice adds to an error what the user can do.
func advice(err error) string {
	if os.IsPermission(err) {
		return err.Error() + ": add the user of paraxial-agent to a group that may read it"
	}
	return err.Error()
}

func (f *Follower) add(x *file) {
	f.files = append(f.files, x)
	f.dirty = true
}

// rename notes that a file has lost its name. It stays open.
func (f *Follower) rename(x *file) {
	x.old = true
	f.dirty = true
}

// findNext opens the files that had the name path after the time seen, and were renamed since.
func (f *Follower) findNext(path string, seen time.Time, head []byte) {
	for _, next := range f.successors(path, seen, head) {
		if len(f.files) >= maxOpen {
			f.stats.Gaps++
			next.Close()
			continue
		}
		next.old = true
		f.add(next)
	}
}

// retire closes renamed files that are read to their end. The last one of each name stays open
// while it has a name: a program that is not told of the rotation goes on writing to it.
func (f *Follower) retire(now time.Time) {
	newest := map[string]*file{}
	old := 0
	for _, x := range f.files {
		if x.old {
			old++
			newest[x.path] = x
		}
	}
	f.files = slices.DeleteFunc(f.files, func(x *file) bool {
		if !x.old || !x.atEnd || x.read != x.taken {
			return false
		}
		quiet := now.Sub(x.grown) > f.opts.Linger
		if old <= maxOld && !(quiet && (newest[x.path] != x || !x.hasName())) {
			return false
		}
		old--
		f.stats.LostBytes += x.rest
		f.close(x, now)
		return true
	})
	f.closed = slices.DeleteFunc(f.closed, func(p Position) bool { return now.Sub(p.Seen) > 2*f.opts.Linger })
}

// close closes a renamed file that is read to its end.
func (f *Follower) close(x *file, now time.Time) {
	p := x.position()
	p.Seen = now
	f.remember(p)
	x.Close()
	f.dirty = true
}

// remember keeps the position of a file that is not open.
func (f *Follower) remember(p Position) {
	f.closed = append(f.closed, p)
	f.closed = f.closed[max(0, len(f.closed)-maxOpen):]
}

// reopen sets the position of x if it is a file that was closed. It returns false if x was read
// to its end before.
func (f *Follower) reopen(x *file, size int64) bool {
	for n, p := range f.closed {
		if x.fits(p) {
			if size > p.Offset {
				f.closed = slices.Delete(f.closed, n, n+1)
			}
			return size > p.Offset
		}
	}
	return true
}

// Stats returns the counters.
func (f *Follower) Stats() Stats {
	s := f.stats
	for _, x := range f.files {
		if !x.old {
			s.Files++
		}
		s.Behind += x.behind()
	}
	paths := make([]string, 0, len(f.problems))
	for p := range f.problems {
		paths = append(paths, p)
	}
	if len(paths) > 0 {
		slices.Sort(paths)
		s.Problem = f.problems[paths[0]]
		if !strings.Contains(s.Problem, paths[0]) {
			s.Problem = paths[0] + ": " + s.Problem
		}
	}
	return s
}
