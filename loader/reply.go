package loader

import "fmt"

// Ports is a range of ports, both ends included. The zero Ports is empty.
type Ports struct{ First, Last uint16 }

// SetReplyPorts sets the local ports at which answers to connections of this host are looked for,
// for entries that let them pass; see bpf/reply.h. They are empty before the first call.
func (l *Loader) SetReplyPorts(p Ports) error {
	words, err := mapWords(l.maps[plainMapReplyPorts])
	if err != nil {
		return fmt.Errorf("set the ports of answers: %w", err)
	}
	first, last := uint64(p.First), uint64(p.Last)
	if p == (Ports{}) {
		first = 1 // after last
	}
	words.store(0, first|last<<32)
	return nil
}
