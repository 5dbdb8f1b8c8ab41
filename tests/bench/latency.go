package main

import (
	"math/rand/v2"
	"time"
)

// A latencyRow is the time of a memory read that depends on the previous one, at random addresses
// in that many bytes. A look-up that misses the cache cannot be faster, so this shows how much
// cache the machine and its neighbours leave.
type latencyRow struct {
	Bytes int     `json:"bytes"`
	Read  float64 `json:"read_ns"`
}

func measureLatency() []latencyRow {
	var rows []latencyRow
	for size := 256 << 10; size <= 64<<20; size *= 4 {
		rows = append(rows, latencyRow{Bytes: size, Read: chase(size)})
	}
	return rows
}

// A cacheLine holds the number of the line to read next.
type cacheLine struct {
	next uint32
	_    [60]byte
}

// chase follows a random cycle through all lines, and returns nanoseconds per step.
func chase(bytes int) float64 {
	const (
		steps  = 1 << 19
		rounds = 5
	)
	lines := make([]cacheLine, bytes/64)
	order := rand.New(rand.NewPCG(seed, 0)).Perm(len(lines))
	for i, at := range order {
		lines[at].next = uint32(order[(i+1)%len(order)])
	}
	best := time.Duration(1 << 62)
	at := uint32(0)
	for range rounds {
		begin := time.Now()
		for range steps {
			at = lines[at].next
		}
		best = min(best, time.Since(begin))
	}
	if int(at) >= len(lines) {
		panic("the cycle left its lines") // never happens; it keeps the reads from being optimised away
	}
	return float64(best.Nanoseconds()) / steps
}
