/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The look-up of IPv6 sources in the index; index_v6_layout.h describes the tables. */
#ifndef PARAXIAL_INDEX_V6_H
#define PARAXIAL_INDEX_V6_H

#include "clock.h"
#include "index_v6_filter.h"
#include "index_v6_layout.h"
#include "lines.h"
#include <bpf/bpf_endian.h>

static __always_inline __u64 v6_mixed_short(const struct index_v6_header *h, __u64 high, __u32 class)
{
	return v6_mix(v6_nh(high, h->nh[0], h->nh[1]) + class * h->salt);
}

static __always_inline __u64 v6_mixed_host(const struct index_v6_header *h, __u64 high, __u64 low)
{
	return v6_mix(v6_nh(high, h->nh[0], h->nh[1]) + v6_nh(low, h->nh[2], h->nh[3]));
}

/* Set if the key may be in a later bucket. */
#define V6_PASSED 1ull

/*
 * Compares a tag word with the tag of a key. In the result, bit 10i+9 is set for each
 * slot i with the same tag, rarely also for one above such a slot, and V6_PASSED if it
 * applies. Tags are never 0.
 */
static __always_inline __u64 v6_found(__u64 word, __u64 tag)
{
	__u64 differ = (word & V6_TAGS) ^ tag * V6_EACH_LANE;
	__u64 passed = word >> (V6_PASSED_SHIFT + (tag & 3)) & V6_PASSED;

	return ((differ - V6_EACH_LANE) & ~differ & V6_LANE_TOPS) | passed;
}

/* Returns the slot of the lowest hit. The multiplier moves its number to the top. */
static __always_inline __u32 v6_lane(__u64 hits)
{
	return ((hits & -hits) * (1ull << 42 | 2ull << 32 | 3ull << 22 | 4ull << 12 | 5ull << 2)) >> 61;
}

/* Returns the tag word of a bucket, never NULL. It is volatile, to be read once, because the daemon writes it. */
static __always_inline volatile __u64 *v6_word(__u32 bank, __u32 first, __u32 bucket)
{
	struct index_line *line = index_line(&index_v6, bank, first + (bucket >> 3));

	return line ? &line->words[bucket & 7] : NULL;
}

/* Returns the first line of the tags of short buckets. */
static __always_inline __u32 v6_short_tags(const struct index_v6_header *h)
{
	return V6_FILTER + h->filter_lines;
}

static __always_inline __u64 v6_listed(__u32 until)
{
	return until == V6_ALLOW ? V6_ASK : V6_LISTED | until;
}

static __always_inline __u64 v6_short_slot(const struct index_v6_header *h, __u64 high, __u32 bucket,
					   __u32 class, __u64 hits)
{
	__u32 slot = bucket * V6_LANES + v6_lane(hits);
	struct v6_slot *slots = index_line(&index_v6, h->bank, h->short_slots + slot / V6_SLOTS_PER_LINE);
	__u64 rest;

	if (!slots)
		return V6_ASK;
	slots += slot % V6_SLOTS_PER_LINE;
	/* The daemon writes deadline and class as one word. */
	rest = *(volatile __u64 *)&slots->until;
	if (slots->prefix != high || rest >> 32 != class + 1)
		return 0;
	return v6_listed(rest);
}

static __always_inline __u64 v6_host_slot(const struct index_v6_header *h, __u64 high, __u64 low,
					  __u32 bucket, __u64 hits)
{
	__u32 lane = v6_lane(hits);
	__u32 upper = lane >= V6_HOSTS_PER_LINE;
	/* Behind the short slots. A line of tags is eight buckets of six slots, so that no line of slots is shared. */
	__u32 first = h->short_slots + h->short_buckets * V6_LANES / V6_SLOTS_PER_LINE;
	struct v6_hosts *hosts = index_line(&index_v6, h->bank, first + bucket * 2 + upper);

	lane -= upper * V6_HOSTS_PER_LINE;
	if (!hosts || lane >= V6_HOSTS_PER_LINE)
		return V6_ASK;
	if (hosts->addr[lane].high != high || hosts->addr[lane].low != low)
		return 0;
	return v6_listed(*(volatile __u32 *)&hosts->until[lane]);
}

/* Looks at the slots with a matching tag. A third one, after two with the wrong key, is rare: the tries are asked. */
static __always_inline __u64 v6_bucket(const struct index_v6_header *h, __u64 high, __u64 low,
				       __u32 bucket, __u32 class, __u64 hits)
{
	__u64 found = 0;
	int i;

#pragma unroll
	for (i = 0; i < 2; i++) {
		if (!hits)
			return 0;
		if (class == V6_128)
			found = v6_host_slot(h, high, low, bucket, hits);
		else
			found = v6_short_slot(h, high, bucket, class, hits);
		if (found)
			return found;
		hits &= hits - 1;
	}
	return hits ? V6_ASK : 0;
}

/* Looks up a key for which the tag word of its home bucket has a match or V6_PASSED. */
static __always_inline __u64 v6_key(const struct index_v6_header *h, __u64 high, __u64 low,
				    const struct v6_probe *p, __u32 class)
{
	__u64 mixed = class == V6_128 ? v6_mixed_host(h, high, low) : v6_mixed_short(h, high, class);
	__u32 buckets = class == V6_128 ? h->host_buckets : h->short_buckets;
	__u32 tags = class == V6_128 ? h->host_tags : v6_short_tags(h);
	__u32 bucket = p->bucket;
	__u64 found = p->found;
	struct v6_place place;
	volatile __u64 *word;
	__u64 says;
	int i;

#pragma unroll
	for (i = 0;; i++) {
		says = v6_bucket(h, high, low, bucket, class, found & ~V6_PASSED);
		if (says || !(found & V6_PASSED))
			return says;
		if (i == V6_CHOICES - 1)
			return V6_ASK;
		place = v6_place(mixed, i ? h->second * h->home : h->second, buckets);
		word = v6_word(h->bank, tags, place.bucket);
		if (!word)
			return V6_ASK;
		bucket = place.bucket;
		found = v6_found(*word, place.tag);
	}
}

