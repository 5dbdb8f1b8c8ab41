/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef PARAXIAL_VERDICT_H
#define PARAXIAL_VERDICT_H

#include "clock.h"
#include "essential.h"
#include "hits.h"
#include "index_v4.h"
#include "index_v6.h"
#include "limit.h"
#include "maps.h"
#include "packet.h"
#include "reasons.h"
#include "reply.h"

/*
 * allow and block are the longest matches in their tries, or NULL. An allow beats a
 * block whatever their lengths, a drop beats a limit, and a limit beats a shadow. The
 * shadow still counts the packets that the limit passes. hit is set to the counter of
 * the entry that drops the packet, or would drop it.
 */
static __always_inline enum reason decide(struct clock *clock, const struct allow *allow,
					  const struct verdict *block, __u64 length, __u32 *hit)
{
	enum limit_answer limited = LIMIT_NONE;

	if (allow && live(clock, allow->allow_until))
		return REASON_ALLOWED;
	if (!block)
		return REASON_NOT_LISTED;
	if (live(clock, block->drop_until)) {
		*hit = block->hit_id;
		return REASON_BLOCKED;
	}
	if (live(clock, block->limit_until))
		limited = ask_limit(block->limit_id, length, clock, hit);
	if (limited == LIMIT_OVER)
		return REASON_LIMITED;
	if (live(clock, block->shadow_until)) {
		*hit = block->hit_id;
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

static __always_inline enum reason source_ipv4(const struct packet *p, const struct iphdr *ip)
{
	struct lpm_v4 key = { .prefixlen = 32, .addr = ip->saddr };
	struct clock clock = {};
	enum reason reason = REASON_BLOCKED;
	__u64 weight = 1;
	__u32 hit = 0;

	switch (index_ipv4(ip->saddr, &clock)) {
	case INDEX_CLEAN:
		return REASON_NOT_LISTED;
	case INDEX_DROP:
		weight = attribution_weight();
		break;
	case INDEX_ASK:
		break;
	}
	if (weight)
		reason = decide(&clock, bpf_map_lookup_elem(&allow_v4, &key), bpf_map_lookup_elem(&block_v4, &key),
				p->length, &hit);
	if (reason_drops(reason))
		reason = spare_ipv4(p, ip, reason);
	if (reason_drops(reason))
		reason = reply_ipv4(p, ip, reason);
	if (weight && !reason_spared(reason))
		count_hits(hit, weight);
	return reason;
}

static __always_inline enum reason source_ipv6(const struct packet *p, const struct ipv6hdr *ip)
{
	struct lpm_v6 key = { .prefixlen = 128 };
	struct clock clock = {};
	enum reason reason = REASON_BLOCKED;
	__u64 weight = 1;
	__u32 hit = 0;

	switch (index_ipv6(&ip->saddr, &clock)) {
	case INDEX_CLEAN:
		return REASON_NOT_LISTED;
	case INDEX_DROP:
		weight = attribution_weight();
		break;
	case INDEX_ASK:
		break;
	}
	if (weight) {
		__builtin_memcpy(key.addr, &ip->saddr, sizeof(key.addr));
		reason = decide(&clock, bpf_map_lookup_elem(&allow_v6, &key), bpf_map_lookup_elem(&block_v6, &key),
				p->length, &hit);
	}
	if (reason_drops(reason))
		reason = spare_ipv6(p, ip, reason);
	if (reason_drops(reason))
		reason = reply_ipv6(p, ip, reason);
	if (weight && !reason_spared(reason))
		count_hits(hit, weight);
	return reason;
}

#endif
