/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The consequences of a reason. The functions for a verdict on the source are mirrored in loader/reasons.go. */
#ifndef PARAXIAL_REASONS_H
#define PARAXIAL_REASONS_H

#include "types.h"

static __always_inline bool reason_drops(enum reason reason)
{
	return reason == REASON_BLOCKED || reason == REASON_LIMITED || reason == REASON_VLAN_EXCESS ||
	       reason == REASON_MPLS_EXCESS || reason == REASON_ESSENTIAL_LIMITED ||
	       reason == REASON_TUNNEL_HIDDEN;
}

/* True for packets that are reported: those that an entry drops, or would drop. */
static __always_inline bool reason_reported(enum reason reason)
{
	return reason == REASON_BLOCKED || reason == REASON_LIMITED || reason == REASON_SHADOW ||
	       reason == REASON_ESSENTIAL_LIMITED;
}

/* True for packets that pass although an entry would drop them. They do not count as its drops. */
static __always_inline bool reason_spared(enum reason reason)
{
	return reason == REASON_ESSENTIAL || reason == REASON_REPLY;
}

/* True for packets that pass because of the verdict on their source, unless it is allowed. Detectors look at these. */
static __always_inline bool reason_accounted(enum reason reason)
{
	return reason == REASON_NOT_LISTED || reason == REASON_SHADOW || reason == REASON_UNDER_LIMIT;
}

#endif
