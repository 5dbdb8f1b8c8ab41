/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef PARAXIAL_VERDICT_H
#define PARAXIAL_VERDICT_H

#include "clock.h"
#include "index_v4.h"
#include "index_v6.h"
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

/* allow and block are the longest matches in their tries, or NULL. Allow beats block whatever the lengths. */
static __always_inline enum reason decide(struct clock *clock, const struct allow *allow,
					  const struct verdict *block, __u64 weight)
{
	enum reason reason = REASON_NOT_LISTED;

	if (allow && live(clock, allow->allow_until))
		return REASON_ALLOWED;
	if (!block)
		return REASON_NOT_LISTED;
	if (live(clock, block->drop_until))
		reason = REASON_BLOCKED;
	else if (live(clock, block->shadow_until))
		reason = REASON_SHADOW;
	if (reason != REASON_NOT_LISTED)
		count_hits(block->hit_id, weight);
	return reason;
}

/*
 * How many drops the next look-up in the tries stands for, if the index has said
 * drop: 1 while drops are few, ATTRIBUTE_ONE_IN for one in so many when they are
 * many, and 0 for all the others, which need no look-up.
 */
static __always_inline __u64 attribution_weight(void)
{
	__u32 zero = 0;
	struct attribution *a = bpf_map_lookup_elem(&attribution, &zero);
	__u64 window = bpf_jiffies64() >> 8;

	if (!a)
		return 0;
	if (a->window != window) {
		a->window = window;
		a->drops = 0;
	}
	a->drops++;
	if (a->drops <= ATTRIBUTE_EXACTLY)
		return 1;
	if (a->drops % ATTRIBUTE_ONE_IN)
		return 0;
	a->sampled += ATTRIBUTE_ONE_IN;
	return ATTRIBUTE_ONE_IN;
}

static __always_inline enum reason source_ipv4(const struct iphdr *ip)
{
	struct lpm_v4 key = { .prefixlen = 32, .addr = ip->saddr };
	struct clock clock = {};
	__u64 weight = 1;

	switch (index_ipv4(ip->saddr, &clock)) {
	case INDEX_CLEAN:
		return REASON_NOT_LISTED;
	case INDEX_DROP:
		weight = attribution_weight();
		if (!weight)
			return REASON_BLOCKED;
		break;
	case INDEX_ASK:
		break;
	}
	return decide(&clock, bpf_map_lookup_elem(&allow_v4, &key), bpf_map_lookup_elem(&block_v4, &key), weight);
}

static __always_inline enum reason source_ipv6(const struct ipv6hdr *ip)
{
	struct lpm_v6 key = { .prefixlen = 128 };
	struct clock clock = {};
	__u64 weight = 1;

	switch (index_ipv6(&ip->saddr, &clock)) {
	case INDEX_CLEAN:
		return REASON_NOT_LISTED;
	case INDEX_DROP:
		weight = attribution_weight();
		if (!weight)
			return REASON_BLOCKED;
		break;
	case INDEX_ASK:
		break;
	}
	__builtin_memcpy(key.addr, &ip->saddr, sizeof(key.addr));
	return decide(&clock, bpf_map_lookup_elem(&allow_v6, &key), bpf_map_lookup_elem(&block_v6, &key), weight);
}

#endif
