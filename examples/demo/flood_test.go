package main

import (
	"testing"

	"github.com/paraxial/paraxial/config"
	"github.com/paraxial/paraxial/policy"
)

func TestCrowdIsJudged(t *testing.T) {
	for _, c := range []struct {
		name            string
		flooder, client int // packets that arrive, of 100
		ok              bool
	}{
		{"caught", 50, 100, true},
		{"not caught", 100, 100, false},
		{"caught too late", 51, 100, false},
		{"a client loses a packet", 10, 99, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			crowd := newCrowd()
			for i := range crowd {
				crowd[i].sent, crowd[i].arrived = 100, 100
			}
			crowd[0].arrived, crowd[clients].arrived = c.flooder, c.client
			if err := crowd.check(); (err == nil) != c.ok {
				t.Errorf("got %v, want an error: %t", err, !c.ok)
			}
		})
	}
}

func TestCrowdFitsItsDetector(t *testing.T) {
	cfg, err := config.Parse(configFile, []byte(detectors))
	if err != nil {
		t.Fatal(err)
	}
	if len(cfg.Detectors) != 1 {
		t.Fatalf("got %d detectors, want one", len(cfg.Detectors))
	}
	d := cfg.Detectors[0]
	if policy.OriginDetector+d.Name != origin || d.For != banTime || len(d.Match.Ports) != 1 ||
		d.Match.Ports[0] != port {
		t.Errorf("the detector differs from the text of the demo: %+v", d)
	}
	limit := float64(d.Limit.PerSecond)
	if floodRate < 5*limit {
		t.Errorf("%d packets a second are too few for a limit of %v", floodRate, d.Limit)
	}
	if sent := clientRate * floodTime.Seconds(); sent >= limit*d.Window.Seconds() {
		t.Errorf("a client sends %v packets in all, which the limit %v does not always let through", sent, d.Limit)
	}
}
