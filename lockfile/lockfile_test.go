package lockfile

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestTake(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "f")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, file} {
		first, second := open(t, path), open(t, path)
		if err := Take(first, 0); err != nil {
			t.Fatal(err)
		}
		err := Take(second, 50*time.Millisecond)
		held, ok := errors.AsType[*HeldError](err)
		if !ok || held.PID != os.Getpid() {
			t.Errorf("second lock of %s: %v, want it held by process %d", path, err, os.Getpid())
		}
		time.AfterFunc(100*time.Millisecond, func() { first.Close() })
		if err := Take(second, time.Minute); err != nil {
			t.Errorf("lock of %s that is given back meanwhile: %v", path, err)
		}
	}
}

func open(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestFindHolder(t *testing.T) {
	const list = `1: FLOCK  ADVISORY  WRITE 4711 fe:00:1234 0 EOF
1: -> FLOCK  ADVISORY  WRITE 4712 fe:00:1234 0 EOF
2: POSIX  ADVISORY  WRITE 4713 fe:00:99 0 EOF
3: FLOCK  ADVISORY  WRITE 4714 fe:00:77 0 EOF
4: FLOCK  ADVISORY  WRITE 4715 00:2a:77 0 EOF
5: FLOCK  ADVISORY  WRITE 0 00:2a:88 0 EOF
6: nonsense
`
	for inode, want := range map[uint64]int{1234: 4711, 234: 0, 99: 0, 77: 0, 88: 0} {
		if got := findHolder(strings.NewReader(list), inode); got != want {
			t.Errorf("inode %d: process %d, want %d", inode, got, want)
		}
	}
}
