package tail

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// reader follows files in a folder of a test.
type reader struct {
	*testing.T
	dir     string
	pattern string
	f       *Follower
	saved   []Position
	offset  time.Duration // of the clock
	lines   []string
}

func newReader(t *testing.T) *reader {
	t.Helper()
	return &reader{T: t, dir: t.TempDir(), pattern: "log"}
}

func (r *reader) now() time.Time { return time.Now().Add(r.offset) }

func (r *reader) path(name string) string { return filepath.Join(r.dir, name) }

// do carries out operations on files. Between them nobody reads, unless the operation is read.
func (r *reader) do(ops ...string) {
	r.Helper()
	for _, op := range ops {
		word := strings.SplitN(op, " ", 3)
		word = append(word, "", "")
		if err := r.operation(word[0], word[1], word[2]); err != nil {
			r.Fatalf("%s: %v", op, err)
		}
	}
}

func (r *reader) operation(verb, name, rest string) error {
	switch verb {
	case "write":
		text, err := strconv.Unquote(`"` + rest + `"`)
		if err != nil {
			return err
		}
		f, err := os.OpenFile(r.path(name), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = f.WriteString(text)
		return err
	case "rename":
		return os.Rename(r.path(name), r.path(rest))
	case "copy":
		data, err := os.ReadFile(r.path(name))
		if err != nil {
			return err
		}
		return os.WriteFile(r.path(rest), data, 0o644)
	case "truncate":
		size, err := strconv.ParseInt(rest, 10, 64)
		if err != nil {
			return err
		}
		return os.Truncate(r.path(name), size)
	case "remove":
		return os.Remove(r.path(name))
	case "link":
		os.Remove(r.path(name))
		return os.Symlink(rest, r.path(name))
	case "fifo":
		return syscall.Mkfifo(r.path(name), 0o644)
	case "chmod":
		mode, err := strconv.ParseUint(rest, 8, 32)
		if err != nil {
			return err
		}
		return os.Chmod(r.path(name), os.FileMode(mode))
	case "start":
		r.start(r.saved == nil)
	case "stop":
		r.saved = r.f.Positions()
		r.f.Close()
		r.f = nil
	case "wait":
		d, err := time.ParseDuration(name)
		r.offset += d
		return err
	case "read":
		r.read()
	default:
		return fmt.Errorf("not known")
	}
	return nil
}

func (r *reader) start(first bool) {
	r.f = New(Options{Pattern: r.path(r.pattern), Positions: r.saved, FromEnd: first})
	r.f.Look(r.now())
	r.Cleanup(func() {
		if r.f != nil {
			r.f.Close()
		}
	})
}

// read reads what is there and commits it.
func (r *reader) read() {
	r.f.nextLook, r.f.nextGlob = time.Time{}, time.Time{}
	r.f.Look(r.now())
	for {
		b, ok := r.f.Next()
		if !ok {
			break
		}
		for line := range bytes.Lines(b.Data) {
			r.lines = append(r.lines, strings.TrimSuffix(string(line), "\n"))
		}
		r.f.Take(b, len(b.Data))
	}
	r.f.Commit()
}

func TestFollow(t *testing.T) {
	tests := []struct {
		name string
		ops  []string
		want string
		gaps int
	}{
		{"append", []string{"start", "write log a\\n", "read", "write log b\\n", "read"}, "a b", 0},
		{"only new lines", []string{"write log old\\n", "start", "write log new\\n", "read"}, "new", 0},
		{"the rest of an old line", []string{"write log old", "start", "write log  x\\nnew\\n", "read"}, "new", 0},
		{"two halves", []string{"start", "write log a", "read", "write log b\\n", "read"}, "ab", 0},
		{"late writes", []string{"start", "write log 1\\n", "read", "rename log log.1", "write log.1 2\\n",
			"write log 3\\n", "read", "write log.1 4\\n", "read"}, "1 2 3 4", 0},
		{"late writes after an hour", []string{"start", "write log 1\\n", "read", "rename log log.1", "write log 2\\n",
			"read", "wait 1h", "read", "read", "write log.1 3\\n", "read"}, "1 2 3", 0},
		{"two rotations between looks", []string{"start", "write log 1\\n", "read", "rename log log.1",
			"write log 2\\n", "rename log.1 log.2", "rename log log.1", "write log 3\\n", "read"}, "1 2 3", 0},
		{"a rotation while the name is missing", []string{"start", "write log 1\\n", "read", "rename log log.1", "read",
			"write log 2\\n", "rename log.1 log.2", "rename log log.1", "write log 3\\n", "read"}, "1 2 3", 0},
		{"names with dates", []string{"start", "write log 1\\n", "read", "rename log log-20260101",
			"write log 2\\n", "rename log log-20260102", "write log 3\\n", "read"}, "1 2 3", 0},
		{"another log beside it", []string{"start", "write log 1\\n", "read", "rename log log.1", "write log.json x\\n",
			"write log 2\\n", "read"}, "1 2", 0},
		{"copy and truncate", []string{"start", "write log 1\\n", "read", "write log 2\\n", "copy log log.1",
			"truncate log 0", "write log 3\\n", "read"}, "1 2 3", 0},
		{"truncate without a copy", []string{"start", "write log 1\\n", "read", "truncate log 0", "write log 2\\n",
			"read"}, "1 2", 1},
		{"truncated and grown beyond", []string{"start", "write log 12345\\n", "read", "truncate log 0",
			"write log 67890abcdef\\n", "read"}, "12345 67890abcdef", 1},
		{"half a line is not joined", []string{"start", "write log abc", "read", "truncate log 0", "write log d\\n",
			"read"}, "d", 0},
		{"not there yet", []string{"start", "read", "write log a\\n", "read"}, "a", 0},
		{"removed for a minute", []string{"start", "write log a\\n", "read", "remove log", "read", "wait 60s",
			"read", "write log b\\n", "read"}, "a b", 0},
		{"links", []string{"start", "write f1 a\\n", "link log f1", "read", "write f2 b\\n", "link log f2", "read",
			"write f1 c\\n", "write f2 d\\n", "link log f1", "read", "write f1 e\\n", "read"}, "a b c d e", 0},
		{"restart", []string{"start", "write log a\\n", "read", "stop", "write log b\\n", "start", "read"}, "a b", 0},
		{"restart over a rotation", []string{"start", "write log a\\n", "read", "stop", "write log b\\n",
			"rename log log.1", "write log c\\n", "start", "read"}, "a b c", 0},
		{"restart over two rotations", []string{"start", "write log a\\n", "read", "stop", "write log b\\n",
			"rename log log.2", "write log c\\n", "rename log log.1", "write log d\\n", "start", "read"}, "a b c d", 0},
		{"restart after the file is gone", []string{"start", "write log a\\n", "read", "stop", "write log b\\n",
			"rename log log.1.gz", "write log c\\n", "start", "read"}, "a c", 1},
		{"restart over a gap and a rotation", []string{"start", "write log a\\n", "read", "stop", "write log b\\n",
			"rename log log.2.gz", "write log c\\n", "rename log log.1", "write log d\\n", "start", "read"},
			"a c d", 1},
		{"restart over copy and truncate", []string{"start", "write log a\\n", "read", "stop", "write log b\\n",
			"copy log log.1", "truncate log 0", "write log c\\n", "start", "read"}, "a b c", 0},
		{"restart with an edited file", []string{"start", "write log a\\n", "read", "stop", "copy log new",
			"rename new log", "write log b\\n", "start", "read"}, "a b", 0},
		{"a backup during a restart", []string{"start", "write log a\\n", "read", "stop", "write log b\\n",
			"copy log log.1", "rename log log.2", "write log c\\n", "start", "read"}, "a b c", 0},
		{"restart inside a long line", []string{"start", "write log " + strings.Repeat("x", Longest), "read", "stop",
			"write log y\\nz\\n", "start", "read"}, "z", 0},
		{"bytes of any kind", []string{"start", `write log a\x00b\n\xff\xfe\r\n\n`, "read"}, "a\x00b \xff\xfe\r ", 0},
		{"a hole", []string{"start", "write log a\\n", "read", "truncate log 4", "write log b\\n", "read"},
			"a \x00\x00b", 0},
		{"a very long line", []string{"start", "write log " + strings.Repeat("x", 3*Longest+7) + "\\nb\\n", "read"},
			"b", 0},
		{"a FIFO, then a file", []string{"fifo log", "start", "read", "remove log", "write log a\\n", "read"}, "a", 0},
		{"writable by everybody, then not", []string{"write log old\\n", "chmod log 666", "start", "read",
			"chmod log 644", "write log a\\n", "read"}, "old a", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newReader(t)
			r.do(tt.ops...)
			if got := strings.Join(r.lines, " "); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if s := r.f.Stats(); s.Gaps != tt.gaps || s.Behind != 0 || s.Files != 1 {
				t.Errorf("stats %+v, want %d gaps", s, tt.gaps)
			}
		})
	}
}

