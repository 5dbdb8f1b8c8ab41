/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef PARAXIAL_VERDICT_H
#define PARAXIAL_VERDICT_H

#include "maps.h"

/* Reads the boot clock (40 ns) at most once a packet, and only if a matched deadline is finite. */
struct clock {
	__u32 now;
};

static __always_inline bool live(struct clock *clock, __u32 until)
{
	if (until == TICK_NEVER)
		return false;
	if (until == TICK_FOREVER)
		return true;
	if (!clock->now)
		clock->now = bpf_ktime_get_boot_ns() >> TICK_SHIFT;
	return clock->now < until;
}

static __always_inline void count_hit(__u32 id)
{
	__u64 *hit = bpf_map_lookup_elem(&hits, &id);

	if (hit && id)
		__sync_fetch_and_add(hit, 1);
}

/* allow and block are the longest matches in their tries, or NULL. Allow beats block whatever the lengths. */
static __always_inline enum reason decide(const struct allow *allow, const struct verdict *block)
{
	struct clock clock = {};
	enum reason reason = REASON_NOT_LISTED;

	if (allow && live(&clock, allow->allow_until))
		return REASON_ALLOWED;
	if (!block)
		return REASON_NOT_LISTED;
	if (live(&clock, block->drop_until))
		reason = REASON_BLOCKED;
	else if (live(&clock, block->shadow_until))
		reason = REASON_SHADOW;
	if (reason != REASON_NOT_LISTED)
		count_hit(block->hit_id);
	return reason;
}

static __always_inline enum reason source_ipv4(const struct iphdr *ip)
{
	struct lpm_v4 key = { .prefixlen = 32, .addr = ip->saddr };

	return decide(bpf_map_lookup_elem(&allow_v4, &key), bpf_map_lookup_elem(&block_v4, &key));
}

static __always_inline enum reason source_ipv6(const struct ipv6hdr *ip)
{
	struct lpm_v6 key = { .prefixlen = 128 };

	__builtin_memcpy(key.addr, &ip->saddr, sizeof(key.addr));
	return decide(bpf_map_lookup_elem(&allow_v6, &key), bpf_map_lookup_elem(&block_v6, &key));
}

#endif
