package upstream

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"
)

// chronyd answers these requests of any local user at its command port, if it has one. Names and
// pools in its configuration are addresses there. candm.h of chrony describes the messages of
// version 6, which is the one since chrony 2.2.
const (
	chronyPort    = "127.0.0.1:323"
	chronyPatient = 200 * time.Millisecond // for all answers

	chronyVersion       = 6
	chronyRequest       = 1 // type of message
	chronyAnswer        = 2
	chronySources       = 14 // commands
	chronySource        = 15
	chronySourcesAnswer = 2
	chronySourceAnswer  = 3

	// A request must be as long as its answer.
	chronySourcesLen = 32
	chronySourceLen  = 76
)

// Chrony returns the time servers that chronyd uses now. It is an error if chronyd does not answer.
func Chrony() ([]Server, error) {
	return chronyAt(chronyPort)
}

func chronyAt(port string) ([]Server, error) {
	// The socket is connected, so the kernel drops what others send to it. Only root may bind the
	// port of chronyd.
	conn, err := net.Dial("udp", port)
	if err != nil {
		return nil, fmt.Errorf("ask chronyd for its servers: %w", err)
	}
	defer conn.Close()
	addrs, err := askChrony(conn)
	if err != nil {
		return nil, fmt.Errorf("ask chronyd for its servers: %w", err)
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	return found{addrs: slices.Compact(addrs)}.servers(timeServer + " (chronyd uses it)"), nil
}

func askChrony(conn net.Conn) ([]netip.Addr, error) {
	if err := conn.SetDeadline(time.Now().Add(chronyPatient)); err != nil {
		return nil, err
	}
	answer, err := exchange(conn, chronySources, chronySourcesAnswer, 0, chronySourcesLen)
	if err != nil {
		return nil, err
	}
	var f found
	for i := range min(binary.BigEndian.Uint32(answer[28:]), mostServers) {
		answer, err := exchange(conn, chronySource, chronySourceAnswer, i, chronySourceLen)
		if err != nil {
			return nil, err
		}
		f.chronySource(answer)
	}
	return f.addrs, nil
}

// exchange sends a command about the source with a number, and returns the answer.
func exchange(conn net.Conn, command, want uint16, number uint32, length int) ([]byte, error) {
	request := make([]byte, length)
	request[0], request[1] = chronyVersion, chronyRequest
	binary.BigEndian.PutUint16(request[4:], command)
	sequence := uint32(command)<<16 | number
	binary.BigEndian.PutUint32(request[8:], sequence)
	binary.BigEndian.PutUint32(request[20:], number)
	if _, err := conn.Write(request); err != nil {
		return nil, err
	}
	answer := make([]byte, length+1)
	n, err := conn.Read(answer)
	switch {
	case err != nil:
		return nil, err
	case n != length || answer[0] != chronyVersion || answer[1] != chronyAnswer ||
		binary.BigEndian.Uint16(answer[6:]) != want || binary.BigEndian.Uint32(answer[16:]) != sequence:
		return nil, errors.New("its answer is of another version or about another request")
	}
	return answer[:n], nil
}

// chronySource reads the address of a source. A reference clock has no address, and neither has a
// name that is not resolved yet.
func (f *found) chronySource(answer []byte) {
	const addressAt, familyAt, modeAt, clock = 28, 44, 54, 2
	if binary.BigEndian.Uint16(answer[modeAt:]) == clock {
		return
	}
	switch binary.BigEndian.Uint16(answer[familyAt:]) {
	case 1:
		f.add(netip.AddrFrom4([4]byte(answer[addressAt:])).String())
	case 2:
		f.add(netip.AddrFrom16([16]byte(answer[addressAt:])).String())
	}
}
