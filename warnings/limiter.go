package warnings

import (
	"log/slog"
	"time"
)

// Limiter limits how often an error that occurs at every tick is logged.
type Limiter struct {
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
	if time.Since(l.last[what]) < Every {
		return false
	}
	if l.last == nil {
		l.last = make(map[string]time.Time)
	}
	l.last[what] = time.Now()
	return true
}
