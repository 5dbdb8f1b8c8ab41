/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef PARAXIAL_HITS_H
#define PARAXIAL_HITS_H

#include "maps.h"

static __always_inline void count_hits(__u32 id, __u64 weight)
{
	__u32 at = id >> HIT_SEGMENT_BITS;
	void *segment;
	__u64 *hit;

	if (!id)
		return;
	segment = bpf_map_lookup_elem(&hits, &at);
	if (!segment)
		return;
	at = id & (HIT_SEGMENT - 1);
	hit = bpf_map_lookup_elem(segment, &at);
	if (hit)
		__sync_fetch_and_add(hit, weight);
}

#endif