// TestInodeAgain: another file gets the inode of one that was removed.
func TestInodeAgain(t *testing.T) {
	r := newReader(t)
	r.do("start", "write log aaaa\\n", "read", "stop")
	r.do("write log bb\\n")
	data, err := os.ReadFile(r.path("log"))
	if err != nil {
		t.Fatal(err)
	}
	// The same inode with other bytes, which is all that a position can see of it.
	if err := os.WriteFile(r.path("log"), []byte("cccc\nd\n"), 0o644); err != nil || len(data) != 8 {
		t.Fatal(err, len(data))
	}
	r.do("start", "read")
	if got := strings.Join(r.lines, " "); got != "aaaa cccc d" || r.f.Stats().Gaps != 1 {
		t.Errorf("got %q, %+v", got, r.f.Stats())
	}
}

func TestGlob(t *testing.T) {
	r := newReader(t)
	r.pattern = "*.log*"
	r.do("write a.log old\\n", "write z.log.1.gz x\\n", "start", "read", "write b.log 1\\n", "write a.log 2\\n", "read",
		"rename a.log a.log.1", "write a.log.1 3\\n", "read", "write a.log 4\\n", "read", "stop", "write a.log 5\\n",
		"write c.log 6\\n", "start", "read")
	slices.Sort(r.lines)
	if got := strings.Join(r.lines, " "); got != "1 2 3 4 5 6" {
		t.Errorf("got %q", got)
	}
}

