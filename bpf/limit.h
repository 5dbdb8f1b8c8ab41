/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef PARAXIAL_LIMIT_H
#define PARAXIAL_LIMIT_H

#include "clock.h"
#include "maps.h"

enum limit_answer {
	LIMIT_NONE = 0,		/* no limit is in force */
	LIMIT_UNDER = 1,
	LIMIT_OVER = 2,
};

/* Keeps the type in the BTF, from which the Go mirror is generated: clang keeps no types of inner maps. */
const struct limit *limit_btf __attribute__((unused));

/* The daemon and other CPUs write: load once. */
#define LIMIT_FIELD(x) (*(volatile typeof(x) *)&(x))

static __always_inline struct limit *limit_at(__u32 id)
{
	__u32 at = id >> LIMIT_SEGMENT_BITS;
	void *segment;

	if (!id)
		return NULL;
	segment = bpf_map_lookup_elem(&limits, &at);
	if (!segment)
		return NULL;
	at = id & (LIMIT_SEGMENT - 1);
	return bpf_map_lookup_elem(segment, &at);
}

/*
 * Returns whether the bucket has room, and takes cost from it. burst is in microseconds.
 * There is no compare-and-swap before Linux 5.12. CPUs that race all see the room that is
 * left for one of them. The sum of what they add closes the bucket for that much longer,
 * so that the rate holds. A CPU that finds a full bucket just when another CPU begins to
 * drain it may undo what that one has taken, once.
 */
static __always_inline bool bucket_take(__u64 *bucket, __u64 now, __u64 cost, __u64 burst)
{
	__u64 tat = LIMIT_FIELD(*bucket);

	now <<= LIMIT_TIME_SHIFT;
	if (tat < now) {
		tat = now;
		if (!probe)
			LIMIT_FIELD(*bucket) = now;
	}
	if (tat - now > (burst * 1000) << LIMIT_TIME_SHIFT)
		return false;
	if (!probe)
		__sync_fetch_and_add(bucket, cost >> (LIMIT_COST_SHIFT - LIMIT_TIME_SHIFT));
	return true;
}

/* Takes a packet from the bucket of a limit, if there is room for it. */
static __always_inline bool limit_take(struct limit *bucket, __u64 now, __u64 length)
{
	__u64 cost = LIMIT_FIELD(bucket->cost);

	if (!(cost & LIMIT_PER_BYTE))
		length = 1;
	else if (length > LIMIT_LONGEST)
		length = LIMIT_LONGEST;
	return bucket_take(&bucket->tat, now, (cost & ~LIMIT_PER_BYTE) * length, LIMIT_FIELD(bucket->burst));
}

/*
 * The answer of the strictest live limit, and for LIMIT_OVER also the counter of the
 * entry that has it. Not inlined, so that the verifier checks it once for both families.
 */
static __attribute__((noinline)) enum limit_answer ask_limit(__u32 id, __u64 length, struct clock *clock, __u32 *hit)
{
	struct limit *limit = limit_at(id);
	__u32 bucket = 0;
	int i;

	if (!limit)
		return LIMIT_NONE;
#pragma unroll
	for (i = 0; i < LIMIT_STEPS; i++) {
		__u64 step = LIMIT_FIELD(limit->steps[i]);

		if (!bucket && live(clock, (__u32)step))
			bucket = step >> 32;
	}
	limit = limit_at(bucket);
	if (!limit)
		return LIMIT_NONE;
	if (limit_take(limit, boot_ns(clock), length))
		return LIMIT_UNDER;
	*hit = LIMIT_FIELD(limit->hit_id);
	return LIMIT_OVER;
}

#endif
