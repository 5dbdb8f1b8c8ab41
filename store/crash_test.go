package store_test

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/paraxial/paraxial/policy"
	"github.com/paraxial/paraxial/store"
)

// childEnv makes the test binary a writer that the test kills.
const childEnv = "PARAXIAL_STORE_TEST_CHILD"

func TestMain(m *testing.M) {
	writers := map[string]func(*store.Store, int) error{"apply": applyStep, "replace": replaceStep}
	if write, ok := writers[os.Getenv(childEnv)]; ok {
		fmt.Fprintln(os.Stderr, writeUntilKilled(os.Args[1], os.Args[2], write))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// writeUntilKilled makes one step after the other, beginning with start, and prints
// the number of each step that was acknowledged.
func writeUntilKilled(path, start string, step func(*store.Store, int) error) error {
	s, err := store.Open(path, at(1))
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(start)
	for ; err == nil; n++ {
		if err = step(s, n); err == nil {
			_, err = fmt.Println(n)
		}
	}
	return err
}

// applyStep puts entry n. Every fifth step also removes the previous entry, and every
// seventh puts many entries at once.
func applyStep(s *store.Store, n int) error { return s.Apply(applyOps(n), at(1)) }

func applyOps(n int) []policy.Op {
	count := 1
	if n%7 == 0 {
		count = 300
	}
	ops := puts(numberedFrom(n*1000, "cli", count, policy.Forever)...)
	if n%5 == 0 && n > 0 {
		ops = append(ops, policy.RemoveOp(applyOps(n - 1)[0].Put.Key()))
	}
	return ops
}

// afterApply returns the entries after steps 0 to n.
func afterApply(n int) []policy.Entry {
	book := make(map[policy.Key]policy.Entry)
	for i := range n + 1 {
		for _, op := range applyOps(i) {
			if op.IsPut() {
				book[op.Put.Key()] = op.Put
			} else {
				delete(book, op.Remove)
			}
		}
	}
	var entries []policy.Entry
	for _, e := range book {
		entries = append(entries, e)
	}
	return entries
}

// replaceStep replaces the list by the list of step n.
func replaceStep(s *store.Store, n int) error {
	r, err := s.Begin("list")
	if err != nil {
		return err
	}
	for chunk := range slices.Chunk(afterReplace(n), 1000) {
		if err := r.Add(chunk); err != nil {
			return err
		}
	}
	return r.Commit(at(1))
}

func afterReplace(n int) []policy.Entry {
	return numberedFrom(n*10, "list", 2000+n%300, policy.Forever)
}

// After a kill -9 the store must hold all acknowledged steps. The step that was under
// way is there completely or not at all.
func TestKilledWriter(t *testing.T) {
	rounds := 20
	if testing.Short() {
		rounds = 5
	}
	models := map[string]func(n int) []policy.Entry{"apply": afterApply, "replace": afterReplace}
	for name, model := range models {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "state.db")
			acknowledged := -1
			for round := range rounds {
				acknowledged = killWriter(t, name, path, acknowledged)
				s := open(t, path, at(1))
				got, _ := loadAll(t, s)
				s.Close()
				next := acknowledged + 1
				switch {
				case acknowledged >= 0 && sameEntries(model(acknowledged), got):
				case sameEntries(model(next), got):
					acknowledged = next
				case acknowledged < 0 && len(got) == 0:
				default:
					t.Fatalf("round %d: %d acknowledged steps, but %d entries that belong neither to these nor to "+
						"one more",
						round, next, len(got))
				}
			}
			t.Log(acknowledged+1, "steps in", rounds, "rounds")
			if acknowledged < rounds {
				t.Errorf("only %d steps in %d rounds", acknowledged+1, rounds)
			}
		})
	}
}

func sameEntries(want, got []policy.Entry) bool {
	return len(want) == len(got) && diffEntries(want, got) == ""
}

// killWriter kills a writer in the middle of one of its first steps, or before
// them, and returns the last step that it acknowledged.
func killWriter(t *testing.T, writer, path string, acknowledged int) int {
	t.Helper()
	cmd := exec.Command(os.Args[0], path, strconv.Itoa(acknowledged+1))
	cmd.Env = append(os.Environ(), childEnv+"="+writer)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	steps := rand.IntN(12)
	kill := func() {
		time.AfterFunc(time.Duration(rand.IntN(20_000))*time.Microsecond, func() { cmd.Process.Kill() })
	}
	if steps == 0 {
		kill()
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		n, err := strconv.Atoi(lines.Text())
		if err != nil {
			break // the kill cut the line short
		}
		acknowledged = n
		if steps--; steps == 0 {
			kill()
		}
	}
	if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() != -1 {
		t.Fatalf("the writer was not killed: %v", cmd.ProcessState)
	}
	return acknowledged
}
