// Package index writes what stands in front of the kernel's tries: arrays of
// 64-byte lines, one per address family, in which the packet program finds in
// one to four memory accesses that a source is on no list, or that it is
// dropped. Where neither is sure the program asks the tries.
//
// A generation is one such array. Everything in it that can be reached is
// changed by single aligned stores, and no line is used twice, so that a reader
// sees each change either done or not begun, also if the writer dies.
package index

import (
	"iter"
	"net/netip"

	"github.com/paraxial/paraxial/policy"
)

// Answer is what an index says of a source. The numbers are those of enum
// index_answer in bpf/types.h.
type Answer uint8

// The answers.
const (
	Ask   Answer = iota // the tries know
	Clean               // no live entry, block or allow, covers the source
	Drop                // the source is dropped
)

// Book is what an index is made from; *policy.Book is one.
type Book interface {
	NodesCovering(policy.Kind, netip.Prefix) iter.Seq[policy.Node]
	NodesInside(policy.Kind, netip.Prefix) iter.Seq[policy.Node]
	SortedNodes(policy.Kind, policy.Family) iter.Seq[policy.Node]
}

// Alloc returns the zeroed memory of a new generation, eight words to a line.
type Alloc func(lines uint32) ([]uint64, error)
