package policy

import "net/netip"

// Verdict is what the kernel's tries hold at one prefix: deadlines that are the
// latest among the prefix's own entries and those of all prefixes covering it,
// so that the longest match alone decides.
type Verdict struct {
	Drop    Tick   // block nodes
	Limit   Tick   // block nodes; the latest of the steps of LimitID
	Shadow  Tick   // block nodes
	Allow   Tick   // allow nodes
	LimitID uint32 // block nodes: ID of the LimitRecord that has the steps, 0 for none
	HitID   uint32 // block nodes: index of the drop counter, 0 for none
}

// Node is one element of a kernel trie.
type Node struct {
	Kind    Kind
	Prefix  netip.Prefix
	Verdict Verdict
}

// Delta is what has to change in the kernel's tries. Puts replace in place.
// Applying it in the order Limits, Put, Delete, FreeLimits leaves no moment in
// which a source that is decided the same before and after is decided otherwise.
type Delta struct {
	Put    []Node
	Delete []Node // Verdict unset
	// FreshHits are the drop counters handed out anew, to be cleared before
	// the puts.
	FreshHits []uint32
	// Limits are the records that the puts refer to, and others that change.
	Limits     []LimitRecord
	FreeLimits []uint32 // nothing refers to them any more
}

// Empty tells whether there is nothing to do.
func (d Delta) Empty() bool {
	return len(d.Put) == 0 && len(d.Delete) == 0 && len(d.Limits) == 0 && len(d.FreeLimits) == 0
}
