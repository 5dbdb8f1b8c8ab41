package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/tests/lab"
)

// A blockRow is the time that a single block takes among many entries, counted from the request, in
// milliseconds.
type blockRow struct {
	Rounds       int      `json:"rounds"`
	Acknowledged quantile `json:"acknowledged_ms"`
	LastPacket   quantile `json:"last_packet_ms"` // the last packet of the source that got through
}

type quantile struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

// quantiles sorts its argument.
func quantiles(all []time.Duration) quantile {
	slices.Sort(all)
	at := func(percent int) float64 {
		return float64(all[min(len(all)*percent/100, len(all)-1)].Microseconds()) / 1000
	}
	return quantile{at(50), at(99), at(100)}
}

const serverPort = 7777

// measureBlocks blocks one source after the other while it sends.
func measureBlocks(ctx context.Context, wire *lab.Wire, d lab.Daemon, quick bool) (*blockRow, error) {
	rounds := 500
	if quick {
		rounds = 50
	}
	server, err := listenStamped()
	if err != nil {
		return nil, err
	}
	defer server.Close()
	client := control.NewClient(d.Socket)
	var answers, packets []time.Duration
	for i := range rounds {
		src := netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)})
		answered, last, err := blockOnce(ctx, wire, client, server, src)
		if err != nil {
			return nil, fmt.Errorf("block %s: %w", src, err)
		}
		answers, packets = append(answers, answered), append(packets, last)
	}
	return &blockRow{Rounds: rounds, Acknowledged: quantiles(answers), LastPacket: quantiles(packets)}, nil
}

func blockOnce(ctx context.Context, wire *lab.Wire, client *control.Client, server *net.UDPConn,
	src netip.Addr) (answered, last time.Duration, err error) {
	const lead = 2 * time.Millisecond
	datagram := wire.From(src).UDP(40000, serverPort, []byte("hello"))
	var stop atomic.Bool
	sent := make(chan error, 1)
	go func() {
		for !stop.Load() {
			if err := wire.Send(datagram); err != nil {
				sent <- err
				return
			}
			time.Sleep(50 * time.Microsecond)
		}
		sent <- nil
	}()
	time.Sleep(lead)
	asked := time.Now()
	_, err = client.Block(ctx, control.BlockRequest{Prefixes: []string{src.String()}, Origin: "cli"})
	answered = time.Since(asked)
	time.Sleep(lead)
	stop.Store(true)
	if err := errors.Join(err, <-sent); err != nil {
		return 0, 0, err
	}
	arrived, err := lastArrival(server, src)
	if err != nil {
		return 0, 0, err
	}
	return answered, max(0, arrived.Sub(asked)), nil
}

// listenStamped opens a server whose datagrams carry the kernel's time of arrival.
func listenStamped() (*net.UDPConn, error) {
	c, err := net.ListenUDP("udp4", &net.UDPAddr{Port: serverPort})
	if err != nil {
		return nil, fmt.Errorf("receive datagrams: %w", err)
	}
	raw, err := c.SyscallConn()
	if err == nil {
		var set error
		err = raw.Control(func(fd uintptr) {
			set = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
		})
		err = errors.Join(err, set)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("ask for times of arrival: %w", err), c.Close())
	}
	return c, nil
}

// lastArrival empties the server's queue.
func lastArrival(server *net.UDPConn, src netip.Addr) (last time.Time, err error) {
	data, oob := make([]byte, 2048), make([]byte, 128)
	for {
		if err := server.SetReadDeadline(time.Now().Add(5 * time.Millisecond)); err != nil {
			return last, err
		}
		_, n, _, from, err := server.ReadMsgUDPAddrPort(data, oob)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if err != nil {
			return last, fmt.Errorf("receive: %w", err)
		}
		messages, err := unix.ParseSocketControlMessage(oob[:n])
		if err != nil || len(messages) != 1 {
			return last, fmt.Errorf("a datagram without its time of arrival: %w", err)
		}
		if from.Addr().Unmap() == src {
			last = stamp(messages[0].Data)
		}
	}
	if last.IsZero() {
		return last, errors.New("no datagram of it arrived before the block")
	}
	return last, nil
}

// stamp parses a struct timespec.
func stamp(b []byte) time.Time {
	return time.Unix(int64(binary.NativeEndian.Uint64(b)), int64(binary.NativeEndian.Uint64(b[8:])))
}
