package store

import (
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/paraxial/paraxial/policy"
)

// Reading is the state of the clocks at one moment.
type Reading struct {
	BootID       string          // /proc/sys/kernel/random/boot_id
	Boot         policy.Deadline // CLOCK_BOOTTIME, ns
	Wall         time.Time
	Synchronised bool // Wall is synchronised and can be trusted
}

// epoch is one boot of the machine.
type epoch struct {
	bootID string
	offset int64 // ledger time minus boot time, ns
}

// checkpoint is a Reading taken in an epoch.
type checkpoint struct {
	epoch uint32
	boot  policy.Deadline
	wall  time.Time
}

// clock converts the boot time of any epoch to that of the present one. Its rules
// are in the package comment. A clock is a value: changing a copy does not change
// the original.
type clock struct {
	epochs  map[uint32]epoch // numbered without gaps from 1; never changed in place
	current uint32
	last    checkpoint
	synced  checkpoint // the last one with a trusted wall time; epoch 0 if there is none
	unsaved []uint32   // epochs that differ from those on disk
}

// newClock returns the clock of a new store.
func newClock(now Reading) clock {
	c := clock{epochs: map[uint32]epoch{1: {bootID: now.BootID}}, current: 1, unsaved: []uint32{1}}
	c.last = checkpoint{epoch: 1}
	c.note(now)
	return c
}

// enter makes the epoch of now the current one. It creates an epoch if the machine
// was booted since the last checkpoint.
func (c *clock) enter(now Reading) {
	c.current = c.last.epoch
	if c.epochs[c.current].bootID != now.BootID {
		offset := c.ledger(c.last) - int64(now.Boot)
		c.current++
		c.set(c.current, epoch{bootID: now.BootID, offset: offset})
		c.settle(now)
	}
	c.note(now)
}

// settle adds the time that the ledger missed since the last trusted checkpoint,
// according to the wall clock, if that checkpoint is of an earlier epoch. moved
// reports whether any deadline changed, and settled whether the clock changed.
func (c *clock) settle(now Reading) (moved, settled bool) {
	if !now.Synchronised || c.synced.epoch == c.current {
		return false, false
	}
	from := c.synced
	c.synced = c.checkpoint(now)
	if from.epoch == 0 {
		return false, true
	}
	passed := c.synced.wall.Sub(from.wall)
	missed := passed - time.Duration(c.ledger(c.synced)-c.ledger(from))
	if passed < 0 || missed <= 0 || missed > policy.MaxTTL {
		return false, true
	}
	for e := from.epoch + 1; e <= c.current; e++ {
		ep := c.epochs[e]
		ep.offset += int64(missed)
		c.set(e, ep)
	}
	return true, true
}

// note makes now the last checkpoint. It ignores a reading that is older than the
// last one of the same epoch, because another goroutine was faster.
func (c *clock) note(now Reading) {
	if c.last.epoch == c.current && now.Boot < c.last.boot {
		return
	}
	c.last = c.checkpoint(now)
	if now.Synchronised && (c.synced.epoch == 0 || c.synced.epoch == c.current) {
		c.synced = c.last
	}
}

// deadline returns deadline d of epoch e in the present boot's time.
func (c *clock) deadline(d policy.Deadline, e uint32) (policy.Deadline, error) {
	ep, ok := c.epochs[e]
	if !ok {
		return 0, fmt.Errorf("epoch %d does not exist", e)
	}
	if d == policy.Forever || e == c.current {
		return d, nil
	}
	shift := ep.offset - c.epochs[c.current].offset
	moved := int64(d) + shift
	switch {
	case shift > 0 && moved < int64(d):
		return policy.Forever - 1, nil // the latest finite deadline
	case shift < 0 && moved > int64(d):
		return 0, nil
	}
	return min(policy.Deadline(moved), policy.Forever-1), nil
}

func (c *clock) checkpoint(r Reading) checkpoint {
	return checkpoint{epoch: c.current, boot: r.Boot, wall: r.Wall.Round(0)}
}

func (c *clock) ledger(p checkpoint) int64 {
	return int64(p.boot) + c.epochs[p.epoch].offset
}

func (c *clock) set(id uint32, e epoch) {
	c.epochs = maps.Clone(c.epochs)
	c.epochs[id] = e
	c.unsaved = append(c.unsaved[:len(c.unsaved):len(c.unsaved)], id)
}

// check returns an error if a clock that was read from disk is not consistent.
func (c *clock) check() error {
	if c.last.epoch == 0 || len(c.epochs) != int(c.last.epoch) || c.synced.epoch > c.last.epoch {
		return errors.New("checkpoint and epochs do not match")
	}
	for e := range c.epochs {
		if e == 0 || e > c.last.epoch {
			return fmt.Errorf("epoch %d is unexpected", e)
		}
	}
	return nil
}
