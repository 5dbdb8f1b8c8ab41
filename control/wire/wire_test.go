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
