package index_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/paraxial/paraxial/index"
	"github.com/paraxial/paraxial/policy"
)

// v4Victim is the environment variable with the directory to write to. It makes the test a
// writer that runs until it is killed.
const v4Victim = "PARAXIAL_INDEX_VICTIM"

// mapFile maps a file until the process ends.
func mapFile(name string, lines uint32) ([]uint64, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if lines > 0 {
		if err := f.Truncate(int64(lines) * 64); err != nil {
			return nil, err
		}
	}
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	b, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	return unsafe.Slice((*uint64)(unsafe.Pointer(&b[0])), len(b)/8), nil
}

// TestV4SurvivesKill kills a writing process at random moments, and looks up the sources that
// it did not change.
func TestV4SurvivesKill(t *testing.T) {
	if dir := os.Getenv(v4Victim); dir != "" {
		t.Fatal(writeUntilKilled(dir))
	}
	r := v4Rand(t)
	for range v4Cases(t, 1_000_000)/20_000 + 1 {
		dir := t.TempDir()
		killWriter(t, dir, time.Duration(r.IntN(20_000))*time.Microsecond)
		words, err := mapFile(filepath.Join(dir, "current"), 0)
		if err != nil {
			t.Fatal(err)
		}
		x := index.ReadV4(words)
		for _, op := range v4Listed() {
			if a := op.Put.Prefix.Addr(); x.Lookup(a, 1) != index.Drop {
				t.Errorf("%s, which is listed: answer %d", a, x.Lookup(a, 1))
			}
		}
		for range 200 {
			if a := v4Host(r, 1); x.Lookup(a, 1) != index.Clean {
				t.Errorf("%s, which is not listed: answer %d", a, x.Lookup(a, 1))
			}
		}
	}
}

// killWriter starts a writer, and kills it at some time after its first generation.
func killWriter(t *testing.T, dir string, after time.Duration) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestV4SurvivesKill$")
	cmd.Env = append(os.Environ(), v4Victim+"="+dir)
	started, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := started.Read(make([]byte, 1)); err != nil {
		t.Errorf("the writer did not start: %v", err)
	}
	time.Sleep(after) // a random moment
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() != -1 {
		t.Fatalf("the writer ended by itself: %v", err)
	}
}

// writeUntilKilled changes entries beside the permanent ones.
func writeUntilKilled(dir string) error {
	current, next := filepath.Join(dir, "current"), filepath.Join(dir, "next")
	book := policy.NewBook(v4Hits)
	book.Apply(v4Listed())
	churn := v4Churn{rand.New(rand.NewPCG(rand.Uint64(), 0)), map[policy.Key]bool{}}
	var x *index.V4
	for {
		if x == nil {
			var err error
			x, err = index.BuildV4(book, func(lines uint32) ([]uint64, error) { return mapFile(next, lines) })
			if err != nil {
				return err
			}
			if err := os.Rename(next, current); err != nil {
				return err
			}
			fmt.Println("a generation is in force")
		}
		op := churn.next()
		p := op.Put.Prefix
		if p == (netip.Prefix{}) {
			p = op.Remove.Prefix
		}
		book.Apply([]policy.Op{op})
		if !x.Update(p) {
			x = nil
		}
	}
}
