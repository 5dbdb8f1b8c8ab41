package loader

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"unsafe"

	"github.com/cilium/ebpf/ringbuf"
	"github.com/paraxial/paraxial/policy"
)

// Flags of a drop event: EVENT_PORTS and EVENT_FRAGMENT of bpf/types.h.
const (
	eventPorts    = 1
	eventFragment = 2
)

// DropEvent is a reported packet that was dropped, or that a shadow entry would have
// dropped.
type DropEvent struct {
	Boot       policy.Deadline // the time, on CLOCK_BOOTTIME
	Slot       uint32          // of the interface
	Source     netip.Addr      // not valid if the IP header could not be read again
	Protocol   uint8           // of the transport, after IPv6 extension headers
	SourcePort uint16          // if HasPorts
	DestPort   uint16          // if HasPorts
	HasPorts   bool
	Fragment   bool
	Length     uint32 // of the whole frame, in bytes
	Reason     Reason
}

// SetEventCredit lets the program write n more events, in place of the credit that was
// left. Call it every second with the wanted rate.
func (l *Loader) SetEventCredit(n int64) { l.credit.store(0, uint64(n)) }

// Events calls f with reported drops until ctx is done, and then returns the error of ctx.
// Events are written only while there is credit.
func (l *Loader) Events(ctx context.Context, f func(DropEvent)) error {
	r, err := ringbuf.NewReader(l.maps[plainMapEvents])
	if err != nil {
		return fmt.Errorf("read events: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = r.Close() })
	defer func() {
		if stop() {
			_ = r.Close()
		}
	}()
	var rec ringbuf.Record
	for {
		if err := r.ReadInto(&rec); err != nil {
			if errors.Is(err, ringbuf.ErrClosed) && ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("read events: %w", err)
		}
		e, err := decodeEvent(rec.RawSample)
		if err != nil {
			return fmt.Errorf("read events: %w", err)
		}
		f(e)
	}
}

func decodeEvent(b []byte) (DropEvent, error) {
	var raw plainDropEvent
	if len(b) < int(unsafe.Sizeof(raw)) {
		return DropEvent{}, fmt.Errorf("%d bytes long, want %d", len(b), unsafe.Sizeof(raw))
	}
	if _, err := binary.Decode(b, binary.NativeEndian, &raw); err != nil {
		return DropEvent{}, err
	}
	e := DropEvent{
		Boot:     policy.Deadline(raw.Time),
		Slot:     raw.Slot,
		Protocol: raw.Proto,
		HasPorts: raw.Flags&eventPorts != 0,
		Fragment: raw.Flags&eventFragment != 0,
		Length:   raw.Length,
		Reason:   Reason(raw.Reason),
	}
	switch raw.Version {
	case 4:
		e.Source = netip.AddrFrom4([4]byte(raw.Src[:4]))
	case 6:
		e.Source = netip.AddrFrom16(raw.Src)
	}
	if e.HasPorts {
		e.SourcePort, e.DestPort = fromNetwork(raw.Sport), fromNetwork(raw.Dport)
	}
	return e, nil
}

// fromNetwork returns the value of two bytes in network order that were read in native
// order.
func fromNetwork(v uint16) uint16 {
	var b [2]byte
	binary.NativeEndian.PutUint16(b[:], v)
	return binary.BigEndian.Uint16(b[:])
}
