package store_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/paraxial/paraxial/policy"
	"github.com/paraxial/paraxial/store"
	"github.com/paraxial/paraxial/tests/testenv"
)

const spaceEnv = "PARAXIAL_STORE_TEST_SPACE"

// On a full disk a change must fail without effect, and the store must open and be
// usable again when there is room. The test runs itself again in its own mount
// namespace, where it mounts a small file system.
func TestFullDisk(t *testing.T) {
	testenv.Root(t)
	if os.Getenv(spaceEnv) != "" {
		testFullDisk(t)
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestFullDisk$", "-test.v")
	cmd.Env = append(os.Environ(), spaceEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "disk was full") {
		t.Fatalf("%v\n%s", err, out)
	}
}

func testFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=4m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	path, ballast := filepath.Join(dir, "state.db"), filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, path, at(1))
	want := fillDisk(t, s)
	r, err := s.Begin("list")
	if err == nil {
		err = r.Add(numbered("list", 20_000, policy.Forever))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("staging on a full disk: %v", err)
	}
	wantEntries(t, s, want...)
	s.Close()

	next := at(1)
	next.BootID = "b2"
	s = open(t, path, next) // must succeed on a full disk
	if _, err := s.Load(func(policy.Entry) error { return nil }); err != nil {
		t.Error("Load on a full disk:", err)
	}
	if err := s.Apply(puts(numbered("more", 20_000, policy.Forever)...), next); !errors.Is(err, syscall.ENOSPC) {
		t.Error("Apply on a full disk:", err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	more := block("192.0.2.0/24", "cli", policy.Forever)
	apply(t, s, next, policy.PutOp(more))
	wantEntries(t, s, append(want, more)...)
}

// fillDisk puts entries until the disk is full and returns those that were put.
func fillDisk(t *testing.T, s *store.Store) (put []policy.Entry) {
	t.Helper()
	for i := 0; ; i += 500 {
		batch := numberedFrom(i, "cli", 500, policy.Forever)
		err := s.Apply(puts(batch...), at(1))
		if errors.Is(err, syscall.ENOSPC) {
			t.Logf("disk was full after %d entries: %v", len(put), err)
			return put
		}
		if err != nil {
			t.Fatal(err)
		}
		put = append(put, batch...)
	}
}
