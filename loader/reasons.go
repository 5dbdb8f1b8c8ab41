package loader

import (
	"fmt"
	"iter"
)

// Reason is why a packet got its verdict: enum reason of bpf/types.h.
type Reason uint32

// The reasons.
const (
	NotListed  = Reason(plainReasonREASON_NOT_LISTED)
	Allowed    = Reason(plainReasonREASON_ALLOWED)
	Blocked    = Reason(plainReasonREASON_BLOCKED)
	Shadow     = Reason(plainReasonREASON_SHADOW)
	NotIP      = Reason(plainReasonREASON_NOT_IP)
	VLANDepth  = Reason(plainReasonREASON_VLAN_DEPTH)
	Malformed  = Reason(plainReasonREASON_MALFORMED)
	Limited    = Reason(plainReasonREASON_LIMITED)
	UnderLimit = Reason(plainReasonREASON_UNDER_LIMIT)
	VLANExcess = Reason(plainReasonREASON_VLAN_EXCESS)
	MPLSExcess = Reason(plainReasonREASON_MPLS_EXCESS)
	Essential  = Reason(plainReasonREASON_ESSENTIAL)

	EssentialLimited = Reason(plainReasonREASON_ESSENTIAL_LIMITED)
	TunnelHidden     = Reason(plainReasonREASON_TUNNEL_HIDDEN)
	Reply            = Reason(plainReasonREASON_REPLY)

	reasonCount = Reason(plainReasonREASON_COUNT)
)

func (r Reason) String() string {
	switch r {
	case NotListed:
		return "not_listed"
	case Allowed:
		return "allowed"
	case Blocked:
		return "blocked"
	case Shadow:
		return "shadow"
	case NotIP:
		return "not_ip"
	case VLANDepth:
		return "vlan_depth"
	case Malformed:
		return "malformed"
	case Limited:
		return "limited"
	case UnderLimit:
		return "under_limit"
	case VLANExcess:
		return "vlan_excess"
	case MPLSExcess:
		return "mpls_excess"
	case Essential:
		return "essential"
	case EssentialLimited:
		return "essential_limited"
	case TunnelHidden:
		return "tunnel_hidden"
	case Reply:
		return "reply"
	}
	return fmt.Sprintf("reason_%d", uint32(r))
}

// Verdict returns "pass" or "drop". It mirrors reason_drops in bpf/reasons.h.
func (r Reason) Verdict() string {
	switch r {
	case Blocked, Limited, VLANExcess, MPLSExcess, EssentialLimited, TunnelHidden:
		return "drop"
	}
	return "pass"
}

// Accounted tells whether detectors look at packets of r: those that pass because
// of the verdict on their source, unless it is allowed. It mirrors reason_accounted
// in bpf/reasons.h.
func (r Reason) Accounted() bool { return r == NotListed || r == Shadow || r == UnderLimit }

// Reasons yields all reasons, in the order of their numbers.
func Reasons() iter.Seq[Reason] {
	return func(yield func(Reason) bool) {
		for r := range reasonCount {
			if !yield(r) {
				return
			}
		}
	}
}
