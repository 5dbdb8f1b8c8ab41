package match

import "net/netip"

const (
	maxEnds = 4096 // addresses that Ends remembers
	// endLines is the number of lines that sshd usually writes at most for the end of a
	// connection, such as "Received disconnect" and "Disconnected from".
	endLines = 2
	maxLeft  = 64 // lines of one address that need not count
)

// Ends tells which lines count. sshd writes a line for each failure, and one or two for the end
// of the connection. The end is no further failure, but a connection that ends without a failure
// counts once. Its zero value is ready to use.
//
// The lines of several connections are mixed, so Ends does not tell connections apart. Each
// failure lets endLines later lines of the address pass that tell of an end.
type Ends struct {
	left map[netip.Addr]int // lines of an end that do not count, by address
}

// Counts reports whether a line that is held against an address counts as a failure.
func (e *Ends) Counts(r Result) bool {
	left := e.left[r.Address]
	switch {
	case !r.End:
		e.remember(r.Address, min(left+endLines, maxLeft))
	case left == 0:
		e.remember(r.Address, endLines-1)
	case left == 1:
		delete(e.left, r.Address)
		return false
	default:
		e.left[r.Address] = left - 1
		return false
	}
	return true
}

// remember forgets all addresses if there are too many. Then an end may count that need not.
func (e *Ends) remember(a netip.Addr, left int) {
	if e.left == nil || len(e.left) >= maxEnds {
		e.left = make(map[netip.Addr]int)
	}
	e.left[a] = left
}
