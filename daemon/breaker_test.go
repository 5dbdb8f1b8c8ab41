package daemon

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/paraxial/paraxial/events"
	"github.com/paraxial/paraxial/policy"
)

// A storm of offenders opens the breaker, also without a detector. Then rules only add shadow
// entries, and log and status say so.
func TestBreakerOfRules(t *testing.T) {
	b := ruled(t, events.Block)
	log := new(bytes.Buffer)
	b.ruling.Daemon.log = slog.New(slog.NewTextHandler(log, nil))
	cfg := b.settings()
	cfg.Detection.Breaker.BansPerMinute = 3
	cfg.Rules[0].Limit = 0
	b.cfg.Store(&cfg)
	b.restartRules()
	for n := range 20 {
		b.rate(event(fmt.Sprintf("198.51.100.%d", n)))
		b.ruling.tellBreaker()
	}
	drops, shadows := 0, 0
	for n := range 20 {
		e, _ := b.entry(fmt.Sprintf("198.51.100.%d/32", n))
		switch e.Action {
		case policy.Drop:
			drops++
		case policy.Shadow:
			shadows++
		}
	}
	if drops != 3 || shadows != 17 {
		t.Errorf("%d drops and %d shadow entries, want 3 and 17", drops, shadows)
	}
	if n := strings.Count(log.String(), "circuit breaker open"); n != 1 {
		t.Errorf("the log says so %d times:\n%s", n, log)
	}
	if s := fmt.Sprint(b.conditions()); !strings.Contains(s, "the circuit breaker is open") {
		t.Errorf("status warns of %s", s)
	}
}
