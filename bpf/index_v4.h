/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
#ifndef PARAXIAL_INDEX_V4_H
#define PARAXIAL_INDEX_V4_H

#include "clock.h"
#include "lines.h"
#include "verifier.h"
#include <bpf/bpf_endian.h>

/*
 * A generation of the IPv4 index is a poptrie (Asai and Ohara, SIGCOMM 2015) of two
 * levels, /16 and /24. Its leaves hold a few prefixes with deadlines. The Go package
 * index writes it, and has the same look-up for tests. Cache misses are the main cost:
 * with a million entries most look-ups miss one or two lines. So the structures are as
 * small as possible, and the data for clean sources is apart from that for listed ones.
 *
 *   line 0         header, see struct index_v4_header
 *   lines 1..4096  root: a u32 for each /16. 0 = clean. With V4_UNIFORM set, the
 *                  whole /16 has the deadline in the low bits. Otherwise its node:
 *                  the first line of a group of eight nodes, << 3, and the number
 *                  of the node in the group
 *   group          five lines. Node i has words 4i..4i+3, with a bit for each /24 that
 *                  has a leaf, and word i of the fifth line. The lower half of that is
 *                  the place of its first leaf in the generation, counted in u32. The
 *                  upper half is four times 8 bits: the number of bits that are set in
 *                  the words before the first, second, ... word
 *   leaf           a u32: one prefix inside the /24, or with V4_MORE set, a line
 *                  of sixteen more in the same form. 0 = clean. With V4_PAGE set
 *                  as well, the line begins a page instead: deadlines of all 256
 *                  addresses, in 16 lines
 *
 *   leaf  31    30    29..9     8..0           prefix: its bits of the last byte,
 *         0     deadline        prefix         a one, and zeros (/24: 256)
 *         MORE  PAGE  line
 *
 * A deadline is one more than its tick / 256 (34 s), rounded down, because the tries
 * are asked once it has passed. 0 = no entry; 1 = always ask. The latest deadline of
 * all entries that match counts.
 *
 * All data that readers can reach is changed by single stores only, and lines are never
 * reused. So a reader finds the state before a change or the state after it. Readers go
 * from line to line by address, which orders the loads on every CPU.
 */

/* With a format other than V4_FORMAT, such as 0, the tries are asked. */
#define V4_FORMAT 0x34760003

struct index_v4_header {
	__u64 format;
	__u64 lines;
	__u32 unused;
	__u32 bank;		/* see enum index_segments */
	__u64 rest[5];
};
_Static_assert(sizeof(struct index_v4_header) == sizeof(struct index_line), "the header is a line");
_Static_assert(__builtin_offsetof(struct index_v4_header, bank) == INDEX_BANK_OFFSET, "where the loader writes it");

#define V4_ROOT_LINE 1
#define V4_UNIFORM (1u << 31)

#define V4_GROUP_SHIFT 3
#define V4_GROUP_LAST 4		/* the fifth line */

#define V4_MORE (1u << 31)
#define V4_PAGE (1u << 30)
#define V4_LINE 0x3fffffffu
#define V4_PREFIX 0x1ffu
#define V4_DEADLINE_SHIFT 9
#define V4_DEADLINE 0x3fffffu	/* also the deadline that never comes */
#define V4_QUANTUM_SHIFT 8
#define V4_IN_LINE 16

/* The program may read while the daemon writes: load once. */
#define V4_LOAD(x) (*(volatile typeof(x) *)&(x))

static __always_inline enum index_answer v4_answer(struct clock *clock, __u64 deadline)
{
	if (!deadline)
		return INDEX_CLEAN;
	if (deadline == V4_DEADLINE)
		return INDEX_DROP;
	return live(clock, (deadline - 1) << V4_QUANTUM_SHIFT) ? INDEX_DROP : INDEX_ASK;
}

