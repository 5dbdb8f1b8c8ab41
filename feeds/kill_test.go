package feeds

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// childDir is the variable that makes the test binary a process to be killed.
const childDir = "PARAXIAL_FEEDS_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		if err := refreshForEver(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

func killFeed(dir string) Feed {
	f := fileFeed("x", filepath.Join(dir, "list"))
	f.MaxEntries = 10_000
	return f
}

// killLists are the lists that the process reads in turn.
func killLists() [2][]string {
	all := addresses(4000)
	return [2][]string{all[:3000], all[1000:]}
}

// refreshForEver writes a point after each refresh. Every third list is held and accepted.
func refreshForEver(dir string) error {
	env := &environment{
		fetcher: fetcher{proxy: noProxy, allow: checkPublic, now: time.Now},
		sender:  &fakeDaemon{}, now: time.Now, random: rand.Float64,
	}
	f := killFeed(dir)
	s, err := newSubscription(f, filepath.Join(dir, "x"), env)
	if err != nil {
		return err
	}
	lists := killLists()
	for n := 0; ; n++ {
		if err := os.WriteFile(f.URL, []byte(text(lists[n%2])), 0o600); err != nil {
			return err
		}
		if err := s.refresh(context.Background()); err != nil {
			return err
		}
		if n%3 == 2 {
			if _, err := s.rollback(context.Background(), 0); err != nil {
				return err
			}
			if _, err := s.accept(context.Background()); err != nil {
				return err
			}
		}
		fmt.Print(".")
	}
}

// TestKilled: whenever the process is killed, the state is the old or the new one.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	var want [2][]string
	for n, list := range killLists() {
		want[n] = sortedPrefixes(t, list)
	}
	for n := range 30 {
		killAtRandom(t, dir)
		r, err := loadRecord(filepath.Join(dir, "x"))
		if err != nil {
			t.Fatalf("kill %d: %v", n, err)
		}
		if len(r.Kept) > maxKept || r.Current == 0 {
			t.Errorf("kill %d: %d generations, current %d", n, len(r.Kept), r.Current)
		}
		numbers := []uint64{}
		for _, k := range r.Kept {
			numbers = append(numbers, k.Number)
		}
		if r.HeldAs != nil && !slices.Contains(numbers, r.HeldAs.Number) {
			numbers = append(numbers, r.HeldAs.Number)
		}
		for _, number := range numbers {
			var got []string
			for l, err := range readGeneration(filepath.Join(dir, "x"), number) {
				if err != nil {
					t.Fatalf("kill %d: %v", n, err)
				}
				got = append(got, l.prefix.String())
			}
			if !slices.Equal(got, want[0]) && !slices.Equal(got, want[1]) {
				t.Fatalf("kill %d: generation %d has %d entries and is no list that was read", n, number, len(got))
			}
		}
		files, err := os.ReadDir(filepath.Join(dir, "x"))
		if err != nil || len(files) != len(numbers)+1 {
			t.Errorf("kill %d: %d files for %d generations (%v)", n, len(files), len(numbers), err)
		}
	}
}

func sortedPrefixes(t *testing.T, list []string) []string {
	t.Helper()
	l := newLab(t)
	l.feed.MaxEntries = 10_000
	l.serve(200, text(list))
	l.good()
	return l.daemon.set
}

// killAtRandom runs the process for some refreshes, and kills it within the next one.
func killAtRandom(t *testing.T, dir string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	points := bufio.NewReader(out)
	last := time.Now()
	var took time.Duration
	for range 2 + rand.IntN(3) {
		if _, err := points.ReadByte(); err != nil {
			cmd.Wait()
			t.Fatalf("the process ended: %v", err)
		}
		took, last = time.Since(last), time.Now()
	}
	time.Sleep(time.Duration(rand.Float64() * 1.5 * float64(took)))
	cmd.Process.Kill()
	cmd.Wait()
}