// TestBounds: files, descriptors and memory have limits.
func TestBounds(t *testing.T) {
	r := newReader(t)
	r.pattern = "*.log"
	for n := range MaxFiles + 10 {
		r.do(fmt.Sprintf("write %03d.log x\\n", n))
	}
	r.do("start", "read")
	if s := r.f.Stats(); s.Files != MaxFiles || !strings.Contains(s.Problem, "more than 64 files match") {
		t.Errorf("%+v", s)
	}
	r = newReader(t)
	r.do("start", "write log x\\n", "read")
	for n := range 3 * maxOpen {
		r.do(fmt.Sprintf("rename log log.%d", n), "write log x\\n")
		if n%100 == 0 {
			r.do("read")
		}
		if len(r.f.files) > maxOpen {
			t.Fatalf("%d files are open", len(r.f.files))
		}
	}
	r.do("read", "read")
	if len(r.f.files) > maxOld+1 {
		t.Errorf("%d files stay open, want at most %d", len(r.f.files), maxOld+1)
	}
	r.do("wait 2m", "read", "read")
	if len(r.f.files) != 2 {
		t.Errorf("%d files stay open, want the one with the name and the one before it", len(r.f.files))
	}
}

func TestProblems(t *testing.T) {
	open := t.TempDir()
	if err := os.Chmod(open, 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"fifo":   "is not a file, but a FIFO",
		"folder": "is not a file, but a folder",
		"open":   "every user may put files into " + open,
		"all":    "every user may write to it: chmod o-w ",
		"none":   "no such file or directory",
	} {
		r := newReader(t)
		r.pattern = name
		switch name {
		case "fifo":
			r.do("fifo fifo")
		case "folder":
			os.Mkdir(r.path("folder"), 0o755)
		case "open":
			os.WriteFile(filepath.Join(open, "x"), []byte("x\n"), 0o644)
			r.do("link open " + filepath.Join(open, "x"))
		case "all":
			r.do("write all x\\n", "chmod all 666")
		}
		r.do("start", "read")
		if s := r.f.Stats(); !strings.Contains(s.Problem, want) || s.Files != 0 || len(r.lines) != 0 {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

// TestHandedIn: what may have been handed in is read again as the same run of lines.
func TestHandedIn(t *testing.T) {
	r := newReader(t)
	r.do("start", "write log 1\\n2\\n", "read", "write log 3\\n4\\n5\\n")
	b, ok := r.f.Next()
	if !ok || string(b.Data) != "3\n4\n5\n" || b.Last {
		t.Fatalf("%+v", b)
	}
	r.f.Take(b, 4)
	r.do("stop", "write log 6\\n", "start")
	b, ok = r.f.Next()
	if !ok || string(b.Data) != "3\n4\n" || !b.Last || b.Offset != 4 {
		t.Fatalf("%q %+v", b.Data, b)
	}
	r.f.Take(b, len(b.Data))
	b, ok = r.f.Next()
	if !ok || string(b.Data) != "5\n6\n" || b.Last {
		t.Fatalf("%q %+v", b.Data, b)
	}
}

// TestRotationsUnderWrite renames a file while lines are written, some of them late, and starts
// again from saved positions on the way.
func TestRotationsUnderWrite(t *testing.T) {
	const rotations, each = 100, 50
	r := newReader(t)
	written := make(chan error, 1)
	go func() { written <- writeAndRotate(r.dir, rotations, each) }()
	r.start(true)
	var err error
	for done := false; !done; {
		select {
		case err = <-written:
			done = true
		default:
		}
		r.read()
		if len(r.lines)%7 == 0 {
			r.do("stop", "start")
		}
	}
	r.read()
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for n := range (rotations + 1) * each {
		want = append(want, fmt.Sprintf("line %06d", n))
	}
	slices.Sort(r.lines)
	if !slices.Equal(r.lines, want) {
		t.Errorf("got %d lines, want %d; %d different ones; %+v", len(r.lines), len(want),
			len(slices.Compact(slices.Clone(r.lines))), r.f.Stats())
	}
}

func writeAndRotate(dir string, rotations, each int) error {
	path := filepath.Join(dir, "log")
	line := 0
	write := func(w io.Writer, n int) {
		for range n {
			fmt.Fprintf(w, "line %06d\n", line)
			line++
		}
	}
	open := func() (*os.File, error) {
		return os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	}
	f, err := open()
	if err != nil {
		return err
	}
	write(f, each)
	for range rotations {
		for n := rotations; n > 0; n-- {
			os.Rename(fmt.Sprintf("%s.%d", path, n), fmt.Sprintf("%s.%d", path, n+1))
		}
		if err := os.Rename(path, path+".1"); err != nil {
			return err
		}
		write(f, each/2)
		next, err := open()
		if err != nil {
			return err
		}
		write(f, each/4)
		write(next, each-each/2-each/4)
		f.Close()
		f = next
	}
	return f.Close()
}
