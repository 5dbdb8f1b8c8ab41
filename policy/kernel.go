package policy

import "net/netip"

// Verdict is the value at one prefix of the kernel's tries. Each deadline is the
// latest among the entries of the prefix and of all prefixes that cover it, so that
// the longest match alone decides.
type Verdict struct {
	Drop    Tick   // block nodes
	Limit   Tick   // block nodes; the latest of the steps of LimitID
	Shadow  Tick   // block nodes; 0 if it ends no later than Drop or Limit, and so never decides
	Allow   Tick   // allow nodes
	LimitID uint32 // block nodes: ID of the LimitRecord that has the steps, 0 for none
	HitID   uint32 // block nodes: index of the drop counter, 0 for none

	// Strict is, in block nodes, the end of the drops and limits that answers to connections of this
	// host do not pass either.
	Strict Tick
}

// Node is one element of a kernel trie.
type Node struct {
	Kind    Kind
	Prefix  netip.Prefix
	Verdict Verdict
}

// Delta is a change of the kernel's tries and limits. Puts replace in place. It
// must be applied in the order Limits, Put, Delete, FreeLimits. Then a source with
// the same decision before and after the change has that decision all the time.
type Delta struct {
	Put    []Node
	Delete []Node // Verdict unset
	// FreshHits are the drop counters that were handed out. They must be cleared
	// before the puts.
	FreshHits []uint32
	// Limits are the new records that the puts refer to, and other records that
	// change.
	Limits     []LimitRecord
	FreeLimits []uint32 // no node refers to them any more
}

// Empty reports whether there is nothing to do.
func (d Delta) Empty() bool {
	return len(d.Put) == 0 && len(d.Delete) == 0 && len(d.Limits) == 0 && len(d.FreeLimits) == 0
}
