/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef PARAXIAL_VERDICT_H
#define PARAXIAL_VERDICT_H

#include "clock.h"
#include "hits.h"
#include "index_v4.h"
#include "index_v6.h"
#include "limit.h"
#include "maps.h"

/*
 * allow and block are the longest matches in their tries, or NULL. An allow beats a
 * block whatever their lengths, a drop beats a limit, and a limit beats a shadow. The
 * shadow still counts the packets that the limit passes.
 */
static __always_inline enum reason decide(struct clock *clock, const struct allow *allow,
					  const struct verdict *block, __u64 weight, __u64 length)
{
	enum limit_answer limited = LIMIT_NONE;

	if (allow && live(clock, allow->allow_until))
		return REASON_ALLOWED;
	if (!block)
		return REASON_NOT_LISTED;
	if (live(clock, block->drop_until)) {
		count_hits(block->hit_id, weight);
		return REASON_BLOCKED;
	}
	if (live(clock, block->limit_until))
		limited = ask_limit(block->limit_id, length, clock);
	if (limited == LIMIT_OVER)
		return REASON_LIMITED;
	if (live(clock, block->shadow_until)) {
		count_hits(block->hit_id, weight);
		return limited == LIMIT_UNDER ? REASON_UNDER_LIMIT : REASON_SHADOW;
	}
	return limited == LIMIT_UNDER ? REASON_UNDER_LIMIT : REASON_NOT_LISTED;
}

/*
 * Returns how many drops a look-up in the tries counts for, after the index has said
 * drop: 1 while drops are few. While they are many, it is ATTRIBUTE_ONE_IN for one drop
 * of that many, and 0 for the others, which need no look-up.
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

static __always_inline enum reason source_ipv4(const struct iphdr *ip, __u64 length)
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
	return decide(&clock, bpf_map_lookup_elem(&allow_v4, &key), bpf_map_lookup_elem(&block_v4, &key),
		      weight, length);
}

static __always_inline enum reason source_ipv6(const struct ipv6hdr *ip, __u64 length)
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
	return decide(&clock, bpf_map_lookup_elem(&allow_v6, &key), bpf_map_lookup_elem(&block_v6, &key),
		      weight, length);
}

#endif
