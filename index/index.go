// Package index writes the index in front of the kernel's tries. It is an array of 64-byte
// lines for each address family. The packet program finds in it, with one to four memory
// accesses, that a source is not listed or that it is dropped. If neither is certain, the
// program asks the tries.
//
// A generation is one such array. All data in it that readers can reach is changed by single
// aligned stores, and no line is reused. So a reader sees the state before or after each
// change, even if the writer is killed.
package index

import (
	"iter"
	"net/netip"

	"github.com/paraxial/paraxial/policy"
)

// Answer is the answer of an index for a source. The numbers are those of enum index_answer
// in bpf/types.h.
type Answer uint8

// The answers.
const (
	Ask   Answer = iota // the tries must be asked
	Clean               // no live entry, block or allow, covers the source
	Drop                // the source is dropped
)

// Book has the nodes from which an index is built. *policy.Book implements it.
type Book interface {
	NodesCovering(policy.Kind, netip.Prefix) iter.Seq[policy.Node]
	NodesInside(policy.Kind, netip.Prefix) iter.Seq[policy.Node]
	SortedNodes(policy.Kind, policy.Family) iter.Seq[policy.Node]
}

// Alloc returns the zeroed memory of a new generation, eight words to a line.
type Alloc func(lines uint32) ([]uint64, error)
