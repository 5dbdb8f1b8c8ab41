/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef PARAXIAL_INDEX_V4_H
#define PARAXIAL_INDEX_V4_H

#include "clock.h"
#include "maps.h"
#include <bpf/bpf_endian.h>

/*
 * A generation of the IPv4 index: a poptrie (Asai and Ohara, SIGCOMM 2015) of
 * two levels, /16 and /24, whose leaves hold a few prefixes with deadlines. It is
 * written by the Go package index, which has the same look-up to test against.
 *
 *   line 0         header; the program does not read it
 *   lines 1..4096  root: a u32 for each /16. 0 = clean. With V4_UNIFORM set, the
 *                  whole /16 has the deadline in the low bits. Else a line: its node
 *   node           a line: words 0..3 have a bit for each /24 that has a leaf; the
 *                  low half of word 4 is where the leaves of the /16 begin, counted
 *                  in words; word 5 has four u16, how many bits the words before
 *                  the first, second, third and fourth have
 *   leaf           a word: one prefix inside the /24 and, with V4_MORE set, the
 *                  line of eight more in the same form. 0 = clean. With a shift of
 *                  V4_PAGE the line begins a page instead: u32 deadlines of all 256
 *                  addresses, in 16 lines
 *
 *   leaf  63    62..40  39..12     11..8  7..0
 *         MORE  line    deadline   shift  address
 *
 * A deadline is one more than its tick / 16 (2.1 s), rounded down, because where
 * it has passed the tries are asked. 0 = no entry; 1 = always ask. Of all entries
 * that match, the latest deadline counts.
 *
 * Whatever is published is changed by single stores alone and lines are never
 * used again, so a reader finds the state before a change or after it. Readers
 * get from line to line by address, which orders the loads on every CPU.
 */
#define V4_ROOT_LINE 1
#define V4_UNIFORM (1u << 31)
#define V4_DEADLINE_SHIFT 12
#define V4_DEADLINE 0x0fffffffu	/* also the deadline that never comes */
#define V4_PREFIX_SHIFT 8
#define V4_PAGE 9
#define V4_LINE_SHIFT 40
#define V4_LINE 0x7fffffu
#define V4_MORE (1ull << 63)

#define V4_NODE_BASE 4
#define V4_NODE_RANKS 5

/* The program may read while the daemon writes: load once. */
#define V4_LOAD(x) (*(volatile typeof(x) *)&(x))

static __always_inline enum index_answer v4_answer(struct clock *clock, __u64 deadline)
{
	if (!deadline)
		return INDEX_CLEAN;
	if (deadline == V4_DEADLINE)
		return INDEX_DROP;
	return live(clock, (deadline - 1) << 4) ? INDEX_DROP : INDEX_ASK;
}

/* The deadline of one prefix of a leaf if it matches, else 0; without a branch. */
static __always_inline __u64 v4_match(__u64 leaf, __u32 addr)
{
	__u64 differ = ((addr ^ leaf) & 0xff) >> (leaf >> V4_PREFIX_SHIFT & 15);

	return leaf >> V4_DEADLINE_SHIFT & V4_DEADLINE & (__s64)(differ - 1) >> 63;
}

/* There is no population count in BPF. */
static __always_inline __u64 v4_count_bits(__u64 x)
{
	x -= x >> 1 & 0x5555555555555555ull;
	x = (x & 0x3333333333333333ull) + (x >> 2 & 0x3333333333333333ull);
	x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0full;
	return x * 0x0101010101010101ull >> 56;
}

static __always_inline struct index_line *v4_line(void *generation, __u32 line)
{
	return bpf_map_lookup_elem(generation, &line);
}

static __always_inline enum index_answer v4_page(void *generation, __u32 first, __u32 addr, struct clock *clock)
{
	struct index_line *line = v4_line(generation, first + (addr >> 4 & 15));

	if (!line)
		return INDEX_ASK;
	return v4_answer(clock, V4_LOAD(((__u32 *)line->words)[addr & 15]));
}

static __always_inline enum index_answer v4_leaf(void *generation, __u64 leaf, __u32 addr, struct clock *clock)
{
	__u32 at = leaf >> V4_LINE_SHIFT & V4_LINE;
	struct index_line *more;
	__u64 latest;
	int i;

	if ((leaf >> V4_PREFIX_SHIFT & 15) == V4_PAGE)
		return v4_page(generation, at, addr, clock);
	latest = v4_match(leaf, addr);
	if (!(leaf & V4_MORE) || latest == V4_DEADLINE)
		return v4_answer(clock, latest);
	more = v4_line(generation, at);
	if (!more)
		return INDEX_ASK;
#pragma unroll
	for (i = 0; i < INDEX_LINE_WORDS; i++) {
		__s64 later = v4_match(V4_LOAD(more->words[i]), addr) - latest;

		latest += later & ~(later >> 63);
	}
	return v4_answer(clock, latest);
}

static __always_inline enum index_answer index_ipv4(__be32 saddr, struct clock *clock)
{
	__u32 zero = 0, addr = bpf_ntohl(saddr), group = addr >> 14 & 3, root, at;
	void *generation = bpf_map_lookup_elem(&index_v4, &zero);
	struct index_line *line;
	__u64 any, bit = 1ull << (addr >> 8 & 63);

	if (!generation)
		return INDEX_ASK;
	line = v4_line(generation, V4_ROOT_LINE + (addr >> 20));
	if (!line)
		return INDEX_ASK;
	root = V4_LOAD(((__u32 *)line->words)[addr >> 16 & 15]);
	if (!root)
		return INDEX_CLEAN;
	if (root & V4_UNIFORM)
		return v4_answer(clock, root & V4_DEADLINE);
	line = v4_line(generation, root);
	if (!line)
		return INDEX_ASK;
	any = line->words[group];
	if (!(any & bit))
		return INDEX_CLEAN;
	at = (__u32)line->words[V4_NODE_BASE] + ((__u16 *)&line->words[V4_NODE_RANKS])[group] +
	     v4_count_bits(any & (bit - 1));
	line = v4_line(generation, at / INDEX_LINE_WORDS);
	if (!line)
		return INDEX_ASK;
	return v4_leaf(generation, V4_LOAD(line->words[at % INDEX_LINE_WORDS]), addr, clock);
}

#endif
