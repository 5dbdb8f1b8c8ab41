package daemon

import (
	"context"
	"testing"
	"time"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/policy"
)

// failsOnAllows is a kernel that cannot remove allows.
type failsOnAllows struct{ *fakeKernel }

func (k failsOnAllows) Apply(ctx context.Context, d policy.Delta) error {
	for _, n := range d.Delete {
		if n.Kind == policy.Allow {
			return errKernel
		}
	}
	return k.fakeKernel.Apply(ctx, d)
}

// A flush that fails removes none of the entries, of both kinds, confirmed or not.
func TestFlushIsOneChange(t *testing.T) {
	k := failsOnAllows{&fakeKernel{nodes: map[string]policy.Verdict{}}}
	b := &bench{T: t, kernel: k.fakeKernel, Daemon: newDaemonOver(t, k, t.TempDir()+"/"+StoreFile, 100)}
	pending := shadow("192.0.2.2")
	pending.Confirm = time.Hour
	for _, r := range []control.Block{shadow("192.0.2.1"), pending} {
		if err := b.request(r); err != nil {
			t.Fatal(err)
		}
	}
	b.allow("192.0.2.3")
	before := b.copies()
	flush := func(kind policy.Kind) (control.FlushResult, error) {
		return b.Flush(t.Context(), control.Caller{UID: 7}, control.Flush{Origin: "cli", Kind: kind})
	}
	if r, err := flush(0); err == nil || r.Blocks+r.Allows > 0 || b.copies() != before {
		t.Errorf("a flush that fails: %+v, %v; entries %+v, before %+v", r, err, b.copies(), before)
	}
	if r, err := flush(policy.Block); err != nil || r.Blocks != 2 || r.Allows != 0 {
		t.Errorf("a flush of blocks: %+v, %v", r, err)
	}
	if left := b.copies(); left != (copies{1, 1, 1}) {
		t.Errorf("entries that are left: %+v", left)
	}
}