/*
 * A global function, so that the verifier checks it once and not once for every path
 * that calls it. Therefore it takes scalars and finds the generation again. If that is
 * not the one that the caller has read, the tries are asked. high is masked, home is a
 * secret of the generation.
 */
__attribute__((noinline)) __u64 v6_key_says(__u64 high, __u64 low, __u64 found, __u64 place, __u64 home)
{
	struct v6_probe probe = { .found = found, .bucket = (__u32)place };
	const struct index_v6_header *h = index_header(&index_v6);
	__u32 class = place >> 32;

	if (!h || h->home != home)
		return V6_ASK;
	if (class == V6_128)
		return v6_key(h, high, low, &probe, V6_128);
	return v6_key(h, high, 0, &probe, class);
}

/* Returns the upper half of an address, masked for a key of the class. */
static __always_inline __u64 v6_prefix(__u64 high, __u32 class)
{
	static const __u64 masks[] = { ~0ull << 48, ~0ull << 32, ~0ull << 16, ~0ull << 8, ~0ull, ~0ull };

	return high & masks[class];
}

/*
 * Reads the tags of the home bucket. No branch depends on them, so that the reads of
 * several classes overlap. It never returns false; see v6_word().
 */
static __always_inline bool v6_probe_short(const struct index_v6_header *h, __u64 high, __u32 class,
					   struct v6_probe *p)
{
	struct v6_place place;
	volatile __u64 *word;

	place = v6_place(v6_mixed_short(h, v6_prefix(high, class), class), h->home, h->short_buckets);
	word = v6_word(h->bank, v6_short_tags(h), place.bucket);
	if (!word)
		return false;
	p->bucket = place.bucket;
	p->found = v6_found(*word, place.tag);
	return true;
}

static __always_inline bool v6_probe_host(const struct index_v6_header *h, __u64 high, __u64 low,
					  struct v6_probe *p)
{
	struct v6_place place;
	volatile __u64 *word;

	place = v6_place(v6_mixed_host(h, high, low), h->home, h->host_buckets);
	word = v6_word(h->bank, h->host_tags, place.bucket);
	if (!word)
		return false;
	p->bucket = place.bucket;
	p->found = v6_found(*word, place.tag);
	return true;
}

static __always_inline __u64 v6_later(__u64 a, __u64 b)
{
	return a > b ? a : b;
}

/*
 * Hides from the verifier where a number comes from. It tracks what a branch tells
 * about a number, so that with a branch on each probe it would check all subsets of
 * probes. A multiplication makes it forget.
 */
static __always_inline bool v6_any(__u64 found)
{
	asm volatile("%0 *= 1" : "+r"(found));
	return found;
}

static __always_inline __u64 v6_says(const struct index_v6_header *h, __u64 high, __u64 low,
				     const struct v6_probe *p, __u32 class)
{
	return v6_key_says(high, low, p->found, (__u64)class << 32 | p->bucket, h->home);
}

/* Combines the answers of all keys that cover the source. */
static __always_inline enum index_answer v6_answer(const struct index_v6_header *h,
						   const struct v6_probe *probes, __u64 high, __u64 low,
						   struct clock *clock)
{
	__u64 says = 0;
	__u32 class;

#pragma unroll
	for (class = V6_16; class < V6_128; class++)
		if (v6_any(probes[class].found))
			says = v6_later(says, v6_says(h, v6_prefix(high, class), 0, &probes[class], class));
	if (v6_any(probes[V6_128].found))
		says = v6_later(says, v6_says(h, high, low, &probes[V6_128], V6_128));
	if (!says)
		return INDEX_CLEAN;
	return says < V6_ASK && live(clock, says) ? INDEX_DROP : INDEX_ASK;
}

static __always_inline enum index_answer index_ipv6(const struct in6_addr *saddr, struct clock *clock)
{
	const __be32 *addr = saddr->in6_u.u6_addr32;
	__u64 high = (__u64)bpf_ntohl(addr[0]) << 32 | bpf_ntohl(addr[1]);
	__u64 low = (__u64)bpf_ntohl(addr[2]) << 32 | bpf_ntohl(addr[3]);
	struct v6_probe probes[V6_CLASSES];
	void *first = index_first(&index_v6);
	const struct index_v6_header *h = first ? index_first_line(first, 0) : NULL;
	__u64 something = 0;
	__u32 class, classes;

	if (!h || h->format != V6_FORMAT)
		return INDEX_ASK;
	classes = v6_filter(first, h, high);
	if (!classes)
		return INDEX_CLEAN;
#pragma unroll
	for (class = V6_16; class < V6_CLASSES; class++) {
		probes[class].found = 0;
		probes[class].bucket = 0;
		if (!(classes & 1 << class))
			continue;
		if (class == V6_128 ? !v6_probe_host(h, high, low, &probes[class])
				    : !v6_probe_short(h, high, class, &probes[class]))
			return INDEX_ASK;
		something |= probes[class].found;
	}
	if (!something)
		return INDEX_CLEAN;
	return v6_answer(h, probes, high, low, clock);
}

#endif
