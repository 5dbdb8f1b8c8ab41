package daemon

import (
	"testing"

	"github.com/paraxial/paraxial/loader"
	"github.com/paraxial/paraxial/policy"
)

// Answers are looked for while an entry lets them pass, or a change that puts such entries is under
// way, and not otherwise.
func TestRepliesFollowEntries(t *testing.T) {
	b, _ := decided(t)
	var ports loader.Ports
	r := &replies{Daemon: b.Daemon, set: func(p loader.Ports) error { ports = p; return nil }}
	looks := func(when string, want bool) {
		t.Helper()
		if got := ports != (loader.Ports{}); got != want {
			t.Errorf("%s: looks for answers: %t, want %t", when, got, want)
		}
	}
	edit := func(op policy.Op) {
		t.Helper()
		if err := b.engine.Edit(t.Context(), func(*policy.Book) ([]policy.Op, error) {
			return []policy.Op{op}, nil
		}); err != nil {
			t.Fatal(err)
		}
		r.follow()
	}
	e := policy.Entry{
		Prefix: prefixes("203.0.113.0/24")[0], Kind: policy.Block, Action: policy.Drop, Origin: "x",
		Deadline: policy.Forever,
	}
	edit(policy.PutOp(e))
	looks("with an entry that drops answers", false)
	done, other := r.expect(), r.expect()
	r.follow()
	looks("before the entries of a change are there", true)
	done()
	looks("while another change is under way", true)
	other()
	looks("after changes that failed", false)
	e.Replies = true
	edit(policy.PutOp(e))
	looks("with an entry that lets answers pass", true)
	edit(policy.RemoveOp(e.Key()))
	looks("without it", false)
}
