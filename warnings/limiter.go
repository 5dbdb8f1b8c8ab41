package warnings

import (
	"log/slog"
	"sync"
	"time"
)

// Limiter limits how often an error that occurs at every tick is logged. It may be used by several
// goroutines.
type Limiter struct {
	mu   sync.Mutex
	last map[string]time.Time
}

// Every is the shortest time between two log lines about the same subject.
const Every = time.Minute

// Log logs an error, unless the last one about the same subject was logged recently.
func (l *Limiter) Log(log *slog.Logger, what string, err error) {
	if l.Due(what) {
		log.Error(what, "error", err)
	}
}

// Due reports whether it is time to log something again, and notes that it is logged.
func (l *Limiter) Due(what string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if time.Since(l.last[what]) < Every {
		return false
	}
	if l.last == nil {
		l.last = make(map[string]time.Time)
	}
	l.last[what] = time.Now()
	return true
}
