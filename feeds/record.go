package feeds

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/paraxial/paraxial/report"
)

// maxKept is the number of generations on disk, without one that is held.
const maxKept = 5

// record is what is kept of a feed from one run to the next. Its file is replaced as a
// whole after the files that it refers to are on the disk, so a crash leaves the old or the
// new state.
type record struct {
	Fingerprint string    `json:"fingerprint"`
	Condition   condition `json:"condition"` // of the last body that was read
	Body        uint64    `json:"body"`      // the generation that is this body; 0 if there is none

	Last     uint64       `json:"last"`    // the highest number that was used
	Current  uint64       `json:"current"` // the generation in force; 0 if there is none
	Kept     []generation `json:"kept"`    // by number; Held may be one of them
	Held     *report.Held `json:"held,omitempty"`
	HeldAs   *generation  `json:"held_as,omitempty"`
	Sent     uint64       `json:"sent"`               // the generation that the sender has; 0 if it has none
	Again    bool         `json:"again,omitempty"`    // it has to be put again
	Accepted bool         `json:"accepted,omitempty"` // an operator wants Current
	Excepted string       `json:"excepted,omitempty"` // what Sent leaves out, as exceptGenerations

	AnsweredAt time.Time `json:"answered_at,omitzero"` // the last answer that was understood
	CheckedAt  time.Time `json:"checked_at,omitzero"`  // the last one that speaks for Current
	FetchedAt  time.Time `json:"fetched_at,omitzero"`
	ChangedAt  time.Time `json:"changed_at,omitzero"`
	NextAt     time.Time `json:"next_at,omitzero"`

	Failures int      `json:"failures,omitempty"`
	Error    string   `json:"error,omitempty"`
	Paused   bool     `json:"paused,omitempty"`
	Refused  []string `json:"refused,omitempty"` // notes of the last Result
}

// loadRecord reads the record in dir and removes what it does not refer to.
func loadRecord(dir string) (record, error) {
	var r record
	b, err := os.ReadFile(filepath.Join(dir, recordName))
	if errors.Is(err, fs.ErrNotExist) {
		return r, tidy(dir, func(uint64) bool { return false }, true)
	}
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	if err != nil {
		return record{}, fmt.Errorf("read the state in %s: %w", dir, err)
	}
	return r, tidy(dir, r.refers, true)
}

// save replaces the file, and removes generations that the record does not refer to any
// more.
func (r *record) save(dir string) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	name, err := writeTemp(dir, func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	})
	if err == nil {
		err = rename(name, filepath.Join(dir, recordName))
	}
	if err != nil {
		return fmt.Errorf("save the state: %w", err)
	}
	return tidy(dir, r.refers, false)
}

func (r *record) refers(number uint64) bool {
	return r.HeldAs != nil && r.HeldAs.Number == number ||
		slices.ContainsFunc(r.Kept, func(g generation) bool { return g.Number == number })
}

// generation returns a generation that is on the disk.
func (r *record) generation(number uint64) (generation, bool) {
	if r.HeldAs != nil && r.HeldAs.Number == number {
		return *r.HeldAs, true
	}
	at := slices.IndexFunc(r.Kept, func(g generation) bool { return g.Number == number })
	if at < 0 {
		return generation{}, false
	}
	return r.Kept[at], true
}

// current returns the generation in force; its number is 0 if there is none.
func (r *record) current() generation {
	g, _ := r.generation(r.Current)
	return g
}

// hold keeps a generation beside the one in force.
func (r *record) hold(g generation, h report.Held) {
	h.Generation, h.Entries = g.Number, g.Entries
	r.Held, r.HeldAs = &h, &g
}

func (r *record) release() { r.Held, r.HeldAs = nil, nil }

// enforce makes a generation the one in force.
func (r *record) enforce(g generation, now time.Time) {
	if !slices.ContainsFunc(r.Kept, func(k generation) bool { return k.Number == g.Number }) {
		r.Kept = append(r.Kept, g)
		slices.SortFunc(r.Kept, func(x, y generation) int { return int(x.Number) - int(y.Number) })
	}
	r.Current, r.ChangedAt, r.Refused = g.Number, now, nil
	for len(r.Kept) > maxKept {
		oldest := slices.IndexFunc(r.Kept, func(k generation) bool { return k.Number != r.Current })
		r.Kept = slices.Delete(r.Kept, oldest, oldest+1)
	}
}

// forget gives up the generation in force, whose file is damaged, and asks for the list
// anew. The sender keeps its set.
func (r *record) forget(now time.Time) {
	r.Kept = slices.DeleteFunc(r.Kept, func(g generation) bool { return g.Number == r.Current })
	r.Condition, r.Body, r.Current, r.Sent = condition{}, 0, 0, 0
	r.NextAt = now
}
