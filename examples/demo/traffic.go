package main

import (
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/paraxial/paraxial/policy"
	"github.com/paraxial/paraxial/tests/lab"
)

const (
	sampleSize = 1000 // addresses of each kind
	perAddress = 5    // datagrams
	port       = 5353
	quiet      = time.Second
)

// sample is the senders: addresses of the list, and their nearest neighbours that are not on it.
type sample struct{ listed, unlisted []netip.Addr }

// chooseSample takes listed addresses at equal distances over the whole list.
func chooseSample(file string) (sample, error) {
	list, err := readList(file)
	if err != nil {
		return sample{}, err
	}
	taken := make(map[netip.Addr]bool, len(list))
	for _, a := range list {
		taken[a] = true
	}
	var s sample
	for i := range min(sampleSize, len(list)) {
		a := list[i*len(list)/sampleSize]
		neighbour := a.Next()
		for taken[neighbour] {
			neighbour = neighbour.Next()
		}
		taken[neighbour] = true
		s.listed, s.unlisted = append(s.listed, a), append(s.unlisted, neighbour)
	}
	return s, nil
}

func readList(file string) ([]netip.Addr, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var list []netip.Addr
	var bad error
	err = policy.ReadList(f, func(l policy.ListLine) bool {
		if l.Err != nil {
			bad = fmt.Errorf("%s:%d: %w", file, l.Number, l.Err)
			return false
		}
		list = append(list, l.Prefix.Addr())
		return true
	})
	if err == nil {
		err = bad
	}
	return list, err
}

// tally counts the datagrams of each kind that were sent and that arrived.
type tally struct {
	sent, listed, unlisted int
}

// exchange sends the sample's datagrams, listed and unlisted in turn, to a UDP service on the host,
// and counts the datagrams that the service receives.
func exchange(w *lab.Wire, s sample) (tally, error) {
	service, err := lab.Serve(port)
	if err != nil {
		return tally{}, err
	}
	defer service.Close()
	var t tally
	for range perAddress {
		for i := range s.listed {
			// The listed one first: when the last datagram has arrived, all listed ones have been
			// decided.
			for _, src := range []netip.Addr{s.listed[i], s.unlisted[i]} {
				if err := w.Send(w.From(src).UDP(4000, port, []byte("hello"))); err != nil {
					return tally{}, err
				}
			}
			t.sent++
		}
	}
	service.Settle(2*t.sent, quiet)
	arrived := service.Sources()
	for i := range s.listed {
		t.listed += arrived[s.listed[i]]
		t.unlisted += arrived[s.unlisted[i]]
	}
	return t, nil
}

func (t tally) print() {
	fmt.Printf("                 sent  arrived     lost\n")
	fmt.Printf("  listed     %8d %8d %8d\n", t.sent, t.listed, t.sent-t.listed)
	fmt.Printf("  unlisted   %8d %8d %8d\n", t.sent, t.unlisted, t.sent-t.unlisted)
}
