package offenders

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/paraxial/paraxial/ladder"
	"github.com/paraxial/paraxial/policy"
)

// idleOffender returns what the analyzer says of one offender at now: the time that is left
// counts down.
func idleOffender(now policy.Deadline, offences int) []ladder.Offender {
	const forgets = policy.Deadline(24 * time.Hour)
	return []ladder.Offender{{
		Key:      ladder.Key{Origin: "detector:syn", Prefix: netip.MustParsePrefix("192.0.2.7/32")},
		Offences: offences, Forget: time.Duration(forgets - now),
	}}
}

// identity returns the file's information.
func identity(t *testing.T, path string) os.FileInfo {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// same tells whether the file was not written again. A new file may get an inode that was free.
func same(a, b os.FileInfo) bool { return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) }

func TestOffendersAreWrittenOnlyIfTheyChanged(t *testing.T) {
	path := filepath.Join(t.TempDir(), FileName)
	s := &File{path: path}
	save := func(s *File, list []ladder.Offender, now policy.Deadline) {
		t.Helper()
		if err := s.Save(list, now); err != nil {
			t.Fatal(err)
		}
	}
	save(s, idleOffender(1e9, 1), 1e9)
	first := identity(t, path)
	for now := policy.Deadline(31e9); now < 3600e9; now += 30e9 {
		save(s, idleOffender(now, 1), now)
	}
	if !same(first, identity(t, path)) {
		t.Error("an hour in which nothing happened: the file was written again")
	}
	save(s, idleOffender(3600e9, 2), 3600e9)
	if same(first, identity(t, path)) {
		t.Error("a second offence was not saved")
	}

	// The next run, half an hour later, on a boot clock of its own.
	next := &File{path: path}
	list, err := next.Load(5e9, identity(t, path).ModTime().Add(30*time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	want := idleOffender(3600e9, 2)
	want[0].Forget -= 30 * time.Minute
	if diff := cmp.Diff(want, list, cmp.Comparer(func(x, y netip.Prefix) bool { return x == y })); diff != "" {
		t.Errorf("offenders of the last run (-want +got):\n%s", diff)
	}
	second := identity(t, path)
	list[0].Forget -= 30 * time.Second
	save(next, list, 35e9)
	if !same(second, identity(t, path)) {
		t.Error("nothing happened since the start: the file was written again")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	save(next, list, 35e9)
	identity(t, path)
	save(next, nil, 36e9)
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("no offender is left, but the file is: %v", err)
	}
}

// A clock that was set back gives the file no negative age.
func TestOffendersAfterTheClockWasSetBack(t *testing.T) {
	s := &File{path: filepath.Join(t.TempDir(), FileName)}
	if err := s.Save(idleOffender(1e9, 1), 1e9); err != nil {
		t.Fatal(err)
	}
	list, err := s.Load(1e9, time.Unix(0, 0))
	if err != nil || len(list) != 1 || list[0].Forget != time.Duration(24*time.Hour-time.Second) {
		t.Errorf("got %+v, %v", list, err)
	}
}

func TestTemporaryFilesOfAKilledRun(t *testing.T) {
	dir := t.TempDir()
	s := &File{path: filepath.Join(dir, FileName)}
	for _, name := range []string{
		FileName + ".3175094282", FileName + ".0", FileName + ".bak", FileName + ".1.bak",
		FileName + ".", "x" + FileName + ".1",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, FileName+".7"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Load(1e9, time.Now()); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, f := range files {
		left = append(left, f.Name())
	}
	want := []string{
		FileName + ".", FileName + ".1.bak", FileName + ".7", FileName + ".bak", "x" + FileName + ".1",
	}
	if diff := cmp.Diff(want, left); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

var samePrefix = cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })

// TestFileOfOlderVersion reads the text that a version without rules wrote, and adds a rule.
func TestFileOfOlderVersion(t *testing.T) {
	f := In(t.TempDir())
	old := `[{"detector":"syn","prefix":"192.0.2.7/32","offences":2,"forget":"24h0m0s"}]`
	if err := os.WriteFile(f.path, []byte(old), 0o600); err != nil {
		t.Fatal(err)
	}
	written := identity(t, f.path).ModTime()
	list, err := f.Load(1e9, written)
	want := idleOffender(0, 2)
	if diff := cmp.Diff(want, list, samePrefix); err != nil || diff != "" {
		t.Fatalf("%v, offenders (-want +got):\n%s", err, diff)
	}
	want = append(want, ladder.Offender{
		Key:      ladder.Key{Origin: "rule:login", Prefix: netip.MustParsePrefix("192.0.2.7/32")},
		Offences: 3, Forget: time.Hour,
	})
	if err := f.Save(want, 1e9); err != nil {
		t.Fatal(err)
	}
	list, err = f.Load(1e9, identity(t, f.path).ModTime())
	if diff := cmp.Diff(want, list, samePrefix); err != nil || diff != "" {
		t.Errorf("%v, offenders (-want +got):\n%s", err, diff)
	}
}
