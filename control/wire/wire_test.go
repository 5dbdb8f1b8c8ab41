package wire

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/policy"
)

func TestEvidence(t *testing.T) {
	first, last := time.Unix(1793000001, 0).UTC(), time.Unix(1793000007, 0).UTC()
	got := evidence(&policy.Evidence{
		Detector: "syn-flood",
		Rate:     policy.Rate{PerSecond: 412, Unit: policy.Packets},
		Limit:    policy.Rate{PerSecond: 125_000, Unit: policy.Bytes},
		Window:   90 * time.Second, Count: 2060, First: first, Last: last, Ports: []uint16{443}, Offence: 2, Sources: 3,
	})
	want := &control.Evidence{
		Detector: "syn-flood", Rate: "412/s", Limit: "1Mbit/s", Window: "1m30s", Count: 2060,
		First: first, Last: last, Ports: []uint16{443}, Offence: 2, Sources: 3,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if got := evidence(nil); got != nil {
		t.Errorf("nil became %v", got)
	}
}

func TestRuleEvidence(t *testing.T) {
	now := time.Unix(1793000000, 0).UTC()
	seen := policy.Seen{Time: now, Points: 2, User: "a", Path: "b", Text: "c", Where: "d"}
	got := evidence(&policy.Evidence{
		Window: time.Minute, Count: 6, First: now, Last: now, Offence: 1, Sources: 2,
		Rule: &policy.RuleEvidence{Rule: "login", Limit: 5, Reporter: "shop", Seen: []policy.Seen{seen}},
	})
	want := &control.Evidence{
		Rule: "login", PointLimit: 5, Reporter: "shop", Window: "1m", Count: 6, First: now, Last: now, Offence: 1,
		Sources: 2, Events: []control.Seen{{Time: now, Points: 2, User: "a", Path: "b", Text: "c", Where: "d"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