/* Returns the deadline of a leaf if its prefix covers the address, else 0, without a branch. */
static __always_inline __u64 v4_match(__u64 leaf, __u32 addr)
{
	__u64 prefix = leaf & V4_PREFIX;
	__u64 differ = ((addr << 1 & V4_PREFIX) | 1) ^ prefix;
	__u64 past = (prefix & -prefix) << 1;	/* the lowest bit of the prefix proper */

	return leaf >> V4_DEADLINE_SHIFT & V4_DEADLINE & (__s64)(differ - past) >> 63;
}

/* BPF has no population count. */
static __always_inline __u64 v4_count_bits(__u64 x)
{
	x -= x >> 1 & 0x5555555555555555ull;
	x = (x & 0x3333333333333333ull) + (x >> 2 & 0x3333333333333333ull);
	x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0full;
	return x * 0x0101010101010101ull >> 56;
}

/* Returns the u32 at a place that is counted in u32. It is never NULL. */
static __always_inline __u32 *v4_half(__u32 bank, __u32 at)
{
	struct index_line *line = index_line(&index_v4, bank, at / V4_IN_LINE);

	return line ? (__u32 *)line->words + at % V4_IN_LINE : NULL;
}

/* Answers for a /24 with several prefixes. Not inlined, because its loads would all be on the stack of the caller. */
static __attribute__((noinline)) enum index_answer v4_more(__u32 bank, __u32 leaf, __u32 addr, struct clock *clock)
{
	struct index_line *more;
	__u64 latest = 0;
	__u32 *deadline;
	int i;

	if (leaf & V4_PAGE) {
		deadline = v4_half(bank, (leaf & V4_LINE) * V4_IN_LINE + (addr & 0xff));
		return deadline ? v4_answer(clock, V4_LOAD(*deadline)) : INDEX_ASK;
	}
	more = index_line(&index_v4, bank, leaf & V4_LINE);
	if (!more)
		return INDEX_ASK;
#pragma unroll
	for (i = 0; i < V4_IN_LINE; i++) {
		__s64 later = v4_match(V4_LOAD(((__u32 *)more->words)[i]), addr) - latest;

		latest += later & ~(later >> 63);
		/* Keeps clang from loading all words first: they do not fit on the stack with that of the caller. */
		asm volatile("" : "+r"(latest));
	}
	return v4_answer(clock, latest);
}

static __always_inline enum index_answer index_ipv4(__be32 saddr, struct clock *clock)
{
	const struct index_v4_header *header = index_header(&index_v4);
	__u32 addr = bpf_ntohl(saddr), quarter = addr >> 14 & 3, bank, node;
	__u64 any, leaves, bit = 1ull << (addr >> 8 & 63);
	struct index_line *line;
	__u32 *at;

	if (!header || header->format != V4_FORMAT)
		return INDEX_ASK;
	bank = header->bank;
	at = v4_half(bank, V4_ROOT_LINE * V4_IN_LINE + (addr >> 16));
	if (!at)
		return INDEX_ASK;
	node = V4_LOAD(*at);
	if (!node)
		return INDEX_CLEAN;
	if (node & V4_UNIFORM)
		return v4_answer(clock, node & V4_DEADLINE);
	line = index_line(&index_v4, bank, (node >> V4_GROUP_SHIFT) + (node >> 1 & 3));
	if (!line)
		return INDEX_ASK;
	any = line->words[BOUNDED((node & 1) << 2 | quarter, 7)];
	if (!(any & bit))
		return INDEX_CLEAN;
	line = index_line(&index_v4, bank, (node >> V4_GROUP_SHIFT) + V4_GROUP_LAST);
	if (!line)
		return INDEX_ASK;
	leaves = line->words[node & 7];
	at = v4_half(bank, (__u32)leaves + (leaves >> (32 + 8 * quarter) & 0xff) + v4_count_bits(any & (bit - 1)));
	if (!at)
		return INDEX_ASK;
	node = V4_LOAD(*at);
	if (node & V4_MORE)
		return v4_more(bank, node, addr, clock);
	return v4_answer(clock, v4_match(node, addr));
}

#endif
